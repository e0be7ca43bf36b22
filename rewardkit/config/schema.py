"""The schema of ``fit``: every key of a recipe, with its default, its limits and its help text.

Each text under a field is what ``--help``, ``recipes show`` and ``docs/options.md`` print. No torch is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option
from rewardkit.config.protocols import OF_RUNS


@dataclass
class RunOptions:
    """Where the run's folder lies."""

    name: str | None = option(None)
    """Name of the run; its folder is DIR/RECIPE/NAME. Default: the time it starts."""
    dir: str = option("runs")
    """Folder that holds the runs."""


@dataclass
class CacheOptions:
    """The one cache of drawn data; safe to share and safe to delete."""

    dir: str | None = option(None)
    """Cache folder. Default: the user's cache folder of the operating system."""
    max_gb: float = option(20.0, above=0)
    """Above this size the oldest entries are removed."""


@dataclass
class EmbeddedOptions:
    """The embedded dataset, drawn on first use: name it as the source `embedded`."""

    train_groups: int = option(2048, at_least=1)
    """Groups to train on."""
    val_groups: int = option(400, at_least=1)
    """Held-out groups; none of their prompts is trained on."""
    seed: int = option(0, at_least=0)
    """Seed of the drawings and of the simulated votes."""


@dataclass
class DataOptions:
    """Sources, batches and the order in which groups are read."""

    train: list[str] = option([])
    """Shard folders to train on, or `embedded`."""
    val: list[str] = option([])
    """Shard folders to validate on, or `embedded`."""
    embedded: EmbeddedOptions = option(EmbeddedOptions())
    batch_groups: int = option(32, at_least=1)
    """Groups in one optimiser step, over all ranks (with pairing=pairs: comparisons)."""
    micro_groups: int | None = option(None, at_least=1)
    """Groups in one forward pass of one rank; must divide batch_groups / ranks. Default: all of a rank's groups."""
    workers: int = option(1, at_least=0)
    """Worker processes that decode images, per rank; 0 decodes in the training process."""
    pairing: str = option("grouped", choices=("grouped", "pairs"))
    """grouped: each image and prompt is encoded once per group. pairs: single comparisons, as published trainers
    draw."""
    dimension_map: dict[str, str | None] = option({})
    """Data's dimension to the model's dimension (several may share one); null drops its labels."""
    max_bad_fraction: float = option(0.01, at_least=0, at_most=1)
    """The run stops when more than max(10, this share of the groups) cannot be read."""
    allow_overlap: bool = option(False)
    """Only warn of images that stand both in train and in val (equal files), instead of refusing them. Of prompts that
    stand in both, a run always warns."""


@dataclass
class ModelOptions:
    """The CLIP reward: an open_clip image tower and text tower, and a head for each dimension."""

    architecture: str = option("ViT-H-14")
    """An open_clip architecture (`ViT-H-14`), or the path of an open_clip JSON config; recipes may name a file that
    ships beside them (`towers/NAME.json`)."""
    pretrained: str | None = option(None)
    """open_clip tag of pretrained weights, or a local .pt/.safetensors file; null starts from random weights."""
    dimensions: list[str] = option(["overall"])
    """Names of what is judged; one or many."""
    head: str = option("auto", choices=("auto", "cosine", "projection"))
    """cosine: one dimension, plain CLIP. projection: a learned projection for each dimension. auto: cosine for one
    dimension, projection for many."""
    unlocked_image_groups: int | None = option(None, at_least=0)
    """Train only the last n parameter groups of the image tower (HPS v2: 20); null trains all."""
    unlocked_text_layers: int | None = option(None, at_least=0)
    """Train only the last n layers of the text tower (HPS v2: 11); null trains all."""
    gradient_checkpointing: bool = option(False)
    """Recompute activations in the backward pass: less memory, more time."""
    output: str = option("cosine", choices=("cosine", "cosine100", "logit"))
    """What users of the exported model get: the cosine, 100 times it, or the logit (scale times cosine)."""
    max_logit_scale: float = option(100.0, above=0)
    """The logit scale is clamped to [1, this] after each step (CLIP and HPS v2: 100)."""


@dataclass
class TransformOptions:
    """How an image becomes the model's input; recorded in the bundle."""

    size: int | None = option(None, at_least=8)
    """Side of the square input, pixels. Default: the architecture's."""
    resize: str = option("pad", choices=("pad", "crop", "squash"))
    """pad: the longest side fits, black borders (HPS v2). crop: the shortest side fits, centre crop. squash: both
    fit."""
    interpolation: str = option("bicubic", choices=("bicubic", "bilinear"))
    """Interpolation of the resize."""
    antialias: bool = option(True)
    """Low-pass before shrinking; the published HPS v2 transform depends on the torchvision version here."""
    decode: str = option("exact", choices=("exact", "scaled"))
    """scaled lets the JPEG decoder shrink large images while it decodes: faster, pixels differ slightly."""


