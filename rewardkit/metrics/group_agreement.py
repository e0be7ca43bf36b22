"""Agreement over a data set, group after group: counts alone are kept, whatever the number of raters and groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.group import AGGREGATE, NOT_APPLICABLE, Group
from rewardkit.metrics.agreement import (
    Floats,
    OneAgainstRest,
    alpha_of_coincidences,
    choice_coincidences,
    kendall_w,
    majority_shares,
    one_against_mean,
    one_against_rest,
    pairs_of_votes,
    whole_votes,
)
from rewardkit.metrics.judged_pairs import TIE, UNDECIDED, verdicts

MAX_LEVELS = 512
"""Distinct values of a dimension up to which ordinal alpha is computed; beyond, the scale is continuous."""

_BUFFER = 4096
"""Comparisons that wait until they are counted together."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement on one dimension; None where the data do not tell.

    Attributes:
        comparisons: Comparisons of the dimension, votes on one pair of candidates of a group taken together.
        judged: Of them, those with two or more whole votes; the next figures are about these.
        votes: Their votes.
        pairwise: See ``metrics/agreement.py``, as all others.
        pairwise_without_ties: The same among votes for one side only.
        one_against_rest: Votes against the votes of the others.
        one_against_mean: Orders of two candidates by one named rater, against the mean ratings or ranks of the others.
        majority_share: Mean.
        tied_majorities: Comparisons where two answers are the most frequent.
        alpha_choices: Nominal alpha of first, tie, second; does not depend on which candidate stands first.
        alpha_ordinal: Of ratings, or else of ranks.
        alpha_interval: Likewise.
        alpha_of: ``ratings`` or ``ranks``; empty where nobody gave two of them on one candidate.
        units: Candidates with two or more such values.
        values: Their values.
        w: Kendall's W, mean over groups.
        w_groups: Groups with two or more raters who judged every candidate.
        tie_votes: Share of all votes that are ties.
        tie_verdicts: Share of comparisons whose verdict is a tie.
        undecided: Share of comparisons with as many votes for one as for the other.
    """

    comparisons: int
    judged: int
    votes: int
    pairwise: float | None
    pairwise_without_ties: float | None
    one_against_rest: OneAgainstRest
    one_against_mean: OneAgainstRest
    majority_share: float | None
    tied_majorities: int
    alpha_choices: float | None
    alpha_ordinal: float | None
    alpha_interval: float | None
    alpha_of: str
    units: int
    values: int
    w: float | None
    w_groups: int
    tie_votes: float | None
    tie_verdicts: float | None
    undecided: float | None


class GroupAgreement:
    """Takes groups one by one; ``found`` gives the agreement on each dimension so far."""

    def __init__(self) -> None:
        self._dimensions: dict[str, _Counts] = defaultdict(_Counts)

    def add(self, group: Group) -> None:
        """Counts one group."""
        for dimension in group.dimensions:
            counts = self._dimensions[dimension]
            counts.add_votes(_votes(group, dimension))
            ratings, table = _ratings(group, dimension)
            ranks = _ranks(group, dimension)
            for units, values in ((ratings, counts.ratings), (list(ranks.T), counts.ranks)):
                for unit in units:
                    values.add(unit)
            counts.add_raters(table if ratings else ranks)

    def found(self) -> dict[str, Agreement]:
        """Dimension to agreement, sorted by name."""
        return {name: self._dimensions[name].agreement() for name in sorted(self._dimensions)}


class _Values:
    """Coincidences of ratings or ranks, streamed."""

    def __init__(self) -> None:
        self.units = self.values = 0
        self._place: dict[float, int] = {}
        self._matrix = np.zeros((8, 8))
        # Of all paired values: sums of 1, v, v^2, and of squared differences within units over (values - 1).
        self._sums = np.zeros(3)
        self._within = 0.0
        self._first: float | None = None

    def add(self, unit: Floats) -> None:
        """The values of one unit, NaN is missing."""
        said = unit[~np.isnan(unit)]
        m = len(said)
        if m < 2:
            return
        self.units += 1
        self.values += m
        if self._first is None:
            self._first = float(said[0])
        moved = said - self._first  # differences alone count; sums of squares lose less around a value of the data
        total, squares = float(moved.sum()), float((moved**2).sum())
        self._sums += (m, total, squares)
        self._within += max(0.0, 2 * (m * squares - total**2)) / (m - 1)
        if len(self._place) <= MAX_LEVELS:
            self._add_coincidences(said)

    def _add_coincidences(self, said: Floats) -> None:
        levels, counts = np.unique(said, return_counts=True)
        at = np.array([self._place.setdefault(float(v), len(self._place)) for v in levels])
        if len(self._place) > MAX_LEVELS:
            self._matrix = np.zeros((0, 0))
            return
        if at.max() >= len(self._matrix):
            grown = np.zeros((2 * int(at.max()) + 2,) * 2)
            grown[: len(self._matrix), : len(self._matrix)] = self._matrix
            self._matrix = grown
        self._matrix[np.ix_(at, at)] += (np.outer(counts, counts) - np.diag(counts)) / (len(said) - 1)

    def ordinal(self) -> float | None:
        """Ordinal alpha; None for a continuous scale."""
        if not self._place or len(self._place) > MAX_LEVELS:
            return None
        levels = np.array(list(self._place))
        order = np.argsort(levels)
        return alpha_of_coincidences(levels[order], self._matrix[np.ix_(order, order)], "ordinal")

    def interval(self) -> float | None:
        """Interval alpha, in closed form: differences squared need sums alone."""
        n, total, squares = self._sums
        expected = 2 * (n * squares - total**2) / (n - 1) if n > 1 else 0.0
        return 1.0 - self._within / expected if expected > 1e-12 * max(1.0, squares) else None


class _Counts:
    """All counts of one dimension."""

    def __init__(self) -> None:
        self.ratings, self.ranks = _Values(), _Values()
        self._waiting: list[Sequence[float]] = []
        self._comparisons = self._judged = self._tied_majorities = 0
        self._votes = self._tie_votes = self._all_votes = 0.0
        self._agree = np.zeros(2)
        self._agree_decided = np.zeros(2)
        self._against_rest, self._against_mean = np.zeros(3), np.zeros(3)
        self._majority = 0.0
        self._verdicts = np.zeros(2)
        self._choices = np.zeros((3, 3))
        self._w: list[float] = [0.0, 0.0]

    def add_votes(self, votes: list[Sequence[float]]) -> None:
        """Votes of a group's comparisons."""
        self._waiting += votes
        if len(self._waiting) >= _BUFFER:
            self._count()

    def add_raters(self, ranks: Floats) -> None:
        """Ranks or ratings ``[raters, candidates]`` of one group; for W only raters who judged every candidate."""
        if len(ranks) < 2:
            return
        against = one_against_mean(ranks)
        self._against_mean += (against.right, against.wrong, against.undecided)
        w = kendall_w(ranks[~np.isnan(ranks).any(axis=1)])
        if w is not None:
            self._w[0] += w
            self._w[1] += 1

    def _count(self) -> None:
        if not self._waiting:
            return
        votes = np.array(self._waiting, float)  # [C, 3]
        self._waiting = []
        self._comparisons += len(votes)
        self._all_votes += float(votes.sum())
        self._tie_votes += float(votes[:, 1].sum())
        verdict = verdicts(votes[:, 0], votes[:, 1], votes[:, 2])
        self._verdicts += ((verdict == TIE).sum(), (verdict == UNDECIDED).sum())
        votes = votes[whole_votes(votes)]
        self._judged += len(votes)
        self._votes += float(votes.sum())
        self._agree += pairs_of_votes(votes)
        self._agree_decided += pairs_of_votes(votes * [1, 0, 1])
        against = one_against_rest(votes)
        self._against_rest += (against.right, against.wrong, against.undecided)
        if len(votes):
            shares, tied = majority_shares(votes)
            self._majority += float(shares.sum())
            self._tied_majorities += int(tied.sum())
            self._choices += choice_coincidences(votes)

    def agreement(self) -> Agreement:
        """The figures so far."""
        self._count()
        values, name = (self.ratings, "ratings") if self.ratings.units else (self.ranks, "ranks")

        def share(above: float, below: float) -> float | None:
            return float(above) / float(below) if below > 0 else None

        return Agreement(
            comparisons=self._comparisons,
            judged=self._judged,
            votes=round(self._votes),
            pairwise=share(*self._agree),
            pairwise_without_ties=share(*self._agree_decided),
            one_against_rest=OneAgainstRest(*self._against_rest.tolist()),
            one_against_mean=OneAgainstRest(*self._against_mean.tolist()),
            majority_share=share(self._majority, self._judged),
            tied_majorities=self._tied_majorities,
            alpha_choices=alpha_of_coincidences(np.arange(3.0), self._choices, "nominal"),
            alpha_ordinal=values.ordinal(),
            alpha_interval=values.interval(),
            alpha_of=name if values.units else "",
            units=values.units,
            values=values.values,
            w=share(self._w[0], self._w[1]),
            w_groups=int(self._w[1]),
            tie_votes=share(self._tie_votes, self._all_votes),
            tie_verdicts=share(self._verdicts[0], self._comparisons),
            undecided=share(self._verdicts[1], self._comparisons),
        )


