"""A figure with what must be printed beside it: how many stand behind it, and its 95 % interval over groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardkit.metrics.intervals import bootstrap_interval, ratio

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure.

    Attributes:
        value: None where nothing stands behind it, or it is undefined.
        low: Lower end of the 95 % interval (bootstrap over groups); None for fewer than two groups.
        high: Upper end.
        n: What was counted: scores, pairs or candidates, as the figure says.
        groups: Their groups.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: int


def estimate(
    sums: Floats,
    n: Floats,
    statistic: Callable[[Floats], Floats] = ratio,
    *,
    draws: int,
    seed: int = 0,
) -> Estimate:
    """A function of sums over groups, with its interval.

    Args:
        sums: ``[G, C]``, what each group adds to each sum.
        n: ``[G]``, how much of what is counted each group holds; groups without any are left out.
        statistic: Sums ``[draws, C]`` to values ``[draws]``, NaN where undefined. Default: first column over second.
        draws: Resamples of groups.
        seed: Of the resamples.
    """
    counted = n > 0
    sums, total = sums[counted], int(n[counted].sum())
    groups = len(sums)
    if not groups:
        return Estimate(None, None, None, 0, 0)
    value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
    if not np.isfinite(value):
        return Estimate(None, None, None, total, groups)
    low, high = bootstrap_interval(sums, statistic, draws=draws, seed=seed) or (None, None)
    return Estimate(value, low, high, total, groups)
