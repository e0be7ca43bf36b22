"""Figures of scores that show how a training goes: their spread, their mean, and how far the preferred is ahead."""

from __future__ import annotations

import torch
from torch import Tensor

from rewardkit.data.batch import Batch


def spread_within_groups(scores: Tensor, group: Tensor) -> Tensor:
    """Root mean square distance of scores ``[N, D]`` from the mean of their group (``group`` int64 ``[N]``); ``[]``."""
    groups = int(group.max()) + 1
    sums = scores.new_zeros(groups, scores.shape[1]).index_add_(0, group, scores)
    counts = torch.bincount(group, minlength=groups).clamp(min=1).unsqueeze(1)
    return (scores - (sums / counts)[group]).pow(2).mean().sqrt()


def preferred_margin(scores: Tensor, batch: Batch) -> Tensor | None:
    """By how much the preferred candidate of a comparison is ahead, on average over comparisons that prefer one.

    Args:
        scores: ``[N, D]``.
        batch: Its comparisons.

    Returns:
        ``[]``, in the scores' unit, negative where the model orders most of them wrongly; None where no comparison
        prefers one of its two.
    """
    lead = batch.target[:, 0] - batch.target[:, 2]  # [P], above 0 where first is preferred
    delta = scores[batch.first, batch.dimension] - scores[batch.second, batch.dimension]  # [P]
    decided = lead != 0
    return (delta * lead.sign().to(delta))[decided].mean() if bool(decided.any()) else None
