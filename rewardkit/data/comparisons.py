"""The one rule by which comparisons follow from what people said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations

from rewardkit.data.group import AGGREGATE, NOT_APPLICABLE, Comparison, Group, Ranking


def comparisons_of(group: Group, dimension: str) -> tuple[Comparison, ...]:
    """The comparisons of one dimension: those given; else from rankings; else from answers.

    Each annotator's ranking gives one vote to each pair it ranks. An ``AGGREGATE`` ranking counts only where there are
    no single annotators' rankings, so that nobody is counted twice. Each rater's two answers are one vote: the higher
    answer wins, equal answers tie, and a pair with an N/A or missing answer gets no vote from that rater. A rater who
    answered twice on one candidate speaks with the mean.

    Returns:
        Comparisons in the order of their candidates, ``first < second`` for derived ones.
    """
    given = tuple(c for c in group.comparisons if c.dimension == dimension)
    if given:
        return given
    rankings = rankings_of(group, dimension)
    if rankings:
        # A lower rank is better, so ranks are negated to read "higher is better" as answers do.
        return _count(dimension, ({i: -rank for i, rank in enumerate(r.ranks) if rank is not None} for r in rankings))
    by_rater: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for answer in group.answers:
        if answer.dimension == dimension and answer.value != NOT_APPLICABLE:
            by_rater[answer.by][answer.candidate].append(float(answer.value))
    means = ({i: sum(values) / len(values) for i, values in said.items()} for said in by_rater.values())
    return _count(dimension, means)


def rankings_of(group: Group, dimension: str) -> tuple[Ranking, ...]:
    """The rankings of one dimension that count: single annotators', or averaged ones where there are no others."""
    rankings = tuple(r for r in group.rankings if r.dimension == dimension)
    return tuple(r for r in rankings if r.by != AGGREGATE) or rankings


def all_comparisons(group: Group) -> tuple[Comparison, ...]:
    """The comparisons of every dimension of the group, dimensions in sorted order."""
    return tuple(c for dimension in group.dimensions for c in comparisons_of(group, dimension))


def _count(dimension: str, judgements: Iterable[dict[int, float]]) -> tuple[Comparison, ...]:
    """One vote per judge and pair of candidates that the judge valued (higher is better)."""
    votes: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for judgement in judgements:
        for i, j in combinations(sorted(judgement), 2):
            delta = judgement[i] - judgement[j]
            votes[i, j][0 if delta > 0 else 2 if delta < 0 else 1] += 1.0
    return tuple(Comparison(dimension, i, j, (v[0], v[1], v[2])) for (i, j), v in sorted(votes.items()))
