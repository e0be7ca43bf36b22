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
    """The pairwise loss is stuck while its mean stays within this of ln 2."""
    min_spread: float = option(1e-4, above=0)
    """Scores have collapsed while their standard deviation within groups is below this."""


@dataclass
class BestBundleOptions:
    """Exports the best model of the run's validations to bundle/."""

    dimension: str | None = option(None)
    """The dimension whose accuracy decides. Default: overall where there is one, else the mean of all."""


@dataclass
class CallbackOptions:
    """Callbacks by short name; null leaves one out."""

    preference_accuracy: PreferenceAccuracyOptions | None = option(PreferenceAccuracyOptions())
    throughput: ThroughputOptions | None = option(ThroughputOptions())
    guards: GuardsOptions | None = option(GuardsOptions())
    best_bundle: BestBundleOptions | None = option(BestBundleOptions())
