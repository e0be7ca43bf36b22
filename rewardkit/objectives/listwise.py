"""Losses over whole rankings: top-1 softmax, ListNet, a hinge over all pairs, and how rankings become a loss.

Plackett-Luce has a file of its own. A ranking is a row of candidates with ranks, 1 is best, equal ranks tie, padded
with -1; K varies within a batch. Padded candidates get a gradient of exactly zero, and a ranking of one candidate
costs 0 and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

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


class RankingRule(Protocol):
    """An ``nn.Module`` that says what each ranking costs."""

    def __call__(self, scores: Tensor, ranks: Tensor) -> Tensor:
        """Loss ``[R]`` of scores ``[R, K]`` under ranks ``[R, K]``."""
        ...


def masked_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """``logsumexp`` over the last axis where the mask is True; -inf, with a zero gradient, where it nowhere is."""
    some = mask.any(dim=-1, keepdim=True)
    kept = torch.where(mask, values, torch.where(some, float("-inf"), 0.0).to(values))
    return torch.where(some.squeeze(-1), torch.logsumexp(kept, dim=-1), float("-inf"))


def top1(scores: Tensor, ranks: Tensor) -> Tensor:
    """Cross entropy of the softmax over a ranking's candidates against its best one.

    HPS v2's ``PreferenceLoss`` (repository tgxs002/HPSv2, ``src/open_clip/loss.py``) for any number of candidates.
    Candidates that tie for the best share the label equally, as a tie of a comparison does; the least value is then
    the log of their number.

    Args:
        scores: ``[R, K]``.
        ranks: ``[R, K]``, 1 is best, -1 where there is no candidate.

    Returns:
        ``[R]``, not negative.
    """
    there = ranks >= 0
    best = there & (ranks == torch.where(there, ranks, float("inf")).amin(dim=-1, keepdim=True))
    share = best / best.sum(dim=-1, keepdim=True).clamp(min=1)
    return _cross_entropy(scores, share.to(scores.dtype), there)


def listnet(scores: Tensor, labels: Tensor, there: Tensor, temperature: float = 1.0) -> Tensor:
    """ListNet's top-1 form: cross entropy of ``softmax(scores)`` against ``softmax(labels / temperature)``.

    Cao et al. 2007 (ICML, "Learning to rank: from pairwise approach to listwise approach"). Its least value is the
    entropy of the labels' softmax.

    Args:
        scores: ``[R, K]``.
        labels: ``[R, K]``, higher is better.
        there: bool ``[R, K]``, False where there is no candidate.
        temperature: Above 0.

    Returns:
        ``[R]``, not negative.
    """
    share = torch.where(there, labels / temperature, float("-inf")).softmax(dim=-1)
    return _cross_entropy(scores, torch.where(there, share, torch.zeros_like(share)), there)


def ranking_hinge(scores: Tensor, ranks: Tensor, margin: float = 1.0) -> tuple[Tensor, Tensor]:
    """``max(0, m - (s_i - s_j) (rank_j - rank_i))`` over all pairs of a ranking's candidates.

    HPS v2's ``RankingLoss``, whose own mask keeps the diagonal and the padding; here only real pairs count. A pair of
    equal ranks costs the margin and has no gradient.

    Args:
        scores: ``[R, K]``.
        ranks: ``[R, K]``, 1 is best, -1 where there is no candidate.
        margin: m.

    Returns:
        Sum over the pairs and their number, ``[R]`` each.
    """
    there = ranks >= 0
    pair = torch.ones(ranks.shape[-1], ranks.shape[-1], dtype=torch.bool, device=ranks.device).tril(-1)
    pair = pair & there.unsqueeze(-1) & there.unsqueeze(-2)  # [R, K, K]
    lead = scores.unsqueeze(-1) - scores.unsqueeze(-2)
    gap = (ranks.unsqueeze(-2) - ranks.unsqueeze(-1)).to(scores.dtype)
    losses = torch.where(pair, F.relu(margin - lead * gap), torch.zeros_like(lead))
    return losses.sum(dim=(-2, -1)), pair.sum(dim=(-2, -1))


class Top1(nn.Module):
    """``top1``."""

    def forward(self, scores: Tensor, ranks: Tensor) -> Tensor:
        """Loss of each ranking, ``[R]``."""
        return top1(scores, ranks)


class ListNet(nn.Module):
    """``listnet`` with the ranks, best 0 and each further rank 1 less, as labels.

    Args:
        temperature: Of the labels' softmax, above 0. Small values look at the best alone.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise UserError(f"the temperature of listnet has to be above 0, not {temperature:g}")
        self.temperature = temperature

    def forward(self, scores: Tensor, ranks: Tensor) -> Tensor:
        """Loss of each ranking, ``[R]``."""
        return listnet(scores, 1 - ranks.to(scores.dtype), ranks >= 0, self.temperature)


class RankingHinge(nn.Module):
    """``ranking_hinge``, the mean over each ranking's pairs.

    Args:
        margin: At least 0.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if not 0 <= margin < float("inf"):
            raise UserError(f"the margin has to be a number of at least 0, not {margin:g}")
        self.margin = margin

    def forward(self, scores: Tensor, ranks: Tensor) -> Tensor:
        """Loss of each ranking, ``[R]``."""
        total, pairs = ranking_hinge(scores, ranks, self.margin)
        return total / pairs.clamp(min=1)


class RankingObjective(nn.Module):
    """A rule over the rankings of a batch, averaged over the rankings of the optimiser step for each dimension.

    Args:
        dimensions: The model's dimensions, in the order of its scores.
        rule: What a ranking costs.
        factors: Factor for each dimension; None or empty: 1 for all, else 0 for those that are not named. The total is
            divided by their sum.

    Raises:
        UserError: A factor of a dimension that the model lacks.
    """

    def __init__(
        self, dimensions: Sequence[str], rule: RankingRule, *, factors: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.dimensions = tuple(dimensions)
        self.rule: RankingRule = rule
        self.factors = dimension_factors(dimensions, factors)

    def forward(self, output: RewardOutput, labels: Batch, denominators: Denominators) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            output: Scores float ``[N, D]``.
            labels: The batch's rankings.
            denominators: ``rankings`` of the whole optimiser step.

        Returns:
            The total, and each dimension's term by name (before its factor).
        """
        scores = full_precision(output.scores)
        dimension = labels.ranking_dimension
        if labels.ranking_candidate.shape[-1]:
            # A padded place reads the first candidate's score; its rank of -1 tells the rule to leave it out.
            picked = scores[labels.ranking_candidate.clamp(min=0), dimension.unsqueeze(-1)]  # [R, K]
            losses = self.rule(picked, labels.ranking_rank.to(scores.dtype))
        else:
            losses = scores[:0, 0]
            dimension = dimension[:0]
        terms = sums_by_dimension(losses, dimension, len(self.dimensions))
        return loss_of(divided(terms, denominators.rankings), self.dimensions, self.factors)


def _cross_entropy(scores: Tensor, share: Tensor, there: Tensor) -> Tensor:
    """Cross entropy of the softmax over the candidates that are there against shares ``[R, K]``."""
    total = masked_logsumexp(scores, there)
    total = torch.where(there.any(dim=-1), total, torch.zeros_like(total))
    return (share * (total.unsqueeze(-1) - torch.where(there, scores, torch.zeros_like(scores)))).sum(dim=-1)
