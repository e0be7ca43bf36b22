"""The cases of ``equivalence.py``: tiny models and data in which ranks have unlike work, as options of ``fit``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rewardkit.data.demo.dataset import demo_groups
from rewardkit.data.group import Group
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter

TOWERS = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
"""Two narrow layers a tower, in open_clip's terms."""

TRAIN_GROUPS, VAL_GROUPS = 24, 7
"""24 groups are 6 steps an epoch of 4; 7 groups divide by no number of ranks but 7."""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison of strategies.

    Attributes:
        about: What is special about it, for the table.
        options: Of ``fit``, beside those all cases share.
        data: Which of ``write_data``'s sets it trains on.
        model: ``clip`` or ``mllm``.
        loss: Largest difference from one process's loss of a step that counts as equal, relative to that loss.
        weight: Largest difference of a weight, or of the average of a weight, absolute.
        score: Largest difference of a validation's score, absolute; CLIP's logits reach 14, an evaluator's scores 3.
    """

    about: str
    options: tuple[str, ...] = ()
    data: str = "unequal"
    model: str = "clip"
    loss: float = 2e-5
    weight: float = 2e-5
    score: float = 1e-3


CASES = {
    "plain": Case("groups of 2 to 4 candidates", ("data.micro_groups=null",)),
    "accumulation": Case("two micro-batches a rank", ("data.micro_groups=1",)),
    "clipped": Case("gradient clipped at a tenth of its norm", ("optim.gradient_clip=0.5", "data.micro_groups=1")),
    "scale_at_limit": Case(
        "the logit scale is clamped in every step", ("model.max_logit_scale=14", "data.micro_groups=null")
    ),
    "frozen": Case(
        "one image group and one text layer train",
        ("model.unlocked_image_groups=1", "model.unlocked_text_layers=1", "data.micro_groups=null"),
    ),
    "sparse": Case(
        "a dimension, and a tie threshold of its own, that only some groups speak of",
        ("objective.name=rao_kupper,caption_contrast", "data.micro_groups=1"),
        data="sparse",
    ),
    "bad": Case("a rank without one image that can be read", ("data.micro_groups=1",), data="bad"),
    "bf16": Case(
        "autocast to bfloat16",
        ("trainer.precision=bf16", "data.micro_groups=null"),
        loss=2e-2,
        weight=math.inf,
        score=math.inf,
    ),
    "bf16_wire": Case(
        "gradients travel in bfloat16",
        ("trainer.communication=bf16", "data.micro_groups=1"),
        loss=2e-2,
        weight=math.inf,
        score=math.inf,
    ),
    "recomputed": Case(
        "activations are computed again in the backward pass",
        ("model.gradient_checkpointing=true", "data.micro_groups=1"),
    ),
    "mllm": Case(
        "an evaluator with LoRA, frozen vision, two micro-batches a rank", ("data.micro_groups=1",), model="mllm"
    ),
    "mllm_bad": Case(
        "an evaluator; a rank without one image that can be read", ("data.micro_groups=1",), data="bad", model="mllm"
    ),
    "mllm_recomputed": Case(
        "an evaluator, activations computed again",
        ("model.gradient_checkpointing=true", "data.micro_groups=1"),
        model="mllm",
    ),
}
"""Name to case. Equal is up to float32: ranks add the same gradients up in another order, and AdamW divides by their
size, so that a weight with a tiny gradient moves by another part of the learning rate (1e-3 here). In bfloat16 the
order of adding up moves single losses by a hundredth, and weights by as much as the learning rate: weights and scores
are not compared there."""


def options_of(case: Case, folder: Path, *, steps: int) -> list[str]:
    """The options of ``fit`` for a case whose data ``write_data`` has written to ``folder``."""
    shared = [
        f"recipe={folder / f'{case.model}.yaml'}",
        f"data.train={folder / case.data}",
        f"data.val={folder / 'val'}",
        "data.batch_groups=4",
        "data.workers=0",
        "data.max_bad_fraction=1",
        "optim.lr=1e-3",
        "optim.warmup_steps=2",
        f"trainer.max_steps={steps}",
        "trainer.precision=32",
    ]
    given = {option.split("=")[0] for option in case.options}
    return [*(option for option in shared if option.split("=")[0] not in given), *case.options]


def write_data(folder: Path) -> None:
    """Writes towers, recipes and data sets."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "towers.json").write_text(json.dumps(TOWERS), encoding="utf-8")
    (folder / "clip.yaml").write_text(_CLIP.format(towers=folder / "towers.json"), encoding="utf-8")
    (folder / "mllm.yaml").write_text(_MLLM, encoding="utf-8")
    changes: dict[str, Callable[[int, Group, list[bytes]], tuple[Group, list[bytes]]]] = {
        "unequal": _unequal,
        "sparse": _sparse,
        "bad": _bad,
        "val": _unequal,
    }
    for name, change in changes.items():
        groups = _groups("val" if name == "val" else "train")
        with ShardWriter(folder / name, name, max_groups=5) as writer:
            for n, (group, images) in enumerate(groups):
                writer.write(*change(n, group, images))
        build_index(folder / name)


def _groups(split: str) -> Iterator[tuple[Group, list[bytes]]]:
    count = VAL_GROUPS if split == "val" else TRAIN_GROUPS
    return demo_groups(seed=3, start=0, count=count, split=split, answers=True)  # type: ignore[arg-type]


def _unequal(number: int, group: Group, images: list[bytes]) -> tuple[Group, list[bytes]]:
    """2, 3 or 4 candidates in turn."""
    kept = 2 + number % 3
    slots = {key: value[:kept] if isinstance(value, list) else value for key, value in group.slots.items()}
    return (
        replace(
            group,
            candidates=group.candidates[:kept],
            comparisons=tuple(c for c in group.comparisons if max(c.first, c.second) < kept),
            answers=tuple(a for a in group.answers if a.candidate < kept),
            slots=slots,
        ),
        images[:kept],
    )


def _sparse(number: int, group: Group, images: list[bytes]) -> tuple[Group, list[bytes]]:
    """Every fifth group alone speaks of aesthetic, every second has captions."""
    group, images = _unequal(number, group, images)
    if number % 5:
        group = replace(
            group,
            comparisons=tuple(c for c in group.comparisons if c.dimension != "aesthetic"),
            answers=tuple(a for a in group.answers if a.dimension != "aesthetic"),
        )
    if number % 2:
        group = replace(group, slots={key: value for key, value in group.slots.items() if key != "captions"})
    return group, images


def _bad(number: int, group: Group, images: list[bytes]) -> tuple[Group, list[bytes]]:
    """Every second group's images are no images: in some steps that is all a rank has."""
    group, images = _unequal(number, group, images)
    return group, [b"not a picture" for _ in images] if number % 2 else images


_CLIP = """
transform: {{resize: squash}}
objective: {{name: [bradley_terry]}}
scales:
  demo:
    model:
      architecture: {towers}
      dimensions: [overall, prompt_following, aesthetic, fidelity, harmlessness]
"""

_MLLM = """
data: {dimension_map: {overall: null}}
model:
  kind: mllm
  architecture: small
  questions: embedded
  mllm: {language: lora, vision: frozen, lora: {rank: 4}}
objective: {name: [option, bradley_terry]}
scales: {demo: {}}
"""
