"""Where a run stands in its training data, as a checkpoint keeps it, and whether a run may go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardkit.errors import CheckpointError

KEYS = {
    "digest": "data.train",
    "seed": "seed",
    "batch_groups": "data.batch_groups",
    "pairing": "data.pairing",
    "features": "the towers behind data.features",
    "question_sampling": "data.question_sampling",
    "length_buckets": "data.length_buckets",
    "weights": "data.weights",
    "epoch_groups": "data.epoch_groups",
}
"""What decides the order of the data and the labels of a step, by its name in a position, and the option it is."""


def check_position(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses to go on where the order of the data would be another.

    Args:
        saved: The position in the checkpoint.
        now: That of the run.

    Raises:
        CheckpointError: One of ``KEYS`` differs; says which, with both values.
    """
    changed = [
        f"{key} ({saved.get(name)} in the checkpoint, {now.get(name)} now)"
        for name, key in KEYS.items()
        if saved.get(name) != now.get(name)
    ]
    if changed:
        raise CheckpointError(
            "the checkpoint cannot be continued, since the order of the data would be another: "
            + ", ".join(changed)
            + ". Use the same values, or start a new run"
        )
