"""Two models on the same data: tables brought together, every protocol's difference, and the words for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rewardkit.data.predictions import Predictions
from rewardkit.errors import DataError, UserError
from rewardkit.metrics.comparison import aligned, compare, in_words, paired_difference
from rewardkit.metrics.evaluate import apply, evaluate
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.metrics.results import Difference

Make = Callable[..., Predictions]


def noisier(table: Predictions, seed: int) -> Predictions:
    noise = np.random.default_rng(seed).normal(0, 1, len(table.scores))
    return replace(table, scores=table.scores.assign(score=(table.scores["score"] + noise).astype("float32")))


def test_every_protocol_gives_the_difference_of_its_values(random_predictions: Make) -> None:
    ours = random_predictions(40, seed=1, skill=2.0)
    theirs, tuning = noisier(ours, 2), random_predictions(30, seed=3)
    mine, other = (
        {(row["protocol"], row["metric"]): row["value"] for row in evaluate(t, ["all"], tuning=tuning, draws=0)}
        for t in (ours, theirs)
    )
    found = {
        (gain.protocol, gain.metric): gain
        for _, gain in compare(ours, theirs, ["all"], tuning=(tuning, tuning), draws=300)
    }
    left_out = {("position", "accuracy"), ("calibration", "temperature")}
    assert set(found) == set(mine) - left_out
    for name, gain in found.items():
        assert gain.value == pytest.approx(mine[name] - other[name], abs=1e-9), name
        assert gain.low <= gain.value <= gain.high or name[1] in ("ece", "mce", "ece_tempered", "mce_tempered"), name
        assert gain.groups == 40


def test_the_same_model_twice_differs_by_nothing(random_predictions: Make) -> None:
    table = random_predictions(20, seed=1)
    for _, gain in compare(table, table, ["strict", "hpdv2", "imagereward_recall", "kendall", "system"], draws=100):
        assert (gain.value, gain.low, gain.high, gain.better) == (0.0, 0.0, 0.0, 0.5)


def test_the_difference_of_judged_pairs_is_the_same(random_predictions: Make) -> None:
    ours = random_predictions(25, seed=5)
    theirs = noisier(ours, 6)
    ((_, gain),) = compare(ours, theirs, ["half_macro"], draws=200)
    assert paired_difference(judged_pairs(ours), judged_pairs(theirs), "half_macro", draws=200) == gain


def test_what_one_could_not_score_counts_for_neither(random_predictions: Make) -> None:
    ours = random_predictions(10, seed=1)
    scores = noisier(ours, 2).scores
    lost = scores["group"].isin([0, 1]) & (scores["candidate"] == 0)
    theirs = Predictions(scores.assign(score=scores["score"].mask(lost))[scores["group"] != 9], ours.labels)
    theirs = Predictions(theirs.scores, ours.labels[ours.labels["group"] != 9])
    mine, other = aligned(ours, theirs)
    assert mine.scores["group"].nunique() == 9
    assert mine.scores["score"].isna().tolist() == other.scores["score"].isna().tolist()
    (left,), (right,) = (apply("strict_micro", table)["overall"] for table in (mine, other))
    assert left.counts.comparisons == right.counts.comparisons and left.counts.unscored > 0


def test_tables_that_do_not_belong_together_are_refused(random_predictions: Make) -> None:
    ours = random_predictions(10, seed=1)
    elsewhere = replace(ours, scores=ours.scores.assign(source="other"))
    with pytest.raises(DataError, match="no comparison in common"):
        aligned(ours, elsewhere)
    other_votes = replace(ours, labels=ours.labels.assign(votes_first=ours.labels["votes_first"] + 1))
    with pytest.raises(DataError, match="different votes"):
        aligned(ours, other_votes)
    with pytest.raises(UserError, match=r"data\.tune="):
        list(compare(ours, ours, ["pickapic"]))


@pytest.mark.parametrize(
    ("value", "low", "high", "more", "words"),
    [
        (0.012, -0.003, 0.027, {}, "A beats B by 1.2 points, 95 % interval -0.3 to 2.7 (not distinguishable)"),
        (-0.012, -0.027, 0.003, {}, "B beats A by 1.2 points, 95 % interval -0.3 to 2.7 (not distinguishable)"),
        (0.05, 0.01, 0.09, {}, "A beats B by 5.0 points, 95 % interval 1.0 to 9.0"),
        (-0.05, -0.09, -0.01, {}, "B beats A by 5.0 points, 95 % interval 1.0 to 9.0"),
        (0.0, -0.01, 0.02, {}, "A and B are level, 95 % interval -1.0 to 2.0 (not distinguishable)"),
        (0.05, None, None, {}, "A beats B by 5.0 points (no interval: fewer than two groups)"),
        (0.05, 0.01, 0.09, {"share": False}, "A beats B by 0.0500, 95 % interval 0.0100 to 0.0900"),
        (
            -0.05,
            -0.09,
            -0.01,
            {"share": False, "lower_is_better": True},
            "A beats B by 0.0500, 95 % interval 0.0100 to 0.0900",
        ),
    ],
)
def test_in_words(value: float, low: float | None, high: float | None, more: dict[str, bool], words: str) -> None:
    gain = Difference("strict_micro", "accuracy", value, low, high, 0.5, 10, 5, **more)
    assert in_words("A", "B", gain) == words


def test_the_interval_is_that_of_the_gain_of_each_comparison(random_predictions: Make) -> None:
    from rewardkit.metrics.intervals import bootstrap_interval, ratio
    from rewardkit.metrics.protocols import PROTOCOLS, credit, sums_of_groups

    ours = random_predictions(30, seed=8)
    theirs = noisier(ours, 9)
    ((_, gain),) = compare(ours, theirs, ["strict_micro"], draws=300, seed=4)
    left, right = judged_pairs(ours), judged_pairs(theirs)
    rule = PROTOCOLS["strict_micro"]
    _, sums = sums_of_groups(left, credit(left, rule) - credit(right, rule), macro=False)
    assert (gain.low, gain.high) == pytest.approx(bootstrap_interval(sums, ratio, draws=300, seed=4))
