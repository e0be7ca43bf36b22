"""What the studies train on: the embedded dataset with a tower of its own, and AVT-AI with real towers, in folds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study_runs import rewardkit

from rewardkit.data.demo_shards import demo_shards

TOOLS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Size:
    """How large a study is.

    Attributes:
        tower_seed: Seed of the groups that the tower of the embedded dataset learns from: not 0, so that it has not
            seen those that a study trains on (a short study saves the drawing).
        tower_groups: How many.
        tower_val_groups: Held-out groups of that seed.
        tower_steps: Steps of the tower.
        train_groups: Groups of the embedded dataset that are labelled anew and trained on.
        val_groups: Held-out groups.
        people_groups: Groups with ten people's votes that a flip rate is estimated against.
        steps: Steps of each training of heads.
        folds: Parts of AVT-AI; each is held out once.
    """

    tower_seed: int
    tower_groups: int
    tower_val_groups: int
    tower_steps: int
    train_groups: int
    val_groups: int
    people_groups: int
    steps: int
    folds: int


FULL = Size(
    tower_seed=77,
    tower_groups=2048,
    tower_val_groups=100,
    tower_steps=500,
    train_groups=600,
    val_groups=400,
    people_groups=100,
    steps=200,
    folds=3,
)
SHORT = Size(
    tower_seed=0,
    tower_groups=40,
    tower_val_groups=24,
    tower_steps=3,
    train_groups=40,
    val_groups=24,
    people_groups=40,
    steps=10,
    folds=2,
)
ONLY_OVERALL = "data.dimension_map={prompt_following: null, aesthetic: null, fidelity: null, harmlessness: null}"
"""Of the embedded dataset, for runs that judge one dimension."""


@dataclass(frozen=True)
class Fold:
    """Data of one training.

    Attributes:
        name: Empty where there is one.
        train: Shards whose labels are true, to be labelled anew.
        val: Held-out shards.
    """

    name: str
    train: Path
    val: Path


@dataclass(frozen=True)
class StudyData:
    """One data set with its frozen towers.

    Attributes:
        name: Of the data.
        dimensions: That are judged.
        folds: Trainings that make one result together.
        model: Arguments of ``fit`` for the towers.
    """

    name: str
    dimensions: tuple[str, ...]
    folds: tuple[Fold, ...]
    model: tuple[str, ...]


def embedded(out: Path, size: Size) -> StudyData:
    """The embedded dataset; its tower is trained on other groups of it, on the one dimension ``overall``."""
    cache = out / "cache"
    train = demo_shards(cache, split="train", groups=size.train_groups)
    val = demo_shards(cache, split="val", groups=size.val_groups)
    return StudyData(
        "embedded",
        ("prompt_following", "aesthetic", "fidelity", "harmlessness"),
        (Fold("", train, val),),
        (
            "model.architecture=towers/demo.json",
            f"model.pretrained={_tower(out, size) / 'open_clip_model.safetensors'}",
            "transform.resize=squash",
            "data.batch_groups=32",
            "data.dimension_map={overall: null}",
        ),
    )


def avt(folder: Path, out: Path, size: Size) -> StudyData:
    """AVT-AI with the towers of ``tools/real_votes.py``; its prompts are held out in folds."""
    sys.path.append(str(TOOLS))
    from real_votes import DIMENSIONS, prepare

    tower = prepare(folder, out / "avt", folds=size.folds)
    folds = [out / "avt" / "folds" / f"fold-{n}" for n in range(size.folds)]
    return StudyData(
        "avt_ai",
        DIMENSIONS,
        tuple(Fold(f"fold-{n}", path / "train", path / "val") for n, path in enumerate(folds)),
        (f"model.architecture={tower}", "transform.resize=pad", "transform.size=null", "data.batch_groups=9"),
    )


def head_arguments(data: StudyData, fold: Fold, *, train: Path, dimensions: Sequence[str], steps: int) -> list[str]:
    """Arguments of ``fit`` that all trainings of heads on frozen towers share, but the objective and the seed."""
    return [
        "recipe=hpsv2",
        f"data.train={train}",
        f"data.val={fold.val}",
        f"model.dimensions=[{', '.join(dimensions)}]",
        "model.head=projection",
        *data.model,
        "model.unlocked_image_groups=0",
        "model.unlocked_text_layers=0",
        "data.features=true",
        "data.micro_groups=null",
        "optim.lr=1e-3",
        "optim.head_lr=1e-3",
        "optim.weight_decay=0.05",
        f"optim.warmup_steps={max(1, steps // 10)}",
        f"trainer.max_steps={steps}",
        *lean(steps),
    ]


def lean(steps: int) -> list[str]:
    """Arguments for many short runs: one thread, one validation at the end, nothing kept that is not read."""
    return [
        "data.workers=0",
        f"trainer.validate_every={steps}",
        f"trainer.checkpoint_every={steps}",
        "trainer.precision=32",
        "trainer.threads=1",
        "logger=[csv]",
        "evaluation.protocol=half_micro",
        "evaluation.bootstrap=100",
        "callbacks.best_bundle=null",
    ]


def _tower(out: Path, size: Size) -> Path:
    """A folder with the trained towers in open_clip's form."""
    folder = out / "tower"
    if not folder.is_dir():
        rewardkit(
            "fit",
            "recipe=hpsv2",
            f"cache.dir={out / 'cache'}",
            f"data.embedded.seed={size.tower_seed}",
            f"data.embedded.train_groups={size.tower_groups}",
            f"data.embedded.val_groups={size.tower_val_groups}",
            ONLY_OVERALL,
            "model.dimensions=[overall]",
            f"optim.warmup_steps={max(1, size.tower_steps // 10)}",
            f"trainer.max_steps={size.tower_steps}",
            f"trainer.validate_every={size.tower_steps}",
            f"trainer.checkpoint_every={max(1, size.tower_steps // 4)}",
            "trainer.precision=32",
            f"run.dir={out / 'runs'}",
            f"run.name=tower-{size.tower_groups}-{size.tower_steps}",
            "resume=auto",
        )
        run = out / "runs" / "hpsv2" / f"tower-{size.tower_groups}-{size.tower_steps}"
        rewardkit("export", f"model={run}", f"out={folder}", "to=open_clip")
    return folder
