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


def check_resumed(resumed_at: int, steps: int, micro_batches: int, accumulation: int) -> None:
    """Whether a trainer's own counts stand where the data do, right after it has taken up a checkpoint.

    Args:
        resumed_at: Optimiser steps done, by the data's position.
        steps: By the trainer.
        micro_batches: Of the epoch that the trainer has done.
        accumulation: Micro-batches in a step.

    Raises:
        CheckpointError: They do not, or the checkpoint lies within a step.
    """
    if steps != resumed_at:
        raise CheckpointError(f"the data of the checkpoint stand at step {resumed_at}, its trainer at step {steps}")
    if micro_batches % accumulation:
        raise CheckpointError(
            f"the checkpoint was saved in the middle of an optimiser step (after {micro_batches} micro-batches of "
            f"an epoch, {accumulation} make a step); continue from another one"
        )
