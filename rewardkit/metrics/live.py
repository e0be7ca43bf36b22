"""Accuracy while training: counts that add up over batches and ranks, for curves. Reports use the predictions table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from rewardkit.data.batch import Batch


class PairAccuracy(Metric):
    """Share of decided comparisons whose scores are in the right order, for each dimension (protocol strict_micro).

    The state is counts, summed over ranks, so uneven batches and ranks change nothing.

    Args:
        dimensions: The model's dimensions, in the order of its scores.
    """

    full_state_update = False
    right: Tensor
    decided: Tensor

    def __init__(self, dimensions: Sequence[str]) -> None:
        super().__init__()
        self.dimensions = tuple(dimensions)
        zeros = torch.zeros(len(self.dimensions), dtype=torch.float64)
        self.add_state("right", zeros, dist_reduce_fx="sum")
        self.add_state("decided", zeros.clone(), dist_reduce_fx="sum")

    def update(self, scores: Tensor, batch: Batch) -> None:
        """Counts a batch.

        Args:
            scores: ``[N, D]``.
            batch: Its comparisons; shares of votes decide as ``judged_pairs.verdicts`` does.
        """
        first, tie, second = batch.target.unbind(dim=1)  # [P] each
        decided = (first != second) & (tie <= torch.maximum(first, second))
        delta = scores[batch.first, batch.dimension] - scores[batch.second, batch.dimension]  # [P]
        right = decided & (((first > second) & (delta > 0)) | ((second > first) & (delta < 0)))
        self.right.index_add_(0, batch.dimension, right.to(self.right))
        self.decided.index_add_(0, batch.dimension, decided.to(self.decided))

    def compute(self) -> dict[str, Tensor]:
        """Dimension to accuracy; NaN where nothing was decided."""
        shares = self.right / self.decided
        return dict(zip(self.dimensions, shares.unbind(), strict=True))


class OptionAccuracy(Metric):
    """Share of answered questions whose likeliest option is the one that most people chose, for each dimension.

    Questions on which people chose two options equally often are left out.

    Args:
        dimensions: The model's dimensions.
    """

    full_state_update = False
    right: Tensor
    answered: Tensor

    def __init__(self, dimensions: Sequence[str]) -> None:
        super().__init__()
        self.dimensions = tuple(dimensions)
        zeros = torch.zeros(len(self.dimensions), dtype=torch.float64)
        self.add_state("right", zeros, dist_reduce_fx="sum")
        self.add_state("answered", zeros.clone(), dist_reduce_fx="sum")

    def update(self, option_logits: Tensor, questions: Any) -> None:
        """Counts a batch.

        Args:
            option_logits: ``[A, O + 1]``, N/A last, -inf where a question has no such column.
            questions: ``rewardkit.models.mllm.batch.QuestionBatch``.
        """
        target, dimension = questions.option_target, questions.asked_dimension  # [A, O + 1], [A]
        most = target.max(dim=-1).values
        decided = (most > 0) & ((target >= most.unsqueeze(-1) - 1e-6).sum(dim=-1) == 1)
        right = decided & (option_logits.argmax(dim=-1) == target.argmax(dim=-1))
        self.right.index_add_(0, dimension, right.to(self.right))
        self.answered.index_add_(0, dimension, decided.to(self.answered))

    def compute(self) -> dict[str, Tensor]:
        """Dimension to accuracy; NaN where nothing was answered."""
        shares = self.right / self.answered
        return dict(zip(self.dimensions, shares.unbind(), strict=True))
