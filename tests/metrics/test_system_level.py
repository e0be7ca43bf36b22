"""System level: means of generators against comparisons won, over groups with and without all generators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from rewardkit.data.predictions import Predictions
from rewardkit.metrics.evaluate import apply
from rewardkit.metrics.judged_pairs import judged_pairs

Make = Callable[..., Predictions]


def test_equals_means_and_wins_counted_by_hand(random_predictions: Make) -> None:
    table = random_predictions(30, seed=2, prefer="C")
    means = table.scores.groupby("generator")["score"].mean()
    wins = dict.fromkeys(means.index, 0)
    for _, pair in judged_pairs(table).iterrows():
        if pair["votes_first"] != pair["votes_second"]:
            side = "first" if pair["votes_first"] > pair["votes_second"] else "second"
            wins[pair[f"generator_{side}"]] += 1
    counts = [wins[name] for name in means.index]
    found = {m.metric: m for m in apply("system", table)["overall"]}
    assert found["spearman"].value() == pytest.approx(stats.spearmanr(means, counts).statistic)
    assert found["pearson"].value() == pytest.approx(stats.pearsonr(means, counts).statistic, abs=1e-6)
    assert found["kendall"].value() == pytest.approx(stats.kendalltau(means, counts).statistic)
    result = found["pearson"].result(draws=200)
    assert result.low <= result.value <= result.high and "over 4 generators" in result.note
    assert result.comparisons == sum(counts)


def test_published_figures_of_imagereward() -> None:
    # Human wins and mean rewards of six generators: Spearman 1.00.
    from rewardkit.metrics.correlations import spearman

    wins, rewards = [507, 463, 390, 362, 340, 74], [0.2614, 0.2458, 0.2114, 0.1344, -0.2470, -1.2376]
    assert float(spearman(wins, rewards)) == pytest.approx(1.0)


def test_unnamed_unscored_and_never_compared_generators_have_no_place(predictions_of: Make) -> None:
    pair = (1.0, 0.0, 0.0)
    table = predictions_of(
        [([3.0, 2.0, 1.0, 9.0, 0.0], [(0, 1, pair), (0, 1, pair), (1, 2, pair), (0, 2, pair), (0, 4, pair)])] * 2,
        generators=["A", "B", "C", "never compared", None],
    )
    (found, *_) = apply("system", table)["overall"]
    assert found.value() == pytest.approx(1.0) and "over 3 generators, compared 4 to 6 times" in found.note
    assert found.counts.comparisons == 8


def test_a_generator_wins_nothing_against_itself(predictions_of: Make) -> None:
    pair = (1.0, 0.0, 0.0)
    table = predictions_of(
        [([3.0, 3.0, 2.0, 1.0], [(0, 1, pair), (0, 2, pair), (2, 3, pair)])], generators=["A", "A", "B", "C"]
    )
    (found, *_) = apply("system", table)["overall"]
    assert found.counts.comparisons == 2
    assert found.sums[0].tolist() == [6.0, 2.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 0.0], "scores, images, wins of A, B, C"


def test_one_generator_or_none_has_no_order(predictions_of: Make) -> None:
    for generators in (["A", "A"], []):
        table = predictions_of([([1.0, 0.0], [(0, 1, (1.0, 0.0, 0.0))])], generators=generators)
        assert [m.value() for m in apply("system", table)["overall"]] == [None] * 3


def test_a_resample_without_a_generator_is_left_out(predictions_of: Make) -> None:
    pair = (1.0, 0.0, 0.0)
    table = predictions_of([([2.0, 1.0], [(0, 1, pair)])] * 6, generators=["A", "B"])
    low_high = apply("system", table)["overall"][0].result(draws=100)
    assert (low_high.value, low_high.low, low_high.high) == (1.0, 1.0, 1.0)
    assert np.isfinite(low_high.low)