@dataclass
class CaptionContrastOptions:
    """Keeps a CLIP that learns from votes alone tied to what its prompts say; needs data with captions."""

    coefficient: float = option(0.0, at_least=0)
    """Factor of the term at the first step; 0 leaves it out."""
    final_coefficient: float | None = option(None, at_least=0)
    """Factor at the last step, reached on a straight line. Default: the same as at the first."""


@dataclass
class ObjectiveOptions:
    """What is minimised."""

    name: str = option("bradley_terry", choices=("bradley_terry",))
    """bradley_terry: pairwise cross entropy with soft labels, as HPS v2."""
    reduction: str = option("mean", choices=("mean", "sum", "mean_per_group"))
    """mean: over the comparisons of the optimiser step. sum: not divided. mean_per_group: over each group's, then over
    groups."""
    coefficient: float = option(1.0, above=0)
    """Factor of the pairwise term."""
    caption_contrast: CaptionContrastOptions = option(CaptionContrastOptions())


@dataclass
class OptimOptions:
    """AdamW and its schedule."""

    lr: float = option(3.3e-6, above=0)
    """Peak learning rate."""
    head_lr: float | None = option(None, above=0)
    """Peak learning rate of the dimension heads. Default: lr."""
    betas: list[float] = option([0.9, 0.98])
    """AdamW's two decay rates."""
    eps: float = option(1e-6, above=0)
    """AdamW's epsilon."""
    weight_decay: float = option(0.35, at_least=0)
    """Not applied to tensors of fewer than 2 axes, normalisations, biases and the logit scale (as published)."""
    warmup_steps: int = option(500, at_least=0)
    """Steps of linear warmup; must be fewer than trainer.max_steps."""
    schedule: str = option("cosine", choices=("cosine", "constant"))
    """What follows the warmup: a cosine down to 0, or the peak rate."""
    gradient_clip: float | None = option(None, above=0)
    """Largest norm of the gradient; null does not clip."""


@dataclass
class TrainerOptions:
    """Length of the run and the hardware it uses."""

    max_steps: int = option(4000, at_least=1)
    """Optimiser steps of the whole schedule."""
    stop_after: int | None = option(None, at_least=1)
    """End after this step without changing the schedule; `resume=auto` continues."""
    devices: str = option("auto")
    """Number of processes on this machine (one GPU each where there are GPUs), or auto."""
    nodes: int = option(1, at_least=1)
    """Machines that take part."""
    strategy: str = option("auto", choices=("auto", "ddp"))
    """How ranks share the work: auto takes ddp where there is more than one."""
    precision: str = option("32", choices=("32", "bf16", "16", "auto"))
    """Arithmetic of the towers: 32, or autocast to bf16 or 16; auto is bf16 where the machine computes in it, else 32.
    Scores and losses are always 32."""
    checkpoint_every: int = option(500, at_least=1)
    """Steps between resumable checkpoints."""
    validate_every: int | None = option(None, at_least=1)
    """Steps between validations. Default: once, after the last step."""
    log_every: int = option(10, at_least=1)
    """Steps between logged training metrics."""
    threads: int | None = option(None, at_least=1)
    """CPU threads of torch in each process. Default: torch's own choice."""


@dataclass
class EvaluationOptions:
    """The rule by which held-out accuracy is counted."""

    protocol: str = option("strict_micro", choices=OF_RUNS)
    """strict: equal scores are wrong; half: they count one half; micro pools comparisons, macro averages groups. hpdv2
    and imagereward: over the people's order of a group instead of single comparisons (docs/evaluation.md)."""
    bootstrap: int = option(1000, at_least=100)
    """Resamples of groups behind each 95 % interval."""


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


@dataclass
class FitOptions:
    """Trains a reward model from a recipe, and ends with a bundle and a report."""

    recipe: str | None = option(None)
    """Name of a recipe that ships with rewardkit (`recipes list`), or the path of a YAML file."""
    scale: str | None = option(None)
    """Which of the recipe's sizes to run. Default: demo."""
    seed: int = option(0, at_least=0)
    """Seed of the weights, of the order of the groups and of all else that is drawn."""
    run: RunOptions = option(RunOptions())
    resume: str = option("never")
    """never: an existing run is refused. auto: start, or continue the unfinished run of that name. PATH: a run's
    folder, continued from its newest checkpoint; or a checkpoint file inside one."""
    dry_run: bool = option(False)
    """Print parameters, batch shapes, steps and a memory estimate, and stop."""
    logger: list[str] = option(["csv", "tensorboard"], choices=("csv", "tensorboard"))
    """Where metrics go."""
    plugins: list[str] = option([])
    """Python files of your own, each with a function `callbacks()` that returns Lightning callbacks; command line
    only."""
    cache: CacheOptions = option(CacheOptions())
    data: DataOptions = option(DataOptions())
    transform: TransformOptions = option(TransformOptions())
    model: ModelOptions = option(ModelOptions())
    objective: ObjectiveOptions = option(ObjectiveOptions())
    optim: OptimOptions = option(OptimOptions())
    trainer: TrainerOptions = option(TrainerOptions())
    evaluation: EvaluationOptions = option(EvaluationOptions())
    callbacks: CallbackOptions = option(CallbackOptions())
