"""What a card says of the data behind a model: counts, dimensions and provenance, and no place of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardkit.data.index import ShardIndex

_MADE = ("action", "format", "split", "part", "by", "fraction", "seed", "groups", "start", "max_side")
"""Of how a shard set was made, what says something to somebody who does not have it."""


def describe_data(
    training: Sequence[ShardIndex], validation: Mapping[str, Sequence[ShardIndex]]
) -> list[dict[str, Any]]:
    """One entry for each shard set that a run reads.

    Args:
        training: Those that it trains on.
        validation: Name of each validation set to its own.

    Returns:
        For each: ``use`` (training or validation), ``set`` (of a validation set, its name), ``groups``, ``images``,
        ``comparisons`` (dimension to number), ``answers``, ``sources`` (of records that name one, to their groups),
        ``made``, ``digest``.
    """
    found = [_describe(index, "training", None) for index in training]
    for name, indices in validation.items():
        found += [_describe(index, "validation", name) for index in indices]
    return found


def _describe(index: ShardIndex, use: str, name: str | None) -> dict[str, Any]:
    comparisons = index.comparisons.sum(axis=0)
    return {
        "use": use,
        "set": name,
        "groups": len(index),
        "images": int(index.candidates.sum()),
        "comparisons": {d: int(n) for d, n in zip(index.dimensions, comparisons, strict=True) if n},
        "answers": int(index.answers.sum()),
        "sources": dict(index.sources),
        "made": _plain({**index.made, **(index.made.get("options") or {})}),
        "digest": index.digest,
    }


def _plain(made: Mapping[str, Any]) -> dict[str, Any]:
    """What has no path in it."""
    return {
        key: value
        for key, value in made.items()
        if key in _MADE and isinstance(value, str | int | float) and not (isinstance(value, str) and "/" in value)
    }
