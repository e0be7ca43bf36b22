"""Ratings: squared error and Huber, for candidates that somebody rated.

Scores are logits (of a CLIP with a logit scale of 100 about 20 to 30), ratings stand on a scale of their own such as 1
to 5. So the objective learns, for each dimension, an increasing line between them::

    predicted rating = offset + slope (score - score_center),  slope = exp(log_slope)

It starts at the middle of the dimension's scale with a small slope, so that the first gradients teach the line where
the scores lie rather than move the towers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from rewardkit.data.batch import Batch, Denominators
from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import Loss, dimension_factors, divided, full_precision, loss_of

Kind = Literal["mse", "huber"]


def squared_error(predicted: Tensor, ratings: Tensor) -> Tensor:
    """``(predicted - rating)^2``, not negative; 0 with a gradient of exactly 0 where the rating is NaN.

    Args:
        predicted: Of any shape.
        ratings: Of the same shape, NaN is missing.
    """
    return _error(predicted, ratings).square()


def huber(predicted: Tensor, ratings: Tensor, delta: float = 1.0) -> Tensor:
    """``e^2 / 2`` for an error e within delta, ``delta (|e| - delta / 2)`` beyond (Huber 1964), not negative.

    Args:
        predicted: Of any shape.
        ratings: Of the same shape; NaN is missing: 0, with a gradient of exactly 0.
        delta: Above 0.
    """
    error = _error(predicted, ratings).abs()
    near = error.clamp(max=delta)
    return near * (error - near / 2)


def _error(predicted: Tensor, ratings: Tensor) -> Tensor:
    """The difference; missing ratings are replaced before it is taken, or gradients would be NaN."""
    missing = ratings.isnan()
    error = predicted - torch.where(missing, torch.zeros_like(ratings), ratings)
    return torch.where(missing, torch.zeros_like(error), error)


class RatingObjective(nn.Module):
    """``squared_error`` or ``huber`` of mean ratings, averaged over the rated candidates of the optimiser step.

    Each dimension's sum is divided by its number of rated candidates in the whole step (not by all entries, which would
    scale the loss by the share of labels). The total is the weighted sum over dimensions, divided by the sum of the
    factors.

    Args:
        dimensions: The model's dimensions, in the order of its scores.
        kind: ``mse`` or ``huber``.
        middle: Dimension to the middle of its scale, where the offset starts; 0 where not named.
        slope: Where the slope starts, rating points for each logit; above 0.
        score_center: The score that the offset belongs to; set it to the mean score of a pretrained model.
        delta: Of huber, in rating points.
        factors: Factor for each dimension; None or empty: 1 for all, else 0 for those that are not named.

    Raises:
        UserError: An unknown kind, a slope or delta that is not positive, a factor of a dimension that the model lacks.
    """

    def __init__(
        self,
        dimensions: Sequence[str],
        kind: Kind = "mse",
        *,
        middle: Mapping[str, float] | None = None,
        slope: float = 0.1,
        score_center: float = 0.0,
        delta: float = 1.0,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise UserError(f"ratings are learned by 'mse' or 'huber', not {kind!r}")
        for name, value in (("slope", slope), ("delta", delta)):
            if not 0 < value < math.inf:
                raise UserError(f"the {name} of {kind} has to be above 0, not {value:g}")
        self.dimensions = tuple(dimensions)
        self.kind: Kind = kind
        self.score_center = score_center
        self.delta = delta
        self.factors = dimension_factors(dimensions, factors)
        self.log_slope = nn.Parameter(torch.full((len(dimensions),), math.log(slope)))
        self.offset = nn.Parameter(torch.tensor([float((middle or {}).get(name, 0.0)) for name in dimensions]))

    def predicted(self, scores: Tensor) -> Tensor:
        """Ratings ``[N, D]`` of scores ``[N, D]``, on each dimension's own scale."""
        slope, offset = self.log_slope.to(scores).exp(), self.offset.to(scores)
        return offset + slope * (scores - self.score_center)

    def forward(self, output: RewardOutput, labels: Batch, denominators: Denominators) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            output: Scores float ``[N, D]``.
            labels: ``ratings`` ``[N, D]``, NaN is missing.
            denominators: ``ratings`` of the whole optimiser step.

        Returns:
            The total, and each dimension's term by name (before its factor).
        """
        predicted = self.predicted(full_precision(output.scores))
        ratings = labels.ratings.to(predicted.dtype)
        losses = squared_error(predicted, ratings) if self.kind == "mse" else huber(predicted, ratings, self.delta)
        return loss_of(divided(losses.sum(dim=0), denominators.ratings), self.dimensions, self.factors)
