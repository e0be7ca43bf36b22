"""The schema of ``fit``: every key of a recipe, with its default, its limits and its help text.

Each text under a field is what ``--help``, ``recipes show`` and ``docs/options.md`` print. No torch is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.callback_options import CallbackOptions
from rewardkit.config.logger_options import LOGGERS, WandbOptions
from rewardkit.config.model_options import ModelOptions, TransformOptions
from rewardkit.config.objective_options import ObjectiveOptions
from rewardkit.config.optim_options import OptimOptions, TrainerOptions
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
    """The one cache of drawn data, features and what was read from servers; safe to share and safe to delete."""

    dir: str | None = option(None)
    """Cache folder. Default: the user's cache folder of the operating system."""
    max_gb: float = option(20.0, above=0)
    """Above this size what was unused for longest is removed; of drawn data, features and blocks of remote files
    each."""


@dataclass
class EmbeddedOptions:
    """The embedded dataset, drawn on first use: name it as the source `embedded`."""

    train_groups: int = option(2048, at_least=1)
    """Groups to train on."""
    val_groups: int = option(400, at_least=1)
    """Held-out groups; none of their prompts is trained on."""
    seed: int = option(0, at_least=0)
    """Seed of the drawings and of the simulated votes."""
    answers: bool = option(False)
    """Beside the votes, answers of three simulated raters to how good each image is on each dimension, 0 to 3: for
    evaluators (model.kind=mllm). All else is the same."""


@dataclass
class AugmentOptions:
    """Changes of training pictures that cannot change a preference: the same for all candidates of a group."""

    flip: bool = option(False)
    """Mirror half of the groups, in each epoch others; never one whose prompt or captions name a side or writing, or
    are not plain English."""
    shift: float = option(0.0, at_least=0, at_most=0.25)
    """Move the pictures of a group by up to this share of their side, across and down; edges are repeated."""


@dataclass
class RemoteOptions:
    """How sources on servers are read (docs/data_scale.md)."""

    attempts: int = option(8, at_least=1)
    """How often a read is tried, at growing intervals, before the run stops."""
    timeout: float = option(15.0, above=0)
    """Seconds in which a server must answer, and in which a next byte must come."""


@dataclass
class DataOptions:
    """Sources, batches and the order in which groups are read."""

    train: list[str] = option([])
    """Shard folders to train on: on this machine, by URL (https://, s3://, gs://, …), or `embedded`."""
    val: list[str] = option([])
    """Shard folders to validate on, likewise."""
    weights: dict[str, float] = option({})
    """Source to its share of the training, such as {hpd: 3, pick: 1}: every source of data.train by its folder's name
    or its path. Only proportions matter. Default: no weights; every group is read once per epoch."""
    epoch_groups: int | None = option(None, at_least=1)
    """Groups in an epoch of weighted sources (with pairing=pairs: comparisons); needed with data.weights."""
    remote: RemoteOptions = option(RemoteOptions())
    embedded: EmbeddedOptions = option(EmbeddedOptions())
    batch_groups: int = option(32, at_least=1)
    """Groups in one optimiser step, over all ranks (with pairing=pairs: comparisons)."""
    micro_groups: int | None = option(None, at_least=1)
    """Groups in one forward pass of one rank; must divide batch_groups / ranks. Default: all of a rank's groups."""
    workers: int = option(1, at_least=0)
    """Worker processes that decode images, per rank; 0 decodes in the training process. With data.features they decode
    what is encoded, and training needs none."""
    features: bool = option(False)
    """Encode each image and prompt once, by frozen towers, keep the features in the cache (cache.dir), and train the
    head on them. Needs model.unlocked_image_groups=0 and model.unlocked_text_layers=0."""
    feature_dtype: str = option("float32", choices=("float32", "float16"))
    """What features are kept in. float32: the trained head scores features as its bundle scores images. float16: half
    the size; cosines move by up to 0.001."""
    feature_images: int = option(64, at_least=1)
    """Images in one forward pass while features are encoded."""
    pairing: str = option("grouped", choices=("grouped", "pairs"))
    """grouped: each image and prompt is encoded once per group. pairs: single comparisons, as published trainers
    draw."""
    dimension_map: dict[str, str | None] = option({})
    """Data's dimension to the model's dimension (several may share one); null drops its labels."""
    rationales: bool = option(True)
    """With model.kind=mllm: learn to write the rationales that stand beside answers, behind the option."""
    question_sampling: dict[str, float] = option({})
    """With model.kind=mllm: the model's dimension to the share of the groups (above 0, at most 1) that an epoch asks
    about it; which ones differs from epoch to epoch. Default: all are asked."""
    length_buckets: bool = option(False)
    """With model.kind=mllm: put groups of like length into one step, so that little is padded."""
    augment: AugmentOptions = option(AugmentOptions())
    max_bad_fraction: float = option(0.01, at_least=0, at_most=1)
    """The run stops when more than max(10, this share of the groups) cannot be read."""
    allow_overlap: bool = option(False)
    """Only warn of images that stand both in train and in val (equal files), instead of refusing them. Of prompts that
    stand in both, a run always warns."""


@dataclass
class EvaluationOptions:
    """The rule by which held-out accuracy is counted."""

    protocol: str = option("strict_micro", choices=OF_RUNS)
    """strict: equal scores are wrong; half: they count one half; micro pools comparisons, macro averages groups. hpdv2
    and imagereward: over the people's order of a group instead of single comparisons (docs/evaluation.md)."""
    bootstrap: int = option(1000, at_least=100)
    """Resamples of groups behind each 95 % interval."""


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
    logger: list[str] = option(["csv", "tensorboard"], choices=LOGGERS)
    """Where metrics go, in any mix."""
    wandb: WandbOptions = option(WandbOptions())
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
