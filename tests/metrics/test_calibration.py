"""Calibration: mirror images, the worked oracles, the temperature by another minimiser, intervals from sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit

from rewardkit.data.predictions import Predictions
from rewardkit.errors import DataError
from rewardkit.metrics.calibration import (
    LARGEST_LOGIT,
    brier,
    ece,
    ece_one_sided_published,
    fit_temperature,
    mce,
    negative_log_likelihood,
    reliability,
)
from rewardkit.metrics.evaluate import apply, tune

Make = Callable[..., Predictions]
P, Y = [0.9, 0.8, 0.6, 0.55], [1.0, 0.0, 1.0, 1.0]
DELTA = np.log(P) - np.log1p(-np.array(P))


def test_worked_oracles() -> None:
    assert brier(P, Y) == pytest.approx(0.253125)
    assert negative_log_likelihood(DELTA, Y) == pytest.approx(0.705865, abs=1e-6)
    found = fit_temperature(DELTA, Y)
    assert (found.value, found.score) == (pytest.approx(0.431605, abs=1e-6), pytest.approx(0.656020, abs=1e-6))


def test_eight_right_of_ten_at_eighty_percent_is_calibrated() -> None:
    p, y = np.full(10, 0.8), np.array([1.0] * 8 + [0.0] * 2)
    assert ece(p, y) == pytest.approx(0.0) and mce(p, y) == pytest.approx(0.0)
    # The same pairs, the one that people chose always listed first.
    chosen_first = np.where(y == 1, p, 1 - p)
    assert ece_one_sided_published(chosen_first, np.ones(10)) == pytest.approx(0.32)
    assert ece(chosen_first, np.ones(10)) == pytest.approx(0.0)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30)
)
def test_swapping_sides_changes_nothing(rows: list[tuple[float, float, bool]]) -> None:
    p, y, swap = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    swapped = np.where(swap > 0, 1 - p, p), np.where(swap > 0, 1 - y, y)
    # Rounding of 1 - p may move a pair over the edge of a bin, never by more than that.
    if not np.any(np.isclose((p * 10) % 1, 0) | np.isclose((p * 10) % 1, 1)):
        assert ece(p, y) == pytest.approx(ece(*swapped), abs=1e-9)
        assert mce(p, y) == pytest.approx(mce(*swapped), abs=1e-9)
    assert brier(p, y) == pytest.approx(brier(*swapped))


@pytest.mark.parametrize("bins", [10, 20])
def test_folding_equals_counting_both_orientations(bins: int) -> None:
    generator = np.random.default_rng(bins)
    p, y = generator.random(500), generator.integers(0, 3, 500) / 2
    both, labels = np.r_[p, 1 - p], np.r_[y, 1 - y]
    place = np.minimum((both * bins).astype(int), bins - 1)
    gaps = [abs((both - labels)[place == b].sum()) for b in range(bins)]
    assert ece(p, y, bins=bins) == pytest.approx(sum(gaps) / len(both))
    assert mce(p, y, bins=bins) == pytest.approx(max(g / (place == b).sum() for b, g in enumerate(gaps)))
    assert reliability(p, y, bins=bins)[:, 0].sum() == 500
    with pytest.raises(ValueError, match="even"):
        ece(p, y, bins=7)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_the_temperature_is_the_minimum_on_any_scale(scale: float) -> None:
    generator = np.random.default_rng(1)
    delta = generator.normal(size=400) * scale
    y = (generator.random(400) < expit(0.7 * delta / scale)).astype(float)
    found = fit_temperature(delta, y)
    other = minimize_scalar(
        lambda beta: negative_log_likelihood(beta * delta, y), bounds=(0, 10 / scale), method="bounded",
        options={"xatol": 1e-10 / scale},
    )  # fmt: skip
    assert found.value == pytest.approx(other.x, rel=1e-4) and found.score <= other.fun + 1e-12
    assert found.note == ""


def test_separable_data_cap_the_temperature_and_hopeless_data_refuse_it() -> None:
    found = fit_temperature([1.0, 2.0, -3.0], [1.0, 1.0, 0.0])
    assert found.value == pytest.approx(LARGEST_LOGIT / 2.0) and "separable" in found.note
    with pytest.raises(DataError, match="no better than chance"):
        fit_temperature([1.0, 2.0, -3.0], [0.0, 0.0, 1.0])
    with pytest.raises(DataError, match="no comparison"):
        fit_temperature([0.0, 0.0], [1.0, 0.0])
    with pytest.raises(DataError, match="no comparison"):
        fit_temperature([], [])


def test_measured_on_a_table(random_predictions: Make) -> None:
    table = random_predictions(40, seed=3, skill=3.0)
    plain = {m.metric: m for m in apply("calibration", table)["overall"]}
    assert list(plain) == ["ece", "mce", "brier", "nll"]
    tuned = tune("calibration", random_predictions(60, seed=4, skill=3.0))
    at = {m.metric: m for m in apply("calibration", table, tuned)["overall"]}
    assert at["temperature"].value() == pytest.approx(1 / tuned["overall"].value)
    assert at["nll_tempered"].value() < at["nll"].value()
    pairs = table.labels.merge(
        table.scores[["group", "candidate", "score"]], left_on=["group", "first"], right_on=["group", "candidate"]
    )
    pairs = pairs.merge(
        table.scores[["group", "candidate", "score"]], left_on=["group", "second"], right_on=["group", "candidate"]
    )
    delta = (pairs["score_x"] - pairs["score_y"]).to_numpy(float)
    y = (
        (pairs["votes_first"] + pairs["votes_tie"] / 2)
        / (pairs[["votes_first", "votes_tie", "votes_second"]].sum(axis=1))
    ).to_numpy(float)
    by_hand = {
        "ece": ece(expit(delta), y),
        "mce": mce(expit(delta), y),
        "brier": brier(expit(delta), y),
        "nll": negative_log_likelihood(delta, y),
    }
    for name, value in by_hand.items():
        result = plain[name].result(draws=200)
        assert result.value == pytest.approx(value) and result.low < result.high
        assert result.comparisons == len(y)
    assert at["temperature"].result(draws=200).low is None


def test_a_refusal_is_told_in_place_of_a_temperature(predictions_of_ranks: Make) -> None:
    wrong = predictions_of_ranks([([0.0, 1.0], [1, 2])] * 3)
    tuned = tune("calibration", wrong)
    assert tuned["overall"].value is None
    found = {m.metric: m for m in apply("calibration", wrong, tuned)["overall"]}
    assert found["temperature"].value() is None and "no better than chance" in found["temperature"].note
    assert "nll_tempered" not in found and found["nll"].value() == pytest.approx(np.log1p(np.e))
