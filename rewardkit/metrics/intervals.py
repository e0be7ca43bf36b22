"""95 % intervals by resampling groups: comparisons of one group share its prompt and images, so they move together."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
"""Resamples behind an interval (objectives and metrics: bootstrap over groups, percentile)."""

_CELLS_AT_ONCE = 4_000_000
"""Counts held in memory at a time: 32 MB."""

_KEPT = 2
"""Sets of draws that are kept, up to that size each: many metrics are resampled over the same groups."""


def resampled_sums(values: NDArray[np.float64], *, draws: int, seed: int) -> NDArray[np.float64]:
    """Sums over groups drawn with replacement.

    Args:
        values: ``[G, C]``, what each group adds to each of C sums.
        draws: Number of resamples.
        seed: The same seed and number of groups draw the same groups.

    Returns:
        ``[draws, C]``.
    """
    groups = len(values)
    if groups * draws <= _CELLS_AT_ONCE:
        return _kept_counts(groups, draws, seed) @ values  # [draws, G] @ [G, C]
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_ONCE // groups)
    sums = [_counts(generator, groups, min(step, draws - start)) @ values for start in range(0, draws, step)]
    return np.concatenate(sums)


def bootstrap_interval(
    values: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile interval of a statistic of sums over groups.

    Args:
        values: ``[G, C]``.
        statistic: Takes sums ``[draws, C]`` and gives ``[draws]``, NaN where it is undefined.
        draws: Number of resamples.
        seed: Of the resamples.
        level: Share of the resamples inside the interval.

    Returns:
        Lower and upper end; None for fewer than two groups, where nothing can be said.
    """
    if len(values) < 2 or draws < 1:
        return None
    drawn = statistic(resampled_sums(values, draws=draws, seed=seed))
    return interval_of(drawn[np.isfinite(drawn)], level=level)


def interval_of(drawn: NDArray[np.float64], *, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of resampled values ``[draws]``, all finite; None where there are none."""
    if not len(drawn):
        return None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """First column over second: ``[draws, 2]`` to ``[draws]``, NaN where the second is 0."""
    whole = sums[:, 1]
    return np.divide(sums[:, 0], whole, out=np.full(len(sums), np.nan), where=whole > 0)


def _counts(generator: np.random.Generator, groups: int, draws: int) -> NDArray[np.float64]:
    """``[draws, G]``: how often each group is drawn. Floats, since integers are multiplied without BLAS.

    The groups are drawn one by one and counted: six times as fast as the multinomial distribution that they follow.
    """
    drawn = generator.integers(0, groups, size=(draws, groups))
    drawn += np.arange(draws)[:, None] * groups
    return np.bincount(drawn.ravel(), minlength=draws * groups).reshape(draws, groups).astype(np.float64)


@lru_cache(maxsize=_KEPT)
def _kept_counts(groups: int, draws: int, seed: int) -> NDArray[np.float64]:
    counts = _counts(np.random.default_rng(seed), groups, draws)
    counts.flags.writeable = False
    return counts
