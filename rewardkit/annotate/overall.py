"""From scores to comparisons: of one dimension, and of ``overall`` from all of them by a stated rule.

Rules of ``overall``:

==============  ====================================================================================================
``mean``        the mean of the dimensions (VisionPrefer's, as far as is known)
``weighted``    their weighted mean
``dominance``   as ``mean``, but only pairs are kept whose winner is at least as good on every dimension and better on
                one (the idea of VisionReward's MPO); all equal is a tie
``none``        no overall
==============  ====================================================================================================

A dimension that one image of a pair has no score on is dropped from both. A pair without a dimension that both have is
missing. ``tie_eps``: a gap of at most so much is a tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.group import Comparison

OVERALL = "overall"
Rule = Literal["mean", "weighted", "dominance", "none"]

DIGITS = 9
"""Gaps are rounded to so many digits before they are compared with ``tie_eps``."""


@dataclass(slots=True)
class PairCounts:
    """What became of the pairs of candidates.

    Attributes:
        pairs: All pairs of the groups.
        strict: Comparisons with a winner: what is left where ties are dropped.
        ties: Comparisons that are ties.
        missing: Dropped: a candidate has no score.
        conflicts: Dropped: neither dominates the other.
        invalid: Scores that were asked for and did not come, in a valid form, of any annotator.
        refused: Scores that were asked for and refused.
        not_applicable: Scores that are N/A.
    """

    pairs: int = 0
    strict: int = 0
    ties: int = 0
    missing: int = 0
    conflicts: int = 0
    invalid: int = 0
    refused: int = 0
    not_applicable: int = 0

    @property
    def dropped(self) -> int:
        """Pairs that make no comparison."""
        return self.missing + self.conflicts

    @property
    def tie_share(self) -> float | None:
        """Ties among the comparisons."""
        made = self.ties + self.strict
        return self.ties / made if made else None


@dataclass(frozen=True, slots=True)
class OverallRule:
    """How overall follows.

    Attributes:
        rule: See the module's docstring.
        weights: Dimension to its weight, not negative; others weigh 0. Only of ``weighted``.
        tie_eps: Largest gap that is a tie, 0 or more; of dimensions too.
    """

    rule: Rule = "mean"
    weights: Mapping[str, float] = field(default_factory=dict)
    tie_eps: float = 0.0

    def weights_of(self, dimensions: tuple[str, ...]) -> NDArray[np.float64]:
        """``[D]``."""
        if self.rule == "weighted":
            return np.array([self.weights.get(name, 0.0) for name in dimensions])
        return np.ones(len(dimensions))


def dimension_comparisons(
    values: NDArray[np.float64], dimension: str, tie_eps: float, counts: PairCounts
) -> list[Comparison]:
    """Comparisons of one dimension.

    Args:
        values: ``[K]`` scores; NaN: none.
        dimension: Its name.
        tie_eps: Largest gap that is a tie.
        counts: Added to.
    """
    return _comparisons(values[:, None], np.ones(1), dimension, tie_eps, False, counts)


def overall_comparisons(
    values: NDArray[np.float64], dimensions: tuple[str, ...], rule: OverallRule, counts: PairCounts
) -> list[Comparison]:
    """Comparisons of overall; none under ``none``.

    Args:
        values: ``[K, D]`` scores; NaN: none.
        dimensions: Their names.
        rule: How overall follows.
        counts: Added to.
    """
    if rule.rule == "none":
        return []
    return _comparisons(values, rule.weights_of(dimensions), OVERALL, rule.tie_eps, rule.rule == "dominance", counts)


def overall_scores(values: NDArray[np.float64], dimensions: tuple[str, ...], rule: OverallRule) -> NDArray[np.float64]:
    """``[K]`` overall scores; NaN where a dimension that counts has none, and under ``none`` and ``dominance``."""
    if rule.rule in ("none", "dominance"):
        return np.full(len(values), np.nan)
    weights = rule.weights_of(dimensions)
    counted = weights > 0
    return np.round(values[:, counted] @ weights[counted] / weights.sum(), DIGITS)


def _comparisons(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    dimension: str,
    tie_eps: float,
    dominance: bool,
    counts: PairCounts,
) -> list[Comparison]:
    found = []
    for i, j in combinations(range(len(values)), 2):
        counts.pairs += 1
        gaps = values[i] - values[j]
        common = ~np.isnan(gaps) & (weights > 0)
        if not common.any():
            counts.missing += 1
            continue
        gaps = np.round(gaps[common], DIGITS)
        gap = float(np.round(gaps @ weights[common] / weights[common].sum(), DIGITS))
        if dominance:
            better, worse = bool((gaps > tie_eps).any()), bool((gaps < -tie_eps).any())
            if better and worse:
                counts.conflicts += 1
                continue
            gap = np.inf if better else -np.inf if worse else 0.0
        if abs(gap) <= tie_eps:
            counts.ties += 1
            votes = (0.0, 1.0, 0.0)
        else:
            counts.strict += 1
            votes = (1.0, 0.0, 0.0) if gap > 0 else (0.0, 0.0, 1.0)
        found.append(Comparison(dimension, i, j, votes))
    return found
