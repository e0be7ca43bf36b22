"""The one rule by which the people's order of a group's candidates follows from what they said.

Protocols that judge whole orders (``hpdv2``, ``imagereward``, Recall@k, correlations) read this order; those that judge
comparisons read votes. On one dimension, the first of these that is there:

1. the ``AGGREGATE`` ranking: what a data set publishes is what its published numbers are counted on;
2. single annotators' rankings, where all rank the same candidates: the order of the mean rank;
3. numeric answers: the order of the mean answer, higher is better;
4. comparisons, where every pair of candidates was compared: the order of net wins, verdicts won minus verdicts lost
   (ties and undecided ones are neither). Nothing follows where every verdict is undecided;
5. else nobody knows an order.

Equal means and equal net wins tie. Ranks are competition ranks: 1, 2, 2, 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from math import fsum

from rewardkit.data.group import AGGREGATE, NOT_APPLICABLE, Group, Ranking

Ranks = tuple[float | None, ...]
"""One number per candidate, 1 is best, equal numbers tie, None is not known."""


def human_ranks(group: Group, dimensions: Sequence[str]) -> Ranks:
    """The people's order of a group's candidates; see the module's docstring.

    Args:
        group: The record.
        dimensions: Dimensions of the data that speak to one and the same thing (to one dimension of a model). Where
            several have an order, the result is the order of the mean rank over them, whatever their scales; a
            candidate that one of these orders lacks has no rank.

    Returns:
        K ranks; all None where nobody knows an order.
    """
    orders = [
        order for order in (_of_dimension(group, name) for name in dimensions) if any(r is not None for r in order)
    ]
    if len(orders) < 2:
        return orders[0] if orders else (None,) * len(group.candidates)
    return _mean_order(orders)


def competition_ranks(costs: Sequence[float | None]) -> Ranks:
    """Ranks of numbers of which the lowest is best: 1 + how many are lower; None keeps its place without a rank."""
    known = [cost for cost in costs if cost is not None]
    return tuple(None if cost is None else 1.0 + sum(other < cost for other in known) for cost in costs)


def _of_dimension(group: Group, dimension: str) -> Ranks:
    rankings = [ranking for ranking in group.rankings if ranking.dimension == dimension]
    aggregate = [ranking.ranks for ranking in rankings if ranking.by == AGGREGATE]
    if aggregate:
        return competition_ranks(aggregate[0]) if len(aggregate) == 1 else _mean_order(aggregate)
    return _of_annotators(rankings) or _of_answers(group, dimension) or _of_comparisons(group, dimension) or ()


def _of_annotators(rankings: Sequence[Ranking]) -> Ranks | None:
    """The order of the mean rank; None where annotators ranked different candidates, so that means do not compare."""
    if not rankings or len({tuple(rank is None for rank in ranking.ranks) for ranking in rankings}) > 1:
        return None
    return _mean_order([ranking.ranks for ranking in rankings])


def _mean_order(orders: Sequence[Ranks]) -> Ranks:
    """Order of the mean rank over orders; without a rank where one of them has none."""
    sums = [
        None if any(rank is None for rank in of_candidate) else fsum(rank for rank in of_candidate if rank is not None)
        for of_candidate in zip(*orders, strict=True)
    ]
    return competition_ranks(sums)


def _of_answers(group: Group, dimension: str) -> Ranks | None:
    """The order of the mean numeric answer; None where nobody answered with a number."""
    said: dict[int, list[float]] = defaultdict(list)
    for answer in group.answers:
        if answer.dimension == dimension and answer.value != NOT_APPLICABLE:
            said[answer.candidate].append(float(answer.value))
    if not said:
        return None
    return competition_ranks(
        [-fsum(said[n]) / len(said[n]) if n in said else None for n in range(len(group.candidates))]
    )


def _of_comparisons(group: Group, dimension: str) -> Ranks | None:
    """The order of net wins; None where a pair was not compared, or where no verdict says anything."""
    votes: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for c in group.comparisons:
        if c.dimension == dimension:
            said = c.votes if c.first < c.second else c.votes[::-1]
            for n, count in enumerate(said):
                votes[min(c.first, c.second), max(c.first, c.second)][n] += count
    if len(group.candidates) < 2 or any(pair not in votes for pair in combinations(range(len(group.candidates)), 2)):
        return None
    net, says_something = [0] * len(group.candidates), False
    for (i, j), (first, tie, second) in votes.items():
        tied = tie > max(first, second)
        says_something |= tied or first != second
        if not tied and first != second:
            net[i] += 1 if first > second else -1
            net[j] += 1 if second > first else -1
    return competition_ranks([-wins for wins in net]) if says_something else None
