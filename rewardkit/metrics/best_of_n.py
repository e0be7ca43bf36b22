"""What choosing the highest-scored of n candidates is worth: curves over n, against a random choice and the best one.

For a group of K candidates the expectation over all subsets of n is exact: in descending order of scores the r-th is
the highest of a random subset with probability C(K - r, n - 1) / C(K, n). Equal scores share their places' probability,
since nothing but their order in a list would tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import comb

from rewardkit.errors import DataError
from rewardkit.metrics.intervals import DRAWS, bootstrap_interval, ratio

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BestOfN:
    """One point of a curve; means over groups.

    Attributes:
        n: Candidates that one is chosen of.
        score: Score of the chosen one, by the reward model itself.
        value: What people say of it (a win rate, a rating).
        low: Lower end of the 95 % interval of ``value`` (bootstrap over groups).
        high: Upper end.
        ceiling: ``value`` if people's favourite of the n were chosen.
        groups: Groups behind it.
        left_out: Groups with too few candidates, or with a candidate that lacks a score or a value.
    """

    n: int
    score: float | None
    value: float | None
    low: float | None
    high: float | None
    ceiling: float | None
    groups: int
    left_out: int

    def as_row(self) -> dict[str, Any]:
        """Plain numbers, for tables and JSON."""
        return asdict(self)


def best_of_n_curve(
    groups: Sequence[tuple[ArrayLike, ArrayLike]], ns: Sequence[int], *, draws: int = DRAWS, seed: int = 0
) -> list[BestOfN]:
    """The curve over n. Every point is over the same groups, those with at least the largest n.

    Args:
        groups: Scores ``[K]`` and people's values ``[K]`` of each group's candidates, NaN where there is none.
        ns: How many candidates to choose from.
        draws: Resamples of groups behind each interval.
        seed: Of the resamples.

    Raises:
        DataError: No n, one below 1, an infinite score, or a group with as many scores as it has no values.
    """
    if not ns or min(ns) < 1:
        raise DataError(f"best of n needs numbers n of at least 1, got {list(ns)}")
    kept = []
    for place, (scores, values) in enumerate(groups):
        score, value = np.asarray(scores, dtype=float), np.asarray(values, dtype=float)
        if score.shape != value.shape or score.ndim != 1:
            raise DataError(f"group {place} has {score.size} scores and {value.size} values")
        if np.isinf(score).any():
            raise DataError(f"group {place} has an infinite score; look at the weights it was made with")
        if len(score) >= max(ns) and not np.isnan(score).any() and not np.isnan(value).any():
            kept.append((score, value))
    points = []
    for n in ns:
        table = np.array([_of_group(score, value, n) for score, value in kept]).reshape(-1, 3)
        means = table.mean(axis=0).tolist() if len(table) else [None] * 3
        sums = np.stack([table[:, 1], np.ones(len(table))], axis=1)
        low, high = bootstrap_interval(sums, ratio, draws=draws, seed=seed) or (None, None)
        points.append(BestOfN(n, means[0], means[1], low, high, means[2], len(table), len(groups) - len(table)))
    return points


def chosen_probabilities(scores: Floats, n: int) -> Floats:
    """``[K]``: how likely each candidate is the highest-scored of a random n of them, equals in random order."""
    k = len(scores)
    of_place = comb(k - np.arange(1, k + 1), n - 1) / comb(k, n)
    levels, level = np.unique(-scores, return_inverse=True)
    sizes = np.bincount(level, minlength=len(levels))
    of_level = np.add.reduceat(of_place, np.cumsum(sizes) - sizes)
    return np.asarray((of_level / sizes)[level])


def win_shares(ranks: ArrayLike) -> Floats:
    """``[K]``: how often each candidate is preferred to another one of its group, a tie counting one half.

    As people's values of ``best_of_n_curve``, their curve is the win rate against a random candidate of the group.

    Args:
        ranks: ``[K]`` people's ranks, 1 the best, equal numbers tie; NaN, which is not compared, has NaN.
    """
    rank = np.asarray(ranks, dtype=float)
    known = ~np.isnan(rank)
    others = int(known.sum()) - 1
    won = (np.sign(rank[None, :] - rank[:, None]) + 1) / 2  # [K, K], the row's candidate against the column's
    total = np.nansum(won, axis=1) - 0.5  # itself
    return np.where(known & (others > 0), total / max(1, others), np.nan)


def _of_group(score: Floats, value: Floats, n: int) -> tuple[float, float, float]:
    """Score and value of the chosen candidate, and the value of the best one."""
    chosen, best = chosen_probabilities(score, n), chosen_probabilities(value, n)
    return float(chosen @ score), float(chosen @ value), float(best @ value)
