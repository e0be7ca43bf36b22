"""What every protocol comes down to: sums over groups and a function of them; values and intervals follow.

Each metric is a function of sums to which every group adds its share: an accuracy is right / counted, a correlation of
generators a function of their summed scores and wins. So one bootstrap over groups serves all of them, and two models
are compared by drawing the same groups for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.errors import DataError
from rewardkit.metrics.intervals import DRAWS, bootstrap_interval, interval_of, ratio, resampled_sums

_ROUNDING = 1e-12

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Sums ``[draws, C]`` to ``[draws]``, NaN where undefined."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What stands behind a number, and what was left out of it.

    Attributes:
        comparisons: Comparisons (or pairs of a people's order) that count.
        groups: Groups with something that counts.
        ties: Comparisons of which people said tie: left out or judged, as the protocol says.
        undecided: Comparisons left out because as many voted for one as for the other.
        unscored: Comparisons left out because a candidate has no score (a bad sample).
        equal_scores: Comparisons that count and whose two scores are equal.
        groups_without: Groups in which nothing counts, or in which the metric is undefined.
    """

    comparisons: int = 0
    groups: int = 0
    ties: int = 0
    undecided: int = 0
    unscored: int = 0
    equal_scores: int = 0
    groups_without: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric under one protocol, before it is averaged.

    Attributes:
        protocol: Name of the rule.
        metric: ``accuracy``, or which of the protocol's numbers it is (``recall@1``).
        groups: ``[G]`` names of the groups (source and key), each once.
        sums: ``[G, C]``, what each group adds to each sum.
        statistic: The metric as a function of the sums.
        counts: What counted and what did not.
        note: What a reader must know of it (a tuned threshold, a number of generators); may be "".
        tuned: The threshold or temperature it was counted with, where there is one.
        share: Whether it is a share of something, so that a difference reads in points (hundredths).
        lower_is_better: Whether a smaller value is the better one.
        fixed: It depends on nothing that was scored here (a temperature), so it has no interval.
    """

    protocol: str
    metric: str
    groups: NDArray[np.object_]
    sums: NDArray[np.float64]
    statistic: Statistic = ratio
    counts: Counts = Counts()
    note: str = ""
    tuned: float | None = None
    share: bool = True
    lower_is_better: bool = False
    fixed: bool = False

    def value(self) -> float | None:
        """The metric over all groups; None where it is undefined."""
        if not len(self.sums):
            return None
        found = float(self.statistic(_total(self.sums))[0])
        return found if np.isfinite(found) else None

    def result(self, *, draws: int = DRAWS, seed: int = 0) -> Result:
        """Value and 95 % interval.

        Args:
            draws: Resamples of groups behind the interval; 0 gives none.
            seed: Of the resamples.
        """
        interval = None if self.fixed else bootstrap_interval(self.sums, self.statistic, draws=draws, seed=seed)
        low, high = interval or (None, None)
        value = self.value()
        return Result(
            protocol=self.protocol,
            metric=self.metric,
            value=value,
            low=low if value is not None else None,
            high=high if value is not None else None,
            **asdict(self.counts),
            tuned=self.tuned,
            note=self.note,
        )


@dataclass(frozen=True, slots=True)
class Result:
    """A number and all that must be printed beside it. The counts are those of ``Counts``.

    Attributes:
        protocol: Name of the rule.
        metric: Which of its numbers.
        value: None where nothing counts, or where it is undefined.
        low: Lower end of the 95 % interval (bootstrap over groups); None for fewer than two groups.
        high: Upper end.
        tuned: Threshold or temperature, where there is one.
        note: What a reader must know of it.
    """

    protocol: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    comparisons: int
    groups: int
    ties: int
    undecided: int
    unscored: int
    equal_scores: int
    groups_without: int
    tuned: float | None = None
    note: str = ""

    def as_row(self) -> dict[str, Any]:
        """Plain numbers and texts, for tables, cards and JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of one model minus the same of another.

    Attributes:
        protocol: Name of the rule.
        metric: Which of its numbers.
        value: First minus second.
        low: Lower end of the 95 % interval of the difference (paired bootstrap over groups).
        high: Upper end.
        better: Share of the resamples in which the first model is ahead; equal ones count half.
        comparisons: Comparisons that both models scored.
        groups: Groups of these.
        share: Whether the difference reads in points.
        lower_is_better: Whether a smaller value of the metric is the better one.
    """

    protocol: str
    metric: str
    value: float
    low: float | None
    high: float | None
    better: float | None
    comparisons: int
    groups: int
    share: bool = True
    lower_is_better: bool = False


def difference(ours: Measurement, theirs: Measurement, *, draws: int = DRAWS, seed: int = 0) -> Difference | None:
    """Compares two models by a paired bootstrap: each resample draws the same groups for both.

    Args:
        ours: Of the first model.
        theirs: Of the second, on the same comparisons.
        draws: Resamples.
        seed: Of the resamples.

    Returns:
        None where the metric is undefined for one of them.

    Raises:
        DataError: The two have no group in common.
    """
    place = pd.Index(theirs.groups).get_indexer(pd.Index(ours.groups))
    both = place >= 0
    if not both.any():
        raise DataError("the two tables have no comparison in common; were they made on the same data?")
    mine, other = ours.sums[both], theirs.sums[place[both]]  # [G, C] each, the same groups in the same order
    value = float((ours.statistic(_total(mine)) - theirs.statistic(_total(other)))[0])
    if not np.isfinite(value):
        return None
    value = float(_clean(np.array(value)))
    low = high = better = None
    if len(mine) >= 2 and draws >= 1:
        # The same seed and number of groups draw the same groups.
        drawn = ours.statistic(resampled_sums(mine, draws=draws, seed=seed)) - theirs.statistic(
            resampled_sums(other, draws=draws, seed=seed)
        )
        drawn = _clean(drawn[np.isfinite(drawn)])
        low, high = interval_of(drawn) or (None, None)
        ahead = -drawn if ours.lower_is_better else drawn
        better = float(np.mean((ahead > 0) + 0.5 * (ahead == 0))) if len(drawn) else None
    return Difference(
        protocol=ours.protocol,
        metric=ours.metric,
        value=value,
        low=low,
        high=high,
        better=better,
        comparisons=min(ours.counts.comparisons, theirs.counts.comparisons),
        groups=int(both.sum()),
        share=ours.share,
        lower_is_better=ours.lower_is_better,
    )


def _clean(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences that are the rounding of sums in another order are 0: they decide whether an interval holds 0."""
    return np.where(np.abs(differences) < _ROUNDING, 0.0, differences)


def _total(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[G, C]`` to ``[1, C]``, as if every group were drawn once."""
    total: NDArray[np.float64] = sums.sum(axis=0, keepdims=True)
    return total
