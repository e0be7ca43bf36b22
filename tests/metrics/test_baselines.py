"""The four baselines, generator balance, and accuracies of parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rewardkit.data.predictions import Predictions
from rewardkit.errors import UserError
from rewardkit.metrics.baselines import agreement, baselines, generator_win_rates
from rewardkit.metrics.breakdown import breakdown, evaluation_rows
from rewardkit.metrics.generator_balance import generator_balanced
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.metrics.protocols import PROTOCOLS, accuracy

Make = Callable[..., Predictions]


def test_all_use_the_comparisons_that_the_model_is_counted_on(random_predictions: Make) -> None:
    table = judged_pairs(random_predictions(30, seed=0))
    model = accuracy(table, "strict_micro", draws=0)
    found = baselines(table, "strict_micro", draws=50)
    assert {name: value.comparisons for name, value in found.items()} == dict.fromkeys(found, model.comparisons)
    assert found["chance"].value == 0.5 and found["chance"].low == found["chance"].high == 0.5
    assert found["list_position"].value == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        # 6 of 9 said first; take one out: 5:3 or 6:2, so the rest says first.
        ((6, 0, 3), 6 / 9),
        # One of the two is left: the other's verdict is the opposite.
        ((1, 0, 1), 0.0),
        ((2, 0, 0), 1.0),
        # 2:1; one of the two out leaves 1:1, no winner, one half; the one out leaves 2:0, wrong.
        ((2, 0, 1), 2 / 3 * 0.5),
        # 5:2:3; the two ties get nothing under strict.
        ((5, 2, 3), 5 / 10),
    ],
)
def test_agreement_of_one_annotator_with_the_others(
    votes: tuple[float, float, float], expected: float, predictions_of: Make
) -> None:
    table = judged_pairs(predictions_of([([0.0, 1.0], [(0, 1, votes)])]))
    assert agreement(table, PROTOCOLS["strict_micro"]) == pytest.approx(expected)


def test_agreement_needs_two_annotators(predictions_of: Make) -> None:
    table = judged_pairs(predictions_of([([0.0, 1.0], [(0, 1, (1, 0, 0))])]))
    assert baselines(table, "strict_micro")["annotator_agreement"].value is None


def test_agreement_equals_a_simulation(predictions_of: Make) -> None:
    table = judged_pairs(predictions_of([([0.0, 1.0], [(0, 1, (6, 2, 4))])]))
    people = np.array([1] * 6 + [0] * 2 + [-1] * 4)
    credits = []
    for left_out in range(12):
        rest = np.delete(people, left_out)
        counts = [(rest == said).sum() for said in (1, 0, -1)]
        winner = 0 if counts[1] > max(counts[0], counts[2]) else np.sign(counts[0] - counts[2])
        mine = people[left_out]
        credits.append(0.5 if winner == 0 else 0.5 if mine == 0 else float(mine == winner))
    assert agreement(table, PROTOCOLS["half_micro"])[0] == pytest.approx(np.mean(credits))


def test_which_generator_is_judged_on_other_groups(random_predictions: Make) -> None:
    favourite = judged_pairs(random_predictions(60, seed=3, prefer="A"))
    found = baselines(favourite, "strict_micro", draws=0)
    assert found["which_generator"].value > 0.65
    # With no favourite there is nothing to learn, and the rule must not see the groups it is judged on.
    none = [judged_pairs(random_predictions(40, seed=seed)) for seed in range(8)]
    values = [baselines(table, "strict_micro", draws=0)["which_generator"].value for table in none]
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)


def test_win_rates_leave_out_the_own_fold(predictions_of: Make) -> None:
    pair = [(0, 1, (9.0, 0.0, 1.0))]
    table = judged_pairs(predictions_of([([0.0, 1.0], pair)] * 4, generators=["A", "B"]))
    rates = generator_win_rates(table)
    assert rates.tolist() == [[1.0, 0.0]] * 4
    alone = generator_win_rates(table[table["group"] == 0])
    assert np.isnan(alone).all(), "one group has no other groups to learn from"
    unnamed = judged_pairs(predictions_of([([0.0, 1.0], pair)] * 3))
    assert baselines(unnamed, "strict_micro", draws=0)["which_generator"].value == 0.5


def test_a_scorer_that_knows_only_the_generator_is_at_one_half(random_predictions: Make) -> None:
    table = random_predictions(80, seed=4, prefer="B")
    known = table.scores.assign(score=table.scores["generator"].map({"A": 0.1, "B": 3.0, "C": 0.2, "D": 0.3}))
    pairs = judged_pairs(type(table)(known, table.labels))
    assert accuracy(pairs, "strict_micro", draws=0).value > 0.6
    found = generator_balanced(pairs, "strict_micro", draws=200)
    assert found.value == pytest.approx(0.5) and found.low == pytest.approx(0.5)
    assert found.protocol == "strict_generator_balanced"


def test_a_perfect_scorer_is_balanced_at_one(random_predictions: Make) -> None:
    table = random_predictions(40, seed=5)
    pairs = judged_pairs(table)
    ahead = (pairs["votes_first"] > pairs["votes_second"]).astype(float)
    found = generator_balanced(pairs.assign(score_first=ahead, score_second=1 - ahead), "half_macro", draws=100)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    decided = accuracy(pairs, "strict_micro", draws=0)
    assert found.comparisons == decided.comparisons and found.undecided == decided.undecided


def test_without_two_named_generators_nothing_is_balanced(predictions_of: Make) -> None:
    pairs = judged_pairs(predictions_of([([0.0, 1.0], [(0, 1, (9, 0, 1))])] * 2))
    found = generator_balanced(pairs, "strict_micro")
    assert (found.value, found.comparisons, found.groups_without) == (None, 0, 2)


def test_parts_add_up(predictions_of: Make) -> None:
    groups = [([0.0, 1.0, 2.0], [(0, 1, (1, 0, 9)), (1, 2, (9, 0, 1))])] * 3
    tags = [{"style": "anime"}, {"style": "photo"}, {}]
    pairs = judged_pairs(predictions_of(groups, generators=["A", "B", "B"], tags=tags))
    styles = {row["part"]: row for row in breakdown(pairs, "tag", "strict_micro", draws=0)}
    assert set(styles) == {"style=anime", "style=photo"}
    assert styles["style=photo"]["comparisons"] == 2 and styles["style=photo"]["value"] == 0.5
    involving = {row["part"]: row["comparisons"] for row in breakdown(pairs, "generator", "strict_micro", draws=0)}
    assert involving == {"A": 3, "B": 6}
    between = {row["part"]: row["value"] for row in breakdown(pairs, "generator_pair", "strict_micro", draws=0)}
    assert between == {"A vs B": 1.0, "B vs B": 0.0}
    assert [row["part"] for row in breakdown(pairs, "source", "strict_micro", draws=0)] == ["demo"]
    with pytest.raises(UserError, match="not by 'colour'"):
        breakdown(pairs, "colour", "strict_micro")


def test_evaluation_rows_are_plain(random_predictions: Make) -> None:
    (row,) = evaluation_rows(random_predictions(20, seed=0), "half_macro", draws=50)
    assert row["dimension"] == "overall" and row["protocol"] == "half_macro"
    assert row["low"] < row["value"] < row["high"]
    assert row["chance"] == 0.5
    assert all(value is None or isinstance(value, str | int | float) for value in row.values())
