"""The callbacks of a run by short name: the section ``callbacks`` of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option


@dataclass
class PreferenceAccuracyOptions:
    """Writes the predictions table at each validation and logs accuracies from it."""

    write_predictions: bool = option(True)
    """Keep predictions/STEP-SET.parquet of every validation; false keeps the last and the best."""


@dataclass
class ThroughputOptions:
    """Comparisons and images a second, seconds waiting for data, peak memory."""

    window: int = option(50, at_least=1)
    """Steps that one figure is averaged over."""


@dataclass
class GuardsOptions:
    """Notices a training that goes nowhere, and says what to look at."""

    action: str = option("warn", choices=("warn", "stop"))
    """What to do where a loss is stuck or the scores have collapsed; a loss that is not finite always stops."""
    patience: int = option(200, at_least=1)
    """Steps that a symptom must last."""
    stuck_tolerance: float = option(0.003, above=0)
    """A pairwise loss is stuck while its mean stays within this of what equal scores cost (ln 2 for Bradley-Terry)."""
    min_spread: float = option(1e-4, above=0)
    """Scores have collapsed while their standard deviation within groups is below this."""
    max_margin: float = option(30.0, above=0)
    """Scores run away while the preferred candidate of a comparison is ahead by more than this, in logits, on
    average."""
    max_drift: float = option(100.0, above=0)
    """Scores drift while their mean is further than this many spreads within groups from where it began."""


@dataclass
class BestBundleOptions:
    """Exports the best model of the run's validations to bundle/."""

    dimension: str | None = option(None)
    """The dimension whose accuracy decides. Default: overall where there is one, else the mean of all."""


@dataclass
class GalleryOptions:
    """Draws a contact sheet at each validation: the same few groups with pictures, scores and votes."""

    groups: int = option(8, at_least=1)
    """Groups on a sheet, chosen by a hash of their keys: the same at each validation, and in other runs on the same
    data."""
    keys: list[str] = option([])
    """Keys of the samples to show instead (`data inspect` and reports name them)."""
    dimension: str | None = option(None)
    """Whose scores and votes are shown. Default: overall where there is one, else the first."""
    side: int = option(160, at_least=32, at_most=256)
    """Side of a picture on the sheet, in pixels."""


@dataclass
class EMAOptions:
    """An exponential moving average of the weights, which is what is validated and exported."""

    decay: float = option(0.999, above=0, at_most=0.999999)
    """Share of the old average that each optimiser step keeps."""
    from_step: int = option(0, at_least=0)
    """The average starts as the weights after this step."""
    warmup: bool = option(True)
    """Keep less at first: update n (from 0) keeps min(decay, (1 + n) / (10 + n))."""


@dataclass
class EarlyStoppingOptions:
    """Ends the run, finished, when validations no longer get better."""

    dimension: str | None = option(None)
    """The dimension whose accuracy decides. Default: overall where there is one, else the mean of all."""
    patience: int = option(3, at_least=1)
    """Validations without a better one that end the run."""
    min_delta: float = option(0.0, at_least=0)
    """A validation is better only if its accuracy is above the best by more than this."""


@dataclass
class CallbackOptions:
    """Callbacks by short name; null leaves one out."""

    preference_accuracy: PreferenceAccuracyOptions | None = option(PreferenceAccuracyOptions())
    throughput: ThroughputOptions | None = option(ThroughputOptions())
    guards: GuardsOptions | None = option(GuardsOptions())
    gallery: GalleryOptions | None = option(None)
    ema: EMAOptions | None = option(None)
    early_stopping: EarlyStoppingOptions | None = option(None)
    best_bundle: BestBundleOptions | None = option(BestBundleOptions())
