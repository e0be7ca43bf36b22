"""Two models on the same comparisons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rewardkit.errors import DataError
from rewardkit.metrics.intervals import DRAWS, bootstrap_interval, ratio, resampled_sums
from rewardkit.metrics.protocols import credit, find_protocol, sums_of_groups

_SAME = ["source", "key", "dimension", "first", "second"]
"""What names a comparison across tables."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Accuracy of one model minus accuracy of another.

    Attributes:
        protocol: Name of the rule.
        value: Between -1 and 1.
        low: Lower end of the 95 % interval of the difference (paired bootstrap over groups).
        high: Upper end.
        better: Share of the resamples in which the first model is ahead; equal ones count half.
        comparisons: Comparisons that both models scored.
        groups: Groups of these.
    """

    protocol: str
    value: float
    low: float | None
    high: float | None
    better: float | None
    comparisons: int
    groups: int


def paired_difference(
    ours: pd.DataFrame, theirs: pd.DataFrame, protocol: str, *, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Compares two models by a paired bootstrap: each resample draws the same groups for both.

    Args:
        ours: ``judged_pairs`` of the first model, of one dimension.
        theirs: ``judged_pairs`` of the second.
        protocol: Name of the rule.
        draws: Resamples.
        seed: Of the resamples.

    Raises:
        DataError: The two have no comparison in common.
    """
    rule = find_protocol(protocol)
    left = ours.assign(credit=credit(ours, rule.equal_scores))
    right = theirs.assign(credit=credit(theirs, rule.equal_scores))
    # The same two candidates may have been compared more than once.
    for frame in (left, right):
        frame["again"] = frame.groupby(_SAME, sort=False).cumcount()
    both = left.merge(right[[*_SAME, "again", "credit"]], on=[*_SAME, "again"], suffixes=("", "_theirs"))
    both = both.dropna(subset=["credit", "credit_theirs"])
    if not len(both):
        raise DataError("the two tables have no comparison in common; were they made on the same data?")
    gain = (both["credit"] - both["credit_theirs"]).to_numpy(float)
    sums = sums_of_groups(both, gain, macro=rule.macro)
    interval = bootstrap_interval(sums, ratio, draws=draws, seed=seed)
    better = None
    if interval:
        drawn = ratio(resampled_sums(sums, draws=draws, seed=seed))
        better = float(np.mean((drawn > 0) + 0.5 * (drawn == 0)))
    return Difference(
        protocol=rule.name,
        value=float(sums[:, 0].sum() / sums[:, 1].sum()),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        better=better,
        comparisons=len(both),
        groups=len(sums),
    )
