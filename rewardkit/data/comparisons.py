"""The one rule by which comparisons and rankings follow from what people said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations

from rewardkit.data.group import AGGREGATE, NOT_APPLICABLE, Comparison, Group, Ranking
from rewardkit.data.human_ranks import competition_ranks


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
    return _count(dimension, _means_of_raters(group, dimension).values())


def is_decided(first: float, tie: float, second: float) -> bool:
    """Whether votes (or shares of votes) prefer one of the two: neither a tie nor as many for each side.

    People said tie where tie votes outnumber each side, as ``rewardkit/metrics/judged_pairs.py`` reads votes.
    """
    return first != second and tie <= max(first, second)


def rankings_of(group: Group, dimension: str) -> tuple[Ranking, ...]:
    """The rankings of one dimension that were given and count: single annotators', else averaged ones."""
    rankings = tuple(r for r in group.rankings if r.dimension == dimension)
    return tuple(r for r in rankings if r.by != AGGREGATE) or rankings


def rankings_to_learn(group: Group, dimension: str) -> tuple[Ranking, ...]:
    """The rankings of one dimension: those of ``rankings_of``; where none was given, those that follow from answers.

    A rater who gave numbers to two or more candidates ranks them: the highest answer first, equal answers tie, and a
    candidate with an N/A or missing answer is not ranked. Who answered twice on one candidate speaks with the mean.
    Nothing follows from comparisons, whose votes are of many people.
    """
    everyone = range(len(group.candidates))
    return rankings_of(group, dimension) or tuple(
        Ranking(dimension, by, competition_ranks([-means[n] if n in means else None for n in everyone]))
        for by, means in _means_of_raters(group, dimension).items()
        if len(means) > 1
    )


def ranked_dimensions(group: Group) -> list[str]:
    """The dimension of each ranking that ``rankings_to_learn`` gives, without making them; in no order."""
    given = {ranking.dimension for ranking in group.rankings}
    found = [ranking.dimension for name in given for ranking in rankings_of(group, name)]
    rated: dict[tuple[str, str], set[int]] = defaultdict(set)
    for answer in group.answers:
        if answer.value != NOT_APPLICABLE and answer.dimension not in given:
            rated[answer.dimension, answer.by].add(answer.candidate)
    return found + [dimension for (dimension, _), candidates in rated.items() if len(candidates) > 1]


def all_comparisons(group: Group) -> tuple[Comparison, ...]:
    """The comparisons of every dimension of the group, dimensions in sorted order."""
    return tuple(c for dimension in group.dimensions for c in comparisons_of(group, dimension))


def _means_of_raters(group: Group, dimension: str) -> dict[str, dict[int, float]]:
    """For each rater the mean of the numbers given to each candidate; N/A is no number."""
    by_rater: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for answer in group.answers:
        if answer.dimension == dimension and answer.value != NOT_APPLICABLE:
            by_rater[answer.by][answer.candidate].append(float(answer.value))
    return {by: {i: sum(values) / len(values) for i, values in said.items()} for by, said in by_rater.items()}


def _count(dimension: str, judgements: Iterable[dict[int, float]]) -> tuple[Comparison, ...]:
    """One vote per judge and pair of candidates that the judge valued (higher is better)."""
    votes: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for judgement in judgements:
        for i, j in combinations(sorted(judgement), 2):
            delta = judgement[i] - judgement[j]
            votes[i, j][0 if delta > 0 else 2 if delta < 0 else 1] += 1.0
    return tuple(Comparison(dimension, i, j, (v[0], v[1], v[2])) for (i, j), v in sorted(votes.items()))
