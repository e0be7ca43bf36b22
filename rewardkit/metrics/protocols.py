r"""Protocols of pairs: named rules by which preference accuracy is counted. Pure functions of judged pairs.

A pair has a verdict (one is preferred, or a tie) and two scores, which are apart or tied. A rule says what each of the
cases is worth; a right order is worth 1 and a wrong one 0 everywhere.

============================== ======= ============= ======================== ========== ============================
name                           pairs   scores tied   people said tie:         averaged   scores tie where
                               of      is worth      scores tied, apart       over
============================== ======= ============= ======================== ========== ============================
strict_micro, strict_macro     votes   0             left out                 pairs, groups  they are equal
half_micro, half_macro         votes   1/2           left out                 pairs, groups  they are equal
hpdv2                          ranks   1/2           1, 1                     groups     they are equal
imagereward_micro, …_macro     ranks   0             left out                 pairs, groups  they are equal
pickapic                       votes   1/2           1, 1/2                   pairs      |p1 - p0| <= t
pickapic_training              votes   0             0, 1/2                   pairs      they are equal
tie_calibrated_micro, …_macro  votes   0             1, 0                     pairs, groups  |difference| <= eps
============================== ======= ============= ======================== ========== ============================

Tied scores are never ordered by position, but in ``hpdv2_published``. Undecided comparisons are left out and counted. A
group in which nothing counts has no accuracy of its own: the macro mean leaves it out and counts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.errors import DataError, UserError
from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.judged_pairs import FIRST, SECOND, TIE, UNDECIDED
from rewardkit.metrics.results import Counts, Measurement, Result


@dataclass(frozen=True, slots=True)
class Protocol:
    """One rule.

    Attributes:
        name: As it is printed beside every number.
        equal_scores: Credit where people preferred one and the scores tie; None takes the one listed first.
        macro: Mean over groups instead of over pairs.
        ties: Credit where people said tie: for scores that tie, and for scores apart. None leaves such pairs out.
        pairs: ``votes``: comparisons with the verdict of their votes. ``ranks``: pairs of the people's order.
        threshold: What is compared with a threshold to tell whether scores tie: their ``difference``, or the difference
            of the two softmax ``probability``; None: scores tie where they are equal.
    """

    name: str
    equal_scores: float | None
    macro: bool
    ties: tuple[float, float] | None = None
    pairs: Literal["votes", "ranks"] = "votes"
    threshold: Literal["difference", "probability"] | None = None

    @property
    def worth_of_a_guess(self) -> float:
        """Credit of tied scores where the order of the list is not to be used: that of ``equal_scores``, or 1/2."""
        return 0.5 if self.equal_scores is None else self.equal_scores


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("strict_micro", 0.0, False),
        Protocol("strict_macro", 0.0, True),
        Protocol("half_micro", 0.5, False),
        Protocol("half_macro", 0.5, True),
        Protocol("hpdv2", 0.5, True, (1.0, 1.0), "ranks"),
        Protocol("hpdv2_published", None, True, (1.0, 1.0), "ranks"),
        Protocol("imagereward_micro", 0.0, False, None, "ranks"),
        Protocol("imagereward_macro", 0.0, True, None, "ranks"),
        Protocol("pickapic", 0.5, False, (1.0, 0.5), threshold="probability"),
        Protocol("pickapic_training", 0.0, False, (0.0, 0.5)),
        Protocol("tie_calibrated_micro", 0.0, False, (1.0, 0.0), threshold="difference"),
        Protocol("tie_calibrated_macro", 0.0, True, (1.0, 0.0), threshold="difference"),
        Protocol("tie_calibrated_micro_published", 0.0, False, (1.0, 0.0), threshold="difference"),
        Protocol("tie_calibrated_macro_published", 0.0, True, (1.0, 0.0), threshold="difference"),
    )
}
"""Every rule that gives each pair a credit and averages it."""


def find_protocol(name: str) -> Protocol:
    """The protocol of pairs of that name.

    Raises:
        UserError: There is none; the message names the nearest.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = get_close_matches(name, PROTOCOLS, n=1, cutoff=0)[0]
    raise UserError(f"there is no protocol {name!r}; did you mean {near!r}? (protocols: {', '.join(PROTOCOLS)})")


def accuracy(
    pairs: pd.DataFrame,
    protocol: str | Protocol,
    *,
    threshold: float = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
) -> Result:
    """Preference accuracy under a protocol.

    Args:
        pairs: From ``judged_pairs`` (or ``ranked_pairs``, as the protocol says); any part of its rows.
        protocol: Name or rule.
        threshold: Of a rule that has one, see ``tie_thresholds.py``.
        draws: Resamples behind the interval; 0 gives none.
        seed: Of the resamples.

    Raises:
        UserError: An unknown protocol.
        DataError: A score is not finite.
    """
    rule = find_protocol(protocol) if isinstance(protocol, str) else protocol
    return summarise(pairs, credit(pairs, rule, threshold), rule, draws=draws, seed=seed)


