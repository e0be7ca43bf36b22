"""The parameter groups of an MLLM from input to head, for freezing, learning rates and the table of parameters.

Names are those of ``rewardkit.models.freezing``: ``image.stem``, ``image.block.3``, ``image.projection``,
``text.embeddings``, ``text.block.3``, ``text.head``. Adapters belong to the block they sit in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rewardkit.models.freezing import LayerGroup, Tower
from rewardkit.models.mllm.base import LANGUAGE, MERGERS, PROJECTOR, VISION, part

HEADS = ("head.", "score_token.")
"""What the names of an evaluator's own parameters begin with."""

PROJECTION = "image.projection"
_BLOCK = re.compile(r"(?:^|\.)(?:blocks|layers|layer)\.(\d+)\.")


def mllm_layer_groups(model: Any) -> dict[Tower, tuple[LayerGroup, ...]]:
    """The groups of an ``MLLMReward``, with names as its ``named_parameters`` has them.

    Each parameter of the base is in exactly one group; the heads and the score token are in none. ``image`` ends with
    the projector.
    """
    vision = _name(model, VISION)
    language = _name(model, LANGUAGE)
    projector = part(model.base, PROJECTOR)
    between = tuple(f"{vision}.{name}." for name in MERGERS)
    between += (f"base.{projector[0]}.",) if projector else ()
    names = [name for name, _ in model.named_parameters() if name.startswith("base.")]
    image = [name for name in names if name.startswith((f"{vision}.", *between)) or "image_newline" in name]
    projection = [name for name in image if name.startswith(between) or "image_newline" in name]
    tower = [name for name in image if name not in set(projection)]
    text = [name for name in names if name not in set(image)]
    head = [name for name in text if name.startswith("base.lm_head")]
    embeddings = [name for name in text if name.startswith(f"{language}.embed_tokens")]
    layers = [name for name in text if name not in {*head, *embeddings}]
    return {
        "image": (
            *_blocks("image", tower, vision),
            *([LayerGroup(PROJECTION, tuple(projection))] if projection else []),
        ),
        "text": (
            *([LayerGroup("text.embeddings", tuple(embeddings), "frozen")] if embeddings else []),
            *_blocks("text", layers, language),
            *([LayerGroup("text.head", tuple(head))] if head else []),
        ),
    }


def part_factors(
    groups: Mapping[Tower, Sequence[LayerGroup]], *, vision: float = 1.0, projector: float = 1.0
) -> dict[str, float]:
    """Factor of the learning rate of each group: the vision tower's and the projector's own, 1 for the language model.

    Args:
        groups: From ``mllm_layer_groups``.
        vision: The vision tower's rate divided by the language model's.
        projector: The projector's, likewise.
    """
    found = {group.name: 1.0 for group in groups["text"]}
    for group in groups["image"]:
        found[group.name] = projector if group.name == PROJECTION else vision
    return found


def _name(model: Any, names: tuple[str, ...]) -> str:
    found = part(model.base, names)
    assert found is not None, "check_family has seen it"
    return f"base.{found[0]}"


def _blocks(tower: Literal["image", "text"], names: Sequence[str], prefix: str) -> tuple[LayerGroup, ...]:
    """Stem, then blocks; norms behind the blocks go with the last."""
    block = {name: int(m.group(1)) for name in names if (m := _BLOCK.search(name.removeprefix(f"{prefix}.")))}
    last = max(block.values(), default=-1)
    behind = tuple(f"{prefix}.{name}" for name in ("norm.", "post_layernorm.", "vision_model.post_layernorm."))
    block |= {name: last for name in names if name.startswith(behind) and last >= 0}
    members: dict[str, list[str]] = {f"{tower}.stem": [name for name in names if name not in block]}
    for n in sorted(set(block.values())):
        members[f"{tower}.block.{n}"] = [name for name in names if block.get(name) == n]
    return tuple(LayerGroup(name, tuple(found)) for name, found in members.items() if found)
