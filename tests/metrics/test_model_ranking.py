"""Models ranked: ties where nothing tells them apart, win rates, people's order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rewardkit.errors import DataError
from rewardkit.metrics.model_ranking import compare_models, human_agreement, rank_models


def three_models(prompts: int = 200) -> dict[str, np.ndarray]:
    """Two that are alike but for noise, and one clearly better on the same hard and easy prompts."""
    generator = np.random.default_rng(0)
    hardness = generator.normal(20, 5, prompts)
    noise = generator.normal(0, 0.5, prompts)
    return {"b": hardness, "a": hardness + noise - noise.mean() + 0.001, "best": hardness + 0.5}


def test_models_that_nothing_tells_apart_share_a_rank() -> None:
    ranked = rank_models(three_models())
    assert [model.model for model in ranked] == ["best", "a", "b"]
    assert [(model.rank, model.last_rank) for model in ranked] == [(1, 1), (2, 3), (2, 3)]
    assert ranked[0].note == "" and ranked[1].note == "not distinguishable from b" and ranked[2].same_as == ("a",)
    # Prompts differ far more than models: only pairing tells the best from the others.
    assert ranked[0].low < ranked[2].mean < ranked[0].high
    assert ranked[0].as_row()["same_as"] == []


def test_differences_and_win_rates_are_paired() -> None:
    pairs = {(pair.first, pair.second): pair for pair in compare_models(three_models(), draws=300)}
    assert set(pairs) == {("b", "a"), ("b", "best"), ("a", "best")}
    far = pairs["b", "best"]
    assert far.difference == pytest.approx(-0.5) and far.low == pytest.approx(-0.5) and far.win_rate == 0.0
    assert far.distinguishable and not pairs["b", "a"].distinguishable
    close = pairs["b", "a"]
    models = three_models()
    assert close.win_rate == pytest.approx(np.mean(models["b"] > models["a"]))
    assert close.win_low < close.win_rate < close.win_high


def test_equal_scores_are_half_a_win_and_missing_images_none() -> None:
    (pair,) = compare_models({"x": [1, 2, 3, np.nan], "y": [1, 1, np.nan, 5]}, draws=50)
    assert (pair.prompts, pair.difference, pair.win_rate) == (2, 0.5, 0.75)
    (same,) = compare_models({"x": [0.1, 0.2, 0.3], "y": [0.1, 0.2, 0.3]}, draws=50)
    assert same.difference == same.low == same.high == 0.0 and not same.distinguishable
    (apart,) = compare_models({"x": [1, np.nan], "y": [np.nan, 1]}, draws=50)
    assert apart.prompts == 0 and apart.difference is apart.low is apart.win_rate is None


def test_a_model_without_images_has_no_rank() -> None:
    ranked = rank_models({"none": [np.nan] * 3, "x": [1.0, 2.0, np.nan]}, draws=50)
    assert [(model.model, model.rank) for model in ranked] == [("x", 1), ("none", None)]
    assert (ranked[0].prompts, ranked[0].missing, ranked[0].same_as) == (2, 1, ())
    assert ranked[1].mean is None and ranked[1].low is None
    assert rank_models({}) == []


def test_one_prompt_tells_nothing_apart() -> None:
    assert [model.rank for model in rank_models({"x": [1.0], "y": [9.0]})] == [1, 1]


def test_agreement_with_people() -> None:
    generator = np.random.default_rng(4)
    quality = {"a": 3.0, "b": 2.0, "c": 1.0, "d": 0.0}
    scores = {name: worth + generator.normal(0, 1, 300) for name, worth in quality.items()}
    found = {m.metric: m.result(draws=200) for m in human_agreement(scores, {"a": 1, "b": 2, "c": 4, "d": 3, "z": 5})}
    means = [scores[name].mean() for name in "abcd"]
    assert found["spearman"].value == pytest.approx(stats.spearmanr(means, [-1, -2, -4, -3]).statistic)
    assert found["kendall"].value == pytest.approx(stats.kendalltau(means, [-1, -2, -4, -3]).statistic)
    assert found["spearman"].note == "over 4 models; without both: z" and found["spearman"].low <= 0.8
    assert human_agreement({"a": [1.0]}, {"a": 1})[0].value() is None
    with pytest.raises(DataError, match="no model has both"):
        human_agreement(scores, {"other": 1})


def test_scores_that_cannot_be_compared() -> None:
    with pytest.raises(DataError, match=r"2 \(x\), 1 \(y\)"):
        compare_models({"x": [1, 2], "y": [1]})
    with pytest.raises(DataError, match="a score of y is infinite"):
        rank_models({"x": [1.0], "y": [np.inf]})
