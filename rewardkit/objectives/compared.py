"""What a pairwise rule sees of a batch's comparisons, and what it promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from rewardkit.data.batch import Batch
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import full_precision

Counts = Literal["all", "decided"]
"""Which comparisons a rule learns from, and so which denominator divides it."""


@dataclass(slots=True)
class Compared:
    """P comparisons in score space, float32 at least.

    Attributes:
        delta: ``[P]``, score of first minus score of second.
        total: ``[P]``, score of first plus score of second.
        target: ``[P, 3]``, shares of votes for first, tie, second.
        dimension: int64 ``[P]``, index into the model's dimensions.
        gap: ``[P]``, mean rating of first minus mean rating of second, NaN where one of them has none.
        log_sigma: log standard deviations of the two scores, ``[P]`` each, where the model has them.
    """

    delta: Tensor
    total: Tensor
    target: Tensor
    dimension: Tensor
    gap: Tensor
    log_sigma: tuple[Tensor, Tensor] | None = None


class PairwiseRule(Protocol):
    """An ``nn.Module`` that says what each comparison costs.

    Attributes:
        counts: ``all``, or ``decided`` where comparisons without a winner are left out.
        indifferent: Mean loss while all scores are equal and labels are hard; None where it depends on the labels.
    """

    counts: Counts
    indifferent: float | None

    def __call__(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        ...


def compare(output: RewardOutput, labels: Batch) -> Compared:
    """The batch's comparisons in score space."""
    scores = full_precision(output.scores)
    log_sigma = None
    if output.log_sigma is not None:
        sigma = full_precision(output.log_sigma)
        log_sigma = sigma[labels.first, labels.dimension], sigma[labels.second, labels.dimension]
    first, second = scores[labels.first, labels.dimension], scores[labels.second, labels.dimension]
    ratings = labels.ratings.to(scores.dtype)
    return Compared(
        delta=first - second,
        total=first + second,
        target=labels.target.to(scores.dtype),
        dimension=labels.dimension,
        gap=ratings[labels.first, labels.dimension] - ratings[labels.second, labels.dimension],
        log_sigma=log_sigma,
    )


def is_decided(target: Tensor) -> Tensor:
    """Whether a comparison has a winner: one side has more votes, and no fewer than ties have.

    Args:
        target: ``[P, 3]``, votes or shares of votes for first, tie, second.

    Returns:
        bool ``[P]``. Ten votes against ten are undecided, not a tie; either way there is no winner.
    """
    first, tie, second = target.unbind(-1)
    return (first != second) & (tie <= torch.maximum(first, second))


def two_sided(target: Tensor) -> tuple[Tensor, Tensor]:
    """Shares for first and for second with each tie vote counted half for each side (HPS v2's label), ``[P]`` each."""
    half = target[..., 1] / 2
    return target[..., 0] + half, target[..., 2] + half


def without_ties(target: Tensor) -> tuple[Tensor, Tensor]:
    """Shares for first and second among the votes that chose a side, ``[P]`` each; both 0 where nobody did."""
    first, second = target[..., 0], target[..., 2]
    chose = first + second
    chose = torch.where(chose > 0, chose, torch.ones_like(chose))
    return first / chose, second / chose
