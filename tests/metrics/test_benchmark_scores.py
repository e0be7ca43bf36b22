"""HPS v2's benchmark: golden numbers, groups of prompts, missing images."""

from __future__ import annotations

import numpy as np
import pytest

from rewardkit.errors import DataError
from rewardkit.metrics.benchmark_scores import (
    average_measurement,
    benchmark_scores,
    benchmark_scores_published,
    plain_score,
    style_measurement,
)
from rewardkit.metrics.results import difference

STYLES = ("anime", "concept-art", "paintings", "photo")


def formula(style: int) -> np.ndarray:
    """Scores of the golden file ``benchmark.json``."""
    return 20 + 10 * ((np.arange(800) * 37 + style * 11) % 101) / 128


def test_golden_numbers() -> None:
    scores = {style: formula(n) for n, style in enumerate(STYLES)}
    scores["photo"][797:] = np.nan
    for found in (benchmark_scores(scores, draws=100), benchmark_scores_published(scores)):
        photo = found.styles["photo"]
        assert (photo.mean, photo.std) == pytest.approx((23.906406, 0.0465008866), abs=1e-7)
        assert photo.group_sizes[-1] == 77 and found.n_scored == 3197
        assert found.average == pytest.approx(23.908376, abs=1e-6)
        assert found.mean_of_style_means == pytest.approx(23.9083398, abs=1e-6)
    assert benchmark_scores(scores, draws=0).styles["photo"].missing == (797, 798, 799)
    assert plain_score(15 + 20 * ((np.arange(200) * 29) % 83) / 128, draws=0).mean == pytest.approx(21.3554688)


def test_a_missing_image_moves_no_other_into_another_group() -> None:
    values = np.arange(6.0)
    values[1] = np.nan
    sound = benchmark_scores({"x": values}, group_size=2, draws=0).styles["x"]
    assert sound.group_means == (0.0, 2.5, 4.5) and sound.group_sizes == (1, 2, 2) and sound.missing == (1,)
    assert sound.mean == pytest.approx(7 / 3) and sound.plain_mean == pytest.approx(14 / 5)
    assert style_measurement("x", values, group_size=2).value() == pytest.approx(7 / 3)
    assert (sound.n_planned, sound.n_scored) == (6, 5)
    moved = benchmark_scores_published({"x": values}, group_size=2).styles["x"]
    assert moved.group_means == (1.0, 3.5, 5.0) and moved.mean == pytest.approx(9.5 / 3)


def test_a_group_without_an_image_has_no_mean() -> None:
    found = benchmark_scores({"x": [1.0, 3.0, np.nan, np.nan]}, group_size=2, draws=0).styles["x"]
    assert found.group_means == (2.0,) and found.std == 0.0
    nothing = benchmark_scores({"x": [np.nan], "y": []}, draws=10)
    assert nothing.average is None and nothing.mean_of_style_means is None and nothing.n_planned == 1
    assert nothing.styles["x"].mean is None and nothing.styles["y"].low is None


def test_the_interval_is_of_the_mean() -> None:
    generator = np.random.default_rng(0)
    scores = {"x": generator.normal(20, 1, 400), "y": generator.normal(25, 1, 400)}
    found = benchmark_scores(scores)
    for style in ("x", "y"):
        score = found.styles[style]
        assert score.low < score.mean < score.high
        assert score.high - score.low == pytest.approx(2 * 1.96 * 1 / 20, rel=0.2)
    assert found.average == pytest.approx((found.styles["x"].mean + found.styles["y"].mean) / 2)
    assert found.high - found.low > found.styles["x"].high - found.styles["x"].low  # styles are far apart


def test_two_models_are_compared_on_the_same_prompts() -> None:
    scores = np.random.default_rng(1).normal(20, 5, 160)
    better = scores + 0.1
    better[7] = np.nan
    found = difference(style_measurement("x", better), style_measurement("x", scores))
    assert found is not None and found.groups == 159
    assert found.value == pytest.approx(0.1) and found.low == pytest.approx(0.1), "paired: no spread is left"
    whole = difference(average_measurement({"x": better}), average_measurement({"x": scores}))
    assert whole is not None and whole.value == pytest.approx(0.1)


def test_an_infinite_score_is_refused() -> None:
    with pytest.raises(DataError, match="photo: the score of prompt 1 is infinite"):
        benchmark_scores({"photo": [1.0, np.inf]})