def _votes(group: Group, dimension: str) -> list[Sequence[float]]:
    """Votes of each pair of candidates: a pair that is compared twice has the votes of both."""
    pairs: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for comparison in comparisons_of(group, dimension):
        first, second = comparison.first, comparison.second
        votes = comparison.votes if first < second else comparison.votes[::-1]
        total = pairs[min(first, second), max(first, second)]
        for side in range(3):
            total[side] += votes[side]
    return list(pairs.values())


def _ratings(group: Group, dimension: str) -> tuple[list[Floats], Floats]:
    """Each candidate's ratings, and ``[raters, candidates]`` of named raters with NaN where missing.

    A named rater who rated a candidate twice speaks with the mean; answers without a name are one rater each.
    """
    k = len(group.candidates)
    named: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(k)])
    unnamed: list[list[float]] = [[] for _ in range(k)]
    for answer in group.answers:
        if answer.dimension == dimension and answer.value != NOT_APPLICABLE and answer.by != AGGREGATE:
            (named[answer.by] if answer.by else unnamed)[answer.candidate].append(float(answer.value))
    if not named and not any(unnamed):
        return [], np.zeros((0, k))
    table = np.array(
        [[sum(said) / len(said) if said else np.nan for said in each] for each in named.values()], float
    ).reshape(-1, k)
    return [np.concatenate([table[:, n], unnamed[n]]) for n in range(k)], table


def _ranks(group: Group, dimension: str) -> Floats:
    """``[annotators, candidates]``, NaN is missing; averaged rankings are nobody's."""
    rows = [r.ranks for r in group.rankings if r.dimension == dimension and r.by != AGGREGATE]
    return np.array([[np.nan if rank is None else rank for rank in row] for row in rows], float).reshape(
        -1, len(group.candidates)
    )
