"""Two models on the same comparisons: tables and judged pairs brought together, and the difference in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rewardkit.config.protocols import expand
from rewardkit.data.predictions import Predictions
from rewardkit.errors import DataError
from rewardkit.metrics.evaluate import judged, measure, tuned_on
from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.protocols import Protocol, credit, find_protocol, measured, sums_of_groups
from rewardkit.metrics.results import Difference, difference

_SAME = ["source", "key", "dimension", "first", "second"]
"""What names a comparison across tables."""
_CANDIDATE = ["source", "key", "dimension", "candidate"]
"""What names a candidate's score across tables."""
_FLIPS = 4000
_NOTHING_IN_COMMON = "the two tables have no comparison in common; were they made on the same data?"


def paired_difference(
    ours: pd.DataFrame, theirs: pd.DataFrame, protocol: str, *, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Compares two models by a paired bootstrap: each resample draws the same groups for both.

    Args:
        ours: ``judged_pairs`` of the first model, of one dimension.
        theirs: ``judged_pairs`` of the second.
        protocol: Name of a rule that gives each pair a credit and has no threshold.
        draws: Resamples.
        seed: Of the resamples.

    Raises:
        DataError: The two have no comparison in common.
    """
    rule = find_protocol(protocol)
    both = _joined(ours, theirs, rule)
    found = None
    if len(both):
        mine, other = (measured(both, both[name].to_numpy(float), rule) for name in ("credit", "credit_theirs"))
        found = difference(mine, other, draws=draws, seed=seed)
    if found is None:
        raise DataError(_NOTHING_IN_COMMON)
    return found


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two models on the comparisons that count for both.

    Attributes:
        ours: Accuracy of the first model on them.
        theirs: Of the second.
        both: Comparisons that both order right; a credit of one half or more is right.
        only_ours: That the first alone orders right.
        only_theirs: That the second alone orders right.
        neither: That neither does.
        p_value: Of a two-sided paired permutation test over groups: how often the difference would be as large if it
            were chance, group by group, which of the two models is which.
    """

    ours: float
    theirs: float
    both: int
    only_ours: int
    only_theirs: int
    neither: int
    p_value: float


def side_by_side(ours: pd.DataFrame, theirs: pd.DataFrame, protocol: str, *, seed: int = 0) -> SideBySide:
    """Counts and tests what two models say of the same comparisons.

    Args:
        ours: ``judged_pairs`` of the first model, of one dimension.
        theirs: Of the second.
        protocol: Name of a rule that gives each pair a credit and has no threshold.
        seed: Of the permutations.

    Raises:
        DataError: The two have no comparison in common.
    """
    rule = find_protocol(protocol)
    joined = _joined(ours, theirs, rule)
    if not len(joined):
        raise DataError(_NOTHING_IN_COMMON)
    mine, other = (joined[name].to_numpy(float) for name in ("credit", "credit_theirs"))
    sums, their_sums = (sums_of_groups(joined, credits, macro=rule.macro)[1] for credits in (mine, other))
    gaps = sums[:, 0] - their_sums[:, 0]  # [G]; the second columns are equal, the comparisons are the same
    flips = np.random.default_rng(seed).integers(0, 2, size=(_FLIPS, len(gaps)), dtype=np.int8) * 2.0 - 1.0
    as_large = np.abs(flips @ gaps) >= abs(gaps.sum()) - 1e-9
    right, their_right = mine >= 0.5, other >= 0.5
    whole = sums[:, 1].sum()
    return SideBySide(
        ours=float(sums[:, 0].sum() / whole),
        theirs=float(their_sums[:, 0].sum() / whole),
        both=int((right & their_right).sum()),
        only_ours=int((right & ~their_right).sum()),
        only_theirs=int((~right & their_right).sum()),
        neither=int((~right & ~their_right).sum()),
        p_value=float((1 + as_large.sum()) / (1 + _FLIPS)),
    )


def _joined(ours: pd.DataFrame, theirs: pd.DataFrame, rule: Protocol) -> pd.DataFrame:
    """The comparisons that count for both, with columns ``credit`` and ``credit_theirs``."""
    left = ours.assign(credit=credit(ours, rule))
    right = theirs.assign(credit=credit(theirs, rule))
    # The same two candidates may have been compared more than once.
    for frame in (left, right):
        frame["again"] = frame.groupby(_SAME, sort=False).cumcount()
    both = left.merge(right[[*_SAME, "again", "credit"]], on=[*_SAME, "again"], suffixes=("", "_theirs"))
    return both.dropna(subset=["credit", "credit_theirs"])


def compare(
    ours: Predictions,
    theirs: Predictions,
    protocols: Sequence[str],
    *,
    tuning: tuple[Predictions | None, Predictions | None] = (None, None),
    draws: int = DRAWS,
    seed: int = 0,
) -> Iterator[tuple[str, Difference]]:
    """The paired differences of two models under every protocol, on the dimensions that both judge.

    Args:
        ours: Table of the first model.
        theirs: Of the second, on the same data.
        protocols: Names of protocols or families.
        tuning: The two models' tables that thresholds are tuned on, each its own.
        draws: Resamples.
        seed: Of the resamples.

    Yields:
        Dimension and difference; metrics that are undefined for one of them are left out, and so is what does not
        depend on what was scored here (the probe, a temperature).

    Raises:
        DataError: The tables share nothing, or hold other votes on the same groups.
        UserError: An unknown protocol, or one that needs ``tuning``.
    """
    mine, others = (judged(table) for table in aligned(ours, theirs))
    tuned_mine, tuned_others = (judged(table) if table is not None else {} for table in tuning)
    for dimension, part in mine.items():
        for name in expand(protocols):
            if name == "position":
                continue
            measured_both = [
                measure(name, table, tuned_on(name, tuned.get(dimension), asked=asked is not None))
                for table, tuned, asked in (
                    (part, tuned_mine, tuning[0]),
                    (others[dimension], tuned_others, tuning[1]),
                )
            ]
            their_metrics = {found.metric: found for found in measured_both[1]}
            for found in measured_both[0]:
                other = their_metrics.get(found.metric)
                if found.fixed or other is None or not len(found.groups) or not len(other.groups):
                    continue
                gain = difference(found, other, draws=draws, seed=seed)
                if gain is not None:
                    yield dimension, gain


def aligned(ours: Predictions, theirs: Predictions) -> tuple[Predictions, Predictions]:
    """Both tables cut to the groups and dimensions that they share, so that whatever counts in one counts in the other.

    A candidate that one of the models could not score has no score in either.

    Raises:
        DataError: They share nothing, or the same groups carry other votes.
    """
    both = ours.scores.merge(
        theirs.scores[[*_CANDIDATE, "score"]], on=_CANDIDATE, suffixes=("", "_theirs"), validate="one_to_one"
    )
    if not len(both):
        raise DataError(_NOTHING_IN_COMMON)
    kept = pd.MultiIndex.from_frame(both[["group", "dimension"]].drop_duplicates())
    labels = ours.labels[pd.MultiIndex.from_frame(ours.labels[["group", "dimension"]]).isin(kept)]
    _check_votes(both, labels, theirs)
    missing = both["score"].isna() | both["score_theirs"].isna()
    scores = both.drop(columns="score_theirs")
    return tuple(  # type: ignore[return-value]
        Predictions(scores.assign(score=both[name].mask(missing)), labels) for name in ("score", "score_theirs")
    )


def _check_votes(both: pd.DataFrame, labels: pd.DataFrame, theirs: Predictions) -> None:
    """Whether the second table holds the same votes on the groups and dimensions in common."""
    columns = ["source", "key", "dimension", "first", "second", "votes_first", "votes_tie", "votes_second"]

    def named(labels: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
        names = scores[["group", "source", "key"]].drop_duplicates("group")
        return labels.merge(names, on="group")[columns].sort_values(columns, ignore_index=True)

    mine = named(labels, both)
    other = named(theirs.labels, theirs.scores)
    shared = pd.MultiIndex.from_frame(both[["source", "key", "dimension"]].drop_duplicates())
    other = other[pd.MultiIndex.from_frame(other[["source", "key", "dimension"]]).isin(shared)].reset_index(drop=True)
    if len(mine) != len(other) or not np.array_equal(mine.to_numpy(object), other.to_numpy(object)):
        raise DataError("the two tables hold different votes on the same groups; validate both models on the same data")


def in_words(ours: str, theirs: str, found: Difference) -> str:
    """A difference as a sentence, the better model first.

    For example "A beats B by 1.2 points, 95 % interval -0.3 to 2.7 (not distinguishable)". Points are hundredths of a
    share; other metrics are given as they are. An interval that holds 0 does not tell the two apart.
    """
    factor, digits, unit = (100.0, 1, " points") if found.share else (1.0, 4, "")
    worse_first = found.value != 0 and (found.value > 0) == found.lower_is_better
    better, worse = (theirs, ours) if worse_first else (ours, theirs)
    gain = f"{abs(found.value) * factor:.{digits}f}"
    text = f"{better} beats {worse} by {gain}{unit}" if float(gain) else f"{ours} and {theirs} are level"
    if found.low is None or found.high is None:
        return f"{text} (no interval: fewer than two groups)"
    flip = -1.0 if found.value < 0 else 1.0
    low, high = sorted(round(flip * end * factor, digits) + 0.0 for end in (found.low, found.high))  # no -0.0
    undecided = " (not distinguishable)" if found.low <= 0 <= found.high else ""
    return f"{text}, 95 % interval {low:.{digits}f} to {high:.{digits}f}{undecided}"
