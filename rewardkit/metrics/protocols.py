"""Protocols: named rules by which preference accuracy is counted. Pure functions of the judged pairs.

============== ======================= ========================== ==================
name           human ties, undecided   equal scores               averaged
============== ======================= ========================== ==================
strict_micro   left out, counted       wrong                      over comparisons
strict_macro   left out, counted       wrong                      over groups
half_micro     left out, counted       one half                   over comparisons
half_macro     left out, counted       one half                   over groups
============== ======================= ========================== ==================

Equal scores are never ordered by position. A group without a decided comparison has no accuracy of its own: the macro
mean leaves it out and counts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.errors import DataError, UserError
from rewardkit.metrics.intervals import DRAWS, bootstrap_interval, ratio
from rewardkit.metrics.judged_pairs import FIRST, SECOND, TIE, UNDECIDED


@dataclass(frozen=True, slots=True)
class Protocol:
    """One rule.

    Attributes:
        name: As it is printed beside every number.
        equal_scores: Credit where both scores are equal.
        macro: Mean over groups instead of over comparisons.
    """

    name: str
    equal_scores: float
    macro: bool


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("strict_micro", 0.0, False),
        Protocol("strict_macro", 0.0, True),
        Protocol("half_micro", 0.5, False),
        Protocol("half_macro", 0.5, True),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UserError: There is none; the message names the nearest.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = get_close_matches(name, PROTOCOLS, n=1, cutoff=0)[0]
    raise UserError(f"there is no protocol {name!r}; did you mean {near!r}? (protocols: {', '.join(PROTOCOLS)})")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """An accuracy and all that must be printed beside it.

    Attributes:
        protocol: Name of the rule.
        value: Between 0 and 1; None where no comparison counts.
        low: Lower end of the 95 % interval; None for fewer than two groups.
        high: Upper end.
        comparisons: Comparisons that count.
        groups: Groups with a comparison that counts.
        ties: Comparisons left out because people said tie.
        undecided: Comparisons left out because as many voted for one as for the other.
        unscored: Decided comparisons left out because a candidate has no score (a bad sample).
        equal_scores: Comparisons that count and whose two scores are equal.
        groups_without: Groups in which no comparison counts.
    """

    protocol: str
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

    def as_row(self) -> dict[str, Any]:
        """Plain numbers and texts, for tables, cards and JSON."""
        return asdict(self)


def accuracy(pairs: pd.DataFrame, protocol: str | Protocol, *, draws: int = DRAWS, seed: int = 0) -> Accuracy:
    """Preference accuracy under a protocol.

    Args:
        pairs: From ``judged_pairs``; any part of its rows.
        protocol: Name or rule.
        draws: Resamples behind the interval; 0 gives none.
        seed: Of the resamples.

    Raises:
        UserError: An unknown protocol.
        DataError: A score is not finite.
    """
    rule = find_protocol(protocol) if isinstance(protocol, str) else protocol
    return summarise(pairs, credit(pairs, rule.equal_scores), rule, draws=draws, seed=seed)


def credit(pairs: pd.DataFrame, equal_scores: float) -> NDArray[np.float64]:
    """``[P]``: 1 where the scores' order is the verdict's, 0 where not, ``equal_scores`` where they are equal.

    NaN where the comparison does not count: a tie, undecided, or a candidate without a score.

    Raises:
        DataError: A score is infinite. (A missing one is NaN.)
    """
    first, second = pairs["score_first"].to_numpy(float), pairs["score_second"].to_numpy(float)
    if np.isinf(first).any() or np.isinf(second).any():
        raise DataError("a score is infinite, so the model's order means nothing; look at the weights it was made with")
    verdict = pairs["verdict"].to_numpy()
    right = np.where(verdict == FIRST, first > second, second > first).astype(float)
    right[first == second] = equal_scores
    right[~np.isin(verdict, (FIRST, SECOND)) | np.isnan(first) | np.isnan(second)] = np.nan
    return right


def summarise(
    pairs: pd.DataFrame, credits: NDArray[np.float64], rule: Protocol, *, draws: int = DRAWS, seed: int = 0
) -> Accuracy:
    """Averages credits as a protocol does, and counts what it left out.

    Args:
        pairs: From ``judged_pairs``.
        credits: ``[P]``, NaN where a comparison does not count.
        rule: Says whether groups or comparisons are averaged.
        draws: Resamples behind the interval.
        seed: Of the resamples.
    """
    verdict = pairs["verdict"].to_numpy()
    counts = ~np.isnan(credits)
    sums = sums_of_groups(pairs, credits, macro=rule.macro)  # [G, 2]
    whole = sums[:, 1].sum()
    interval = bootstrap_interval(sums, ratio, draws=draws, seed=seed)
    equal = (pairs["score_first"] == pairs["score_second"]).to_numpy()
    return Accuracy(
        protocol=rule.name,
        value=float(sums[:, 0].sum() / whole) if whole else None,
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        comparisons=int(counts.sum()),
        groups=len(sums),
        ties=int((verdict == TIE).sum()),
        undecided=int((verdict == UNDECIDED).sum()),
        unscored=int((np.isin(verdict, (FIRST, SECOND)) & ~counts).sum()),
        equal_scores=int((counts & equal).sum()),
        groups_without=pairs["group"].nunique() - len(sums),
    )


def sums_of_groups(pairs: pd.DataFrame, credits: NDArray[np.float64], *, macro: bool) -> NDArray[np.float64]:
    """``[G, 2]`` for the groups in which something counts; the accuracy is the ratio of the columns' sums.

    Micro: credit and number of comparisons of each group. Macro: the group's own accuracy, and 1.
    """
    counts = ~np.isnan(credits)
    codes, groups = pd.factorize(pairs["group"].to_numpy()[counts], sort=True)
    right = np.bincount(codes, weights=credits[counts], minlength=len(groups))
    number = np.bincount(codes, minlength=len(groups)).astype(float)
    return np.stack([right / number, np.ones_like(number)] if macro else [right, number], axis=1)
