"""The one rule: which votes decide, and which rankings follow from what people said."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from rewardkit.data.comparisons import comparisons_of, is_decided, ranked_dimensions, rankings_of, rankings_to_learn
from rewardkit.data.group import AGGREGATE, Answer, Candidate, Comparison, Group, Ranking
from rewardkit.metrics.judged_pairs import FIRST, SECOND, verdicts


def test_decided_is_what_the_protocols_call_a_preference() -> None:
    votes = np.array(list(product(range(4), repeat=3)), float)
    said = verdicts(votes[:, 0], votes[:, 1], votes[:, 2])
    assert [is_decided(*row) for row in votes] == np.isin(said, (FIRST, SECOND)).tolist()


@pytest.mark.parametrize(
    ("votes", "decided"),
    [((1, 0, 0), True), ((0, 1, 0), False), ((10, 0, 10), False), ((2, 2, 1), True), ((2, 3, 1), False)],
)
def test_ties_and_even_votes_are_not_decided(votes: tuple[float, float, float], decided: bool) -> None:
    assert is_decided(*votes) is decided
    total = sum(votes)
    assert is_decided(*(np.float32(v / total) for v in votes)) == decided


def group(**labels: object) -> Group:
    return Group("g", "p", tuple(Candidate("x") for _ in range(4)), **labels)  # type: ignore[arg-type]


ANSWERS = (
    Answer("a", 0, "ann", 3),
    Answer("a", 1, "ann", 5),
    Answer("a", 2, "ann", 5),
    Answer("a", 3, "ann", "NA"),
    Answer("a", 1, "bob", 2),
    Answer("a", 1, "bob", 4),
    Answer("a", 3, "bob", 1),
    Answer("a", 2, "eve", 1),
    Answer("b", 0, "ann", "NA"),
    Answer("b", 1, "ann", 2),
)


def test_a_rater_of_two_candidates_ranks_them_with_ties() -> None:
    rankings = rankings_to_learn(group(answers=ANSWERS), "a")
    # ann: 5 and 5 tie before 3, N/A is not ranked; bob's mean 3 before 1; eve rated one candidate and ranks nothing.
    assert rankings == (Ranking("a", "ann", (3, 1, 1, None)), Ranking("a", "bob", (None, 1, None, 2)))
    assert rankings_to_learn(group(answers=ANSWERS), "b") == ()


def test_given_rankings_go_before_answers() -> None:
    given = Ranking("a", "ann", (1, 2, 3, 4))
    record = group(answers=ANSWERS, rankings=(given, Ranking("a", AGGREGATE, (4, 3, 2, 1))))
    assert rankings_to_learn(record, "a") == rankings_of(record, "a") == (given,)


def test_rankings_say_what_the_comparisons_say() -> None:
    record = group(answers=ANSWERS)
    votes = {(c.first, c.second): [0.0, 0.0, 0.0] for c in comparisons_of(record, "a")}
    for ranking in rankings_to_learn(record, "a"):
        for (i, j), counted in votes.items():
            one, other = ranking.ranks[i], ranking.ranks[j]
            if one is not None and other is not None:
                counted[0 if one < other else 2 if other < one else 1] += 1
    assert {(c.first, c.second): list(c.votes) for c in comparisons_of(record, "a")} == votes


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"answers": ANSWERS},
        {"answers": ANSWERS, "rankings": (Ranking("b", "ann", (1, 2, 3, 4)), Ranking("b", "bob", (1, 1, 1, 1)))},
        {"rankings": (Ranking("a", AGGREGATE, (1, 2, 3, 4)),), "comparisons": (Comparison("c", 0, 1, (1, 0, 0)),)},
    ],
)
def test_counting_them_gives_as_many(labels: dict[str, object]) -> None:
    record = group(**labels)
    made = [r.dimension for name in record.dimensions for r in rankings_to_learn(record, name)]
    assert sorted(ranked_dimensions(record)) == made
