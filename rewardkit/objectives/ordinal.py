"""Answers on a scale of levels: one score, and ordered cuts between the levels that are learned (cumulative logits).

With cuts ``c_1 < ... < c_{L-1}`` of a dimension with L levels, numbered from 0, and its score s (McCullagh 1980)::

    P(level >= k) = sigmoid(s - c_k),  P(level = k) = sigmoid(c_{k+1} - s) - sigmoid(c_k - s),  c_0 = -inf, c_L = inf

The score stays a logit: 1 more raises the log odds of "at least k" by 1 for every k, as it raises the log odds to be
preferred under Bradley-Terry, so the two can be learned together. Where scores lie elsewhere than about 0 (20 to 30 for
a CLIP with a logit scale of 100), ``score_center`` says where the cuts start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardkit.data.batch import Batch, Denominators
from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import (
    Loss,
    dimension_factors,
    divided,
    full_precision,
    loss_of,
    sums_by_dimension,
)
from rewardkit.objectives.ties import inverse_softplus

SMALLEST_STEP = 1e-6
"""Least distance of two cuts: an answer between equal cuts would be impossible and cost infinitely much."""


def level_log_probabilities(scores: Tensor, cuts: Tensor) -> Tensor:
    """Log probability of each level.

    ``sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))``, in logs, stays exact far from the cuts.

    Args:
        scores: ``[A]``.
        cuts: ``[A, L - 1]`` or ``[L - 1]``, increasing; +inf for levels that a scale does not have, behind the others.

    Returns:
        ``[A, L]``; the probabilities sum to 1, and are 0 (-inf) for levels that a scale does not have.
    """
    cuts = cuts.expand(len(scores), -1)
    there = cuts < math.inf  # [A, L - 1]
    some = torch.where(there, cuts, torch.zeros_like(cuts))
    lead = scores.unsqueeze(-1) - some  # [A, L - 1]
    zero = torch.zeros_like(scores).unsqueeze(-1)
    at_least = torch.cat([zero, F.logsigmoid(lead)], dim=-1)  # [A, L]
    below_next = torch.cat([torch.where(there, F.logsigmoid(-lead), 0.0), zero], dim=-1)
    inner = there[:, 1:]
    step = torch.where(inner, some[:, 1:] - some[:, :-1], torch.ones_like(some[:, 1:])).clamp(min=SMALLEST_STEP)
    between = torch.cat([zero, torch.where(inner, torch.log(-torch.expm1(-step)), 0.0), zero], dim=-1)
    found = at_least + below_next + between[:, : at_least.shape[-1]]
    exists = torch.cat([torch.ones_like(there[:, :1]), there], dim=-1)
    return torch.where(exists, found, float("-inf"))


def ordinal(scores: Tensor, shares: Tensor, cuts: Tensor) -> Tensor:
    """Cross entropy of the levels against shares of answers. See the module's docstring.

    Args:
        scores: ``[A]``.
        shares: ``[A, L]``, of the answers that name a level; a row of zeros costs exactly 0.
        cuts: ``[A, L - 1]`` or ``[L - 1]``, increasing.

    Returns:
        ``[A]``, not negative; the least value is at best the entropy of the shares.
    """
    log_p = level_log_probabilities(scores, cuts)
    return -(shares * torch.where(shares > 0, log_p, torch.zeros_like(log_p))).sum(dim=-1)


class OrdinalObjective(nn.Module):
    """``ordinal`` with learned cuts, averaged over the rated candidates of the optimiser step for each dimension.

    The cuts are ``first_cut`` ``[D]`` and, above it, steps ``softplus(raw_steps)`` ``[D, L - 2]``. At the start every
    level is equally likely for a score of ``score_center``. Answers "does not apply" are left out; a candidate's other
    answers count as shares of 1 together. The total is the weighted sum over dimensions, divided by the sum of factors.

    Args:
        dimensions: The model's dimensions, in the order of its scores.
        levels: Dimension to the number of its levels, at least 2. Dimensions without levels have no term.
        score_center: See above.
        factors: Factor for each dimension; None or empty: 1 for all that have levels, else 0 for those not named.

    Raises:
        UserError: No dimension with levels, one level alone, or a factor of a dimension that has none.
    """

    def __init__(
        self,
        dimensions: Sequence[str],
        levels: Mapping[str, int],
        *,
        score_center: float = 0.0,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.dimensions = tuple(dimensions)
        self.levels = tuple(int(levels.get(name, 0)) for name in dimensions)
        self.factors = dimension_factors(dimensions, factors or _with_levels(dimensions, self.levels))
        for name, count, factor in zip(self.dimensions, self.levels, self.factors.tolist(), strict=True):
            if factor > 0 and count < 2:
                raise UserError(
                    f"the ordinal objective needs answers on at least 2 levels, and {name} has {count or 'none'}"
                )
        longest = max(self.levels)
        first, steps = zip(*(_start(count, longest, score_center) for count in self.levels), strict=True)
        self.first_cut = nn.Parameter(torch.tensor(first))
        self.raw_steps = nn.Parameter(torch.tensor(steps).reshape(len(self.dimensions), longest - 2))

    def cuts(self) -> Tensor:
        """The cuts ``[D, L - 1]`` for the longest scale's L levels; +inf behind a shorter scale's."""
        first, raw = full_precision(self.first_cut), full_precision(self.raw_steps)
        steps = F.softplus(raw).clamp(min=SMALLEST_STEP)
        cuts = torch.cat([first.unsqueeze(-1), first.unsqueeze(-1) + steps.cumsum(dim=-1)], dim=-1)
        place = torch.arange(cuts.shape[-1], device=cuts.device)
        last = torch.tensor(self.levels, device=cuts.device).unsqueeze(-1) - 1
        return torch.where(place < last, cuts, float("inf"))

    def forward(self, output: RewardOutput, labels: Batch, denominators: Denominators) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            output: Scores float ``[N, D]``.
            labels: The batch's answers: candidate, dimension, shares over the levels and N/A (last).
            denominators: ``ratings`` of the whole optimiser step.

        Returns:
            The total, and each dimension's term by name (before its factor).
        """
        scores = full_precision(output.scores)
        dimension = labels.answer_dimension
        # Rows of dimensions without a term would need cuts that they do not have.
        used = self.factors.to(scores)[dimension] > 0
        candidate, dimension = labels.answer_candidate[used], dimension[used]
        cuts = self.cuts().to(scores.dtype)[dimension]  # [A, L - 1]
        shares = labels.answer_target[used].to(scores.dtype)[:, :-1]  # the last column is N/A
        width = cuts.shape[-1] + 1
        # The data's longest scale may be longer than these dimensions', or not be in this batch.
        shares = F.pad(shares, (0, max(0, width - shares.shape[-1])))[:, :width]
        told = shares.sum(dim=-1, keepdim=True)
        shares = shares / torch.where(told > 0, told, torch.ones_like(told))
        losses = ordinal(scores[candidate, dimension], shares, cuts)
        terms = sums_by_dimension(losses, dimension, len(self.dimensions))
        return loss_of(divided(terms, denominators.ratings), self.dimensions, self.factors)


def _with_levels(dimensions: Sequence[str], levels: Sequence[int]) -> dict[str, float]:
    """Factor 1 for each dimension with levels."""
    found = {name: 1.0 for name, count in zip(dimensions, levels, strict=True) if count}
    if not found:
        names = ", ".join(dimensions)
        raise UserError(f"the ordinal objective needs answers on a scale of levels, and the data has none for {names}")
    return found


def _start(levels: int, longest: int, center: float) -> tuple[float, list[float]]:
    """First cut and raw steps at which all levels are equally likely for a score of ``center``."""
    if levels < 2:
        return center, [0.0] * (longest - 2)
    cuts = [math.log(k / (levels - k)) for k in range(1, levels)]
    steps = [inverse_softplus(b - a) for a, b in pairwise(cuts)]
    return center + cuts[0], steps + [0.0] * (longest - levels)
