"""Pairs of the people's order, Recall@k and Filter@k, correlations: against brute force and scipy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy import stats

from rewardkit.data.predictions import Predictions
from rewardkit.errors import DataError
from rewardkit.metrics.correlations import kendall_tau_b, pearson, spearman
from rewardkit.metrics.evaluate import apply
from rewardkit.metrics.judged_pairs import FIRST, SECOND, TIE, UNDECIDED, judged_pairs, ranked_pairs
from rewardkit.metrics.rank_protocols import (
    bottom_in_list_order,
    expected_bottom,
    expected_top,
    top_in_list_order,
)

Make = Callable[..., Predictions]


def values(protocol: str, predictions: Predictions) -> dict[str, float | None]:
    return {m.metric: m.value() for m in apply(protocol, predictions)["overall"]}


def test_pairs_of_an_order_are_all_pairs_in_list_order(predictions_of_ranks: Make) -> None:
    pairs = ranked_pairs(predictions_of_ranks([([1, 0.5, 0.625, 0.625], [1, 2, 2, 4]), ([0.0, 1.0], [2, None])]))
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == list(combinations(range(4), 2))
    assert pairs["verdict"].tolist() == [FIRST, FIRST, FIRST, TIE, FIRST, FIRST]
    assert pairs["votes_first"].tolist() == [1, 1, 1, 0, 1, 1] and pairs["votes_tie"].tolist() == [0, 0, 0, 1, 0, 0]


def test_a_group_without_an_order_keeps_its_comparisons(predictions_of: Make) -> None:
    table = predictions_of(
        [([0.0, 1.0, 2.0], [(0, 1, (9, 0, 1)), (2, 1, (5, 0, 5))]), ([0.0, 1.0], [(1, 0, (1, 0, 0))])]
    )
    pairs = ranked_pairs(table)
    assert pairs[["group", "first", "second"]].to_numpy().tolist() == [[0, 0, 1], [0, 2, 1], [1, 0, 1]]
    assert pairs["verdict"].tolist() == [FIRST, UNDECIDED, SECOND], "two candidates, compared: an order is known"
    assert pairs["votes_second"].tolist() == [1, 5, 1], "votes turn with the pair"
    assert list(pairs.columns) == list(judged_pairs(table).columns)


@pytest.mark.parametrize("seed", range(4))
def test_recall_is_the_mean_over_all_orders_of_equals(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 3, size=(6, 5)).astype(float)
    wanted = generator.random((6, 5)) < 0.4
    for k in (1, 2, 4, 9):
        for function, sign in ((expected_top, -1), (expected_bottom, 1)):
            found = function(scores, wanted, k)
            for row, flags, value in zip(scores, wanted, found, strict=True):
                orders = [np.array(p) for p in permutations(range(5))]
                hits = [flags[p[np.argsort(sign * row[p], kind="stable")]][:k].any() for p in orders]
                assert value == pytest.approx(np.mean(hits))


def test_published_recall_takes_the_list_order() -> None:
    scores, wanted = np.zeros((1, 4)), np.array([[False, True, False, False]])
    assert [float(top_in_list_order(scores, wanted, k)[0]) for k in (1, 2)] == [0.0, 1.0]
    assert [float(bottom_in_list_order(scores, wanted, k)[0]) for k in (2, 3)] == [0.0, 1.0]
    assert [float(expected_top(scores, wanted, k)[0]) for k in (1, 2, 4)] == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("seed", range(3))
def test_correlations_equal_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 4, size=(2, 20, 6)).astype(float)
    for n in range(20):
        assert kendall_tau_b(x, y)[n] == pytest.approx(stats.kendalltau(x[n], y[n]).statistic, nan_ok=True)
        assert spearman(x, y)[n] == pytest.approx(stats.spearmanr(x[n], y[n]).statistic, nan_ok=True)
        assert pearson(x, y)[n] == pytest.approx(stats.pearsonr(x[n], y[n]).statistic, nan_ok=True)


def test_a_constant_side_has_no_correlation() -> None:
    for function in (kendall_tau_b, spearman, pearson):
        assert np.isnan(function([0.1, 0.1, 0.1], [1.0, 2.0, 3.0]))
        assert float(function([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])) == pytest.approx(1.0)


def test_groups_where_it_is_undefined_are_counted(predictions_of_ranks: Make) -> None:
    groups = [([1.0, 2.0, 3.0], [3, 2, 1]), ([1.0, 1.0, 1.0], [3, 2, 1]), ([1.0, 2.0], [1, 1]), ([5.0], [1])]
    (found,) = apply("kendall", predictions_of_ranks(groups))["overall"]
    result = found.result(draws=0)
    assert (result.value, result.groups, result.groups_without, result.comparisons) == (1.0, 1, 3, 3)


def test_a_group_with_a_candidate_that_was_not_scored_has_no_order(predictions_of_ranks: Make) -> None:
    table = predictions_of_ranks([([1.0, float("nan"), 3.0], [3, 2, 1]), ([1.0, 2.0], [2, 1])])
    for protocol in ("kendall", "imagereward_recall"):
        result = apply(protocol, table)["overall"][0].result(draws=0)
        assert (result.value, result.groups, result.groups_without, result.unscored) == (1.0, 1, 1, 3)
    pairs = apply("imagereward_micro", table)["overall"][0].result(draws=0)
    assert (pairs.comparisons, pairs.unscored) == (2, 2), "the other pair of that group still counts"


def test_infinite_scores_are_refused(predictions_of_ranks: Make) -> None:
    table = predictions_of_ranks([([float("inf"), 0.0], [1, 2])])
    for protocol in ("kendall", "imagereward_recall", "hpdv2", "system", "calibration"):
        with pytest.raises(DataError, match="infinite"):
            apply(protocol, table)


def test_position_never_breaks_ties_outside_the_published_forms(predictions_of_ranks: Make) -> None:
    constant = predictions_of_ranks([([0.5] * 4, [1, 2, 3, 4]), ([0.5] * 3, [1, 3, 2])])
    assert values("hpdv2", constant) == {"accuracy": 0.5}
    assert values("hpdv2_published", constant)["accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert values("imagereward_micro", constant) == {"accuracy": 0.0}
    assert values("imagereward_recall", constant)["recall@1"] == pytest.approx((1 / 4 + 1 / 3) / 2)
    assert values("imagereward_recall_published", constant)["recall@1"] == 1.0
