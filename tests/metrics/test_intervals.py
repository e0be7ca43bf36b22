"""Bootstrap over groups: coverage, seeding, clustering."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rewardkit.data.predictions import Predictions
from rewardkit.errors import DataError
from rewardkit.metrics.comparison import paired_difference
from rewardkit.metrics.intervals import bootstrap_interval, ratio, resampled_sums
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.metrics.protocols import accuracy

Make = Callable[..., Predictions]


def test_resampled_sums_have_the_bootstrap_mean_and_spread() -> None:
    values = np.random.default_rng(0).normal(size=(40, 2))
    sums = resampled_sums(values, draws=20_000, seed=1)
    assert sums.shape == (20_000, 2)
    np.testing.assert_allclose(sums.mean(axis=0), values.sum(axis=0), atol=0.15)
    np.testing.assert_allclose(sums.std(axis=0), np.sqrt(40) * values.std(axis=0), rtol=0.03)


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(7, 1))
    whole = resampled_sums(values, draws=50, seed=3)
    monkeypatch.setattr("rewardkit.metrics.intervals._CELLS_AT_ONCE", 14)
    np.testing.assert_allclose(resampled_sums(values, draws=50, seed=3), whole, rtol=1e-12)


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    inside = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        # Comparisons of one group agree entirely: the interval has to see 60 groups, not 360 comparisons.
        right = generator.random(60) < 0.7
        values = np.stack([6.0 * right, np.full(60, 6.0)], axis=1)
        low, high = bootstrap_interval(values, ratio, draws=400, seed=seed) or (0, 0)
        inside += low <= 0.7 <= high
    assert 178 <= inside <= 199


def test_seeded_and_undefined_for_one_group(random_predictions: Make) -> None:
    table = judged_pairs(random_predictions(20, seed=0))
    assert accuracy(table, "strict_micro", seed=5) == accuracy(table, "strict_micro", seed=5)
    assert accuracy(table, "strict_micro", seed=5).low != accuracy(table, "strict_micro", seed=6).low
    assert bootstrap_interval(np.ones((1, 2)), ratio) is None


def test_paired_difference_is_sharper_than_two_intervals(random_predictions: Make) -> None:
    ours = random_predictions(150, seed=1, skill=2.0)
    worse = ours.scores.assign(score=ours.scores["score"] + np.random.default_rng(2).normal(0, 1, len(ours.scores)))
    theirs = type(ours)(worse, ours.labels)
    left, right = judged_pairs(ours), judged_pairs(theirs)
    found = paired_difference(left, right, "strict_micro")
    a, b = accuracy(left, "strict_micro"), accuracy(right, "strict_micro")
    assert found.value == pytest.approx(a.value - b.value)
    assert found.low is not None and found.low < found.value < found.high
    assert found.high - found.low < (a.high - a.low) + (b.high - b.low)
    assert found.better > 0.5
    same = paired_difference(left, left, "half_macro")
    assert (same.value, same.low, same.high, same.better) == (0.0, 0.0, 0.0, 0.5)


def test_tables_of_other_data_are_refused(predictions_of: Make) -> None:
    left = judged_pairs(predictions_of([([0.0, 1.0], [(0, 1, (1, 0, 0))])]))
    with pytest.raises(DataError, match="no comparison in common"):
        paired_difference(left, left.assign(key="other"), "strict_micro")
