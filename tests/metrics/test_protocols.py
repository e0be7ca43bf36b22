"""Protocols against published numbers, and the rules of the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit.data.predictions import Predictions
from rewardkit.errors import DataError, UserError
from rewardkit.metrics.judged_pairs import FIRST, SECOND, TIE, UNDECIDED, judged_pairs, verdicts
from rewardkit.metrics.protocols import PROTOCOLS, accuracy, find_protocol

Make = Callable[..., Predictions]


Pair = tuple[int, int, tuple[float, float, float]]

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())


def from_ranks(scores: list[float], ranks: list[float]) -> tuple[list[float], list[Pair]]:
    pairs: list[Pair] = []
    for i, j in combinations(range(len(ranks)), 2):
        delta = ranks[j] - ranks[i]
        pairs.append((i, j, (float(delta > 0), float(delta == 0), float(delta < 0))))
    return scores, pairs


@pytest.mark.parametrize("case", GOLDEN["ranking_groups"], ids=lambda case: case["name"])
def test_equals_published_numbers(case: dict, predictions_of: Make) -> None:
    table = judged_pairs(predictions_of([from_ranks(g["scores"], g["ranks"]) for g in case["groups"]]))
    expected = case["expected"]
    for name in ("strict_micro", "strict_macro", "half_micro", "half_macro"):
        rule, mean = name.split("_")
        found = accuracy(table, name, draws=0)
        wanted = expected[f"pair_accuracy_{mean}_{rule}"]
        assert found.value == (None if wanted is None else pytest.approx(wanted, abs=1e-8))
        assert found.comparisons == expected["counts"]["n_strict"]
        assert found.ties == expected["counts"]["n_gt_ties"]
        assert found.equal_scores == expected["counts"]["n_pred_ties_on_strict"]
        assert found.groups_without == expected["counts"]["n_all_tied_groups"]


def test_worked_oracle(predictions_of: Make) -> None:
    table = judged_pairs(predictions_of([from_ranks([1, 0.5, 0.625, 0.625], [1, 2, 2, 4])]))
    assert accuracy(table, "strict_micro").value == pytest.approx(3 / 5)
    assert accuracy(table, "half_micro").value == pytest.approx(3.5 / 5)


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        ((7, 1, 2), FIRST),
        ((2, 1, 7), SECOND),
        ((1, 5, 1), TIE),
        ((10, 0, 10), UNDECIDED),
        ((4, 4, 2), FIRST),
        ((5, 5, 5), UNDECIDED),
        ((0, 0, 0), UNDECIDED),
    ],
)
def test_what_a_vote_says(votes: tuple[float, float, float], verdict: int) -> None:
    first, tie, second = (np.array([v], dtype=float) for v in votes)
    assert verdicts(first, tie, second).tolist() == [verdict]


def test_what_is_left_out_is_counted(predictions_of: Make) -> None:
    pairs: list[Pair] = [(0, 1, (5, 0, 5)), (0, 2, (1, 8, 1)), (1, 2, (9, 0, 1)), (0, 3, (9, 0, 1))]
    table = judged_pairs(predictions_of([([0.0, 2.0, 1.0, float("nan")], pairs), ([0.0, 1.0], [(0, 1, (0, 3, 0))])]))
    found = accuracy(table, "strict_micro")
    assert (found.value, found.comparisons, found.groups) == (1.0, 1, 1)
    assert (found.ties, found.undecided, found.unscored, found.groups_without) == (2, 1, 1, 1)
    assert found.low is None, "one group says nothing of an interval"


def test_nothing_that_counts_has_no_value(predictions_of: Make) -> None:
    found = accuracy(judged_pairs(predictions_of([([0.0, 1.0], [(0, 1, (0, 3, 0))])])), "strict_macro")
    assert (found.value, found.low, found.comparisons) == (None, None, 0)
    assert accuracy(judged_pairs(predictions_of([([0.0, 1.0], [])])), "half_micro").value is None


def test_a_constant_scorer(predictions_of: Make) -> None:
    table = judged_pairs(predictions_of([([1.0, 1.0, 1.0], [(0, 1, (9, 0, 1)), (1, 2, (9, 0, 1))])] * 3))
    assert accuracy(table, "strict_micro").value == 0.0
    assert accuracy(table, "half_macro").value == 0.5


def test_infinite_scores_are_refused_and_unknown_protocols_named(predictions_of: Make) -> None:
    table = judged_pairs(predictions_of([([float("inf"), 0.0], [(0, 1, (1, 0, 0))])]))
    with pytest.raises(DataError, match="infinite"):
        accuracy(table, "strict_micro")
    with pytest.raises(UserError, match="did you mean 'strict_micro'"):
        find_protocol("strict_mikro")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), name=st.sampled_from(sorted(set(PROTOCOLS) - {"hpdv2_published"})))
def test_swapping_the_sides_of_every_comparison_changes_nothing(seed: int, name: str, random_predictions: Make) -> None:
    table = random_predictions(6, seed=seed)
    swapped = table.labels.rename(
        columns={
            "first": "second",
            "second": "first",
            "votes_first": "votes_second",
            "votes_second": "votes_first",
        }
    )
    before = accuracy(judged_pairs(table), name, draws=50)
    after = accuracy(judged_pairs(type(table)(table.scores, swapped)), name, draws=50)
    assert before == after