def score_gaps(pairs: pd.DataFrame, threshold: str | None = "difference") -> NDArray[np.float64]:
    """``[P]``: how far apart the two scores are, 0 or more; NaN without a score.

    Args:
        pairs: From ``judged_pairs``.
        threshold: ``Protocol.threshold``. ``probability``: difference of the softmax of the two scores, in [0, 1].
    """
    delta = np.abs(pairs["score_first"].to_numpy(float) - pairs["score_second"].to_numpy(float))
    # sigmoid(d) - sigmoid(-d) = tanh(d / 2)
    gaps: NDArray[np.float64] = np.tanh(delta / 2) if threshold == "probability" else delta
    return gaps


def credit(pairs: pd.DataFrame, rule: Protocol, threshold: float = 0.0) -> NDArray[np.float64]:
    """``[P]``: what each pair is worth under a rule.

    NaN where the pair does not count: undecided, a tie that the rule leaves out, or a candidate without a score.

    Raises:
        DataError: A score is infinite. (A missing one is NaN.)
    """
    first, second = pairs["score_first"].to_numpy(float), pairs["score_second"].to_numpy(float)
    if np.isinf(first).any() or np.isinf(second).any():
        raise DataError("a score is infinite, so the model's order means nothing; look at the weights it was made with")
    verdict = pairs["verdict"].to_numpy()
    tied = score_gaps(pairs, rule.threshold) <= threshold
    credits = np.where(verdict == FIRST, first > second, second > first).astype(float)
    if rule.equal_scores is None:
        listed_first = (pairs["first"] < pairs["second"]).to_numpy()
        credits[tied] = (listed_first == (verdict == FIRST))[tied]
    else:
        credits[tied] = rule.equal_scores
    said_tie = verdict == TIE
    if rule.ties is not None:
        credits[said_tie] = np.where(tied, *rule.ties)[said_tie]
    left_out = (verdict == UNDECIDED) | np.isnan(first) | np.isnan(second)
    credits[left_out | said_tie if rule.ties is None else left_out] = np.nan
    return credits


def summarise(
    pairs: pd.DataFrame, credits: NDArray[np.float64], rule: Protocol, *, draws: int = DRAWS, seed: int = 0
) -> Result:
    """Averages credits as a protocol does, and counts what it left out; see ``measured``."""
    return measured(pairs, credits, rule).result(draws=draws, seed=seed)


def measured(pairs: pd.DataFrame, credits: NDArray[np.float64], rule: Protocol) -> Measurement:
    """Credits as sums over groups, with the counts that belong to them.

    Args:
        pairs: From ``judged_pairs``.
        credits: ``[P]``, NaN where a pair does not count.
        rule: Says whether groups or pairs are averaged.
    """
    groups, sums = sums_of_groups(pairs, credits, macro=rule.macro)
    counts = counts_of(pairs, ~np.isnan(credits), len(groups), judges_ties=rule.ties is not None)
    return Measurement(rule.name, "accuracy", groups, sums, counts=counts)


def counts_of(pairs: pd.DataFrame, counted: NDArray[np.bool_], groups: int, *, judges_ties: bool) -> Counts:
    """What stands behind a number.

    Args:
        pairs: From ``judged_pairs``.
        counted: ``[P]``, whether a pair counts.
        groups: Groups with a pair that counts.
        judges_ties: Whether pairs of which people said tie would count.
    """
    verdict = pairs["verdict"].to_numpy()
    first, second = pairs["score_first"].to_numpy(float), pairs["score_second"].to_numpy(float)
    equal, without_score = first == second, np.isnan(first) | np.isnan(second)
    judged = np.isin(verdict, (FIRST, SECOND, TIE) if judges_ties else (FIRST, SECOND))
    return Counts(
        comparisons=int(counted.sum()),
        groups=groups,
        ties=int((verdict == TIE).sum()),
        undecided=int((verdict == UNDECIDED).sum()),
        unscored=int((judged & without_score).sum()),
        equal_scores=int((counted & equal).sum()),
        groups_without=len(np.unique(pairs["group"].to_numpy())) - groups,
    )


def sums_of_groups(
    pairs: pd.DataFrame, credits: NDArray[np.float64], *, macro: bool
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """Names ``[G]`` and sums ``[G, 2]`` of the groups in which something counts.

    The accuracy is the ratio of the columns' sums. Micro: credit and number of pairs of each group. Macro: the group's
    own accuracy, and 1.
    """
    counts = ~np.isnan(credits)
    codes, groups = pd.factorize(pairs["group"].to_numpy()[counts], sort=True)
    right = np.bincount(codes, weights=credits[counts], minlength=len(groups))
    number = np.bincount(codes, minlength=len(groups)).astype(float)
    sums = np.stack([right / number, np.ones_like(number)] if macro else [right, number], axis=1)
    return names_of_groups(pairs, groups), sums


def names_of_groups(rows: pd.DataFrame, groups: NDArray[np.int64]) -> NDArray[np.object_]:
    """What names each group across tables: source and key.

    Args:
        rows: With columns group, source and key.
        groups: ``[G]`` numbers of groups of these rows.
    """
    numbers, places = np.unique(rows["group"].to_numpy(), return_index=True)
    places = places[np.searchsorted(numbers, groups)]
    sources, keys = (rows[column].array.take(places) for column in ("source", "key"))
    return (sources + "\n" + keys).to_numpy(dtype=object)
