"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math


def rate_factor(step: int, *, total_steps: int, warmup_steps: int, schedule: str) -> float:
    """Factor of the peak learning rate at a step.

    The cosine is HPS v2's (``src/training/scheduler.py``); the straight line is PickScore's (transformers'
    ``get_linear_schedule_with_warmup``), whose own warmup starts at 0 instead of 1 / warmup_steps.

    Args:
        step: Optimiser steps taken so far, from 0.
        total_steps: Length of the whole schedule.
        warmup_steps: Steps of linear warmup; the first step has factor 1 / warmup_steps.
        schedule: ``cosine`` or ``linear``, down to 0 at ``total_steps``, or ``constant``.

    Returns:
        In [0, 1].
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    if schedule == "linear":
        return 1.0 - progress
    assert schedule == "cosine", schedule
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def linear(step: int, *, total_steps: int, start: float, end: float) -> float:
    """A straight line from ``start`` at step 0 to ``end`` at the last step."""
    share = min(1.0, step / max(1, total_steps - 1))
    return start + (end - start) * share
