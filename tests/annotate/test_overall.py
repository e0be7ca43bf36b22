from __future__ import annotations

import numpy as np
import pytest

from rewardkit.annotate.overall import (
    OverallRule,
    PairCounts,
    dimension_comparisons,
    overall_comparisons,
    overall_scores,
)
from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.group import Answer, Candidate, Group

ASPECTS = ("prompt_following", "aesthetic", "fidelity", "harmlessness")
ORACLE = np.array([[3, 4, 3, 5], [3, 4, 3, 5], [4, 3, 3, 5], [2, 2, 3, 5]], float)
NAN = np.nan


def counted(values: np.ndarray, rule: OverallRule) -> tuple[list[tuple[int, int, tuple[float, ...]]], PairCounts]:
    """Overall comparisons as (first, second, votes), and what became of the pairs."""
    counts = PairCounts()
    found = overall_comparisons(values, ASPECTS, rule, counts)
    return [(c.first, c.second, c.votes) for c in found], counts


def test_the_oracle_of_four_images_on_four_aspects() -> None:
    np.testing.assert_equal(overall_scores(ORACLE, ASPECTS, OverallRule()), [3.75, 3.75, 3.75, 3.0])
    found, counts = counted(ORACLE, OverallRule())
    assert (counts.pairs, counts.ties, counts.strict, counts.dropped) == (6, 3, 3, 0)
    assert counts.tie_share == 0.5 and len(found) == 6
    by_aspect = {}
    for n, name in enumerate(ASPECTS):
        counts = PairCounts()
        dimension_comparisons(ORACLE[:, n], name, 0.0, counts)
        by_aspect[name] = (counts.ties, counts.strict)
    assert by_aspect == {"prompt_following": (1, 5), "aesthetic": (1, 5), "fidelity": (6, 0), "harmlessness": (6, 0)}


def test_comparisons_of_a_dimension_are_those_that_follow_from_answers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.choice([1.0, 2.0, 10 / 3, NAN], size=5)
        answers = tuple(Answer("d", k, "by", float(v)) for k, v in enumerate(values) if not np.isnan(v))
        group = Group("g", "p", tuple(Candidate(f"{k}.png") for k in range(5)), answers=answers)
        assert tuple(dimension_comparisons(values, "d", 0.0, PairCounts())) == comparisons_of(group, "d")


def test_a_missing_aspect_is_dropped_from_both_images() -> None:
    values = np.array([[5, NAN, 1, 1], [4, 5, 1, 1]], float)
    found, counts = counted(values, OverallRule())  # 7 / 3 against 2: the second's 5 does not count
    assert found == [(0, 1, (1.0, 0.0, 0.0))] and counts.missing == 0
    np.testing.assert_equal(overall_scores(values, ASPECTS, OverallRule()), [NAN, 2.75])
    nothing = np.array([[5, NAN, NAN, NAN], [NAN, 5, 1, 1]], float)
    found, counts = counted(nothing, OverallRule())
    assert found == [] and (counts.missing, counts.dropped) == (1, 1) and counts.tie_share is None


def test_weights_and_tie_eps() -> None:
    values = np.array([[5, 1, 3, 3], [1, 4, 3, 3]], float)
    assert counted(values, OverallRule())[0] == [(0, 1, (1.0, 0.0, 0.0))]
    weighted = OverallRule("weighted", {"aesthetic": 2.0, "prompt_following": 1.0})
    assert counted(values, weighted)[0] == [(0, 1, (0.0, 0.0, 1.0))]
    np.testing.assert_allclose(overall_scores(values, ASPECTS, weighted), [7 / 3, 3.0])
    assert counted(values, OverallRule(tie_eps=0.25))[0] == [(0, 1, (0.0, 1.0, 0.0))]
    # .9 - .7 > .2 in floats: a gap is compared as a person would write it.
    assert dimension_comparisons(np.array([0.9, 0.7]), "d", 0.2, PairCounts())[0].votes == (0.0, 1.0, 0.0)


def test_dominance_keeps_only_pairs_without_a_conflict() -> None:
    values = np.array([[3, 3, 3, 3], [3, 3, 3, 4], [4, 2, 3, 3], [3, 3, 3, 3]], float)
    found, counts = counted(values, OverallRule("dominance"))
    assert found == [(0, 1, (0.0, 0.0, 1.0)), (0, 3, (0.0, 1.0, 0.0)), (1, 3, (1.0, 0.0, 0.0))]
    assert (counts.conflicts, counts.dropped, counts.pairs) == (3, 3, 6)
    assert np.isnan(overall_scores(values, ASPECTS, OverallRule("dominance"))).all()


@pytest.mark.parametrize("rule", ["none"])
def test_none_makes_nothing(rule: str) -> None:
    found, counts = counted(ORACLE, OverallRule(rule))  # type: ignore[arg-type]
    assert found == [] and counts == PairCounts()
