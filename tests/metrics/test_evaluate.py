"""Every protocol at once: the worked oracle, names, baselines, strange tables, and ImageReward's real test file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rewardkit.config.protocols import FAMILIES, NAMES, PROTOCOLS, TUNED, expand
from rewardkit.data.predictions import PredictionRows, Predictions
from rewardkit.errors import UserError
from rewardkit.metrics.evaluate import BESIDE, apply, evaluate, judged, measure
from rewardkit.metrics.protocols import PROTOCOLS as RULES
from rewardkit.metrics.tie_thresholds import Tuned

Make = Callable[..., Predictions]

ORACLE = ([1, 0.5, 0.625, 0.625], [1, 2, 2, 4])
"""Scores and human ranks of the worked example; p(0, j) = sigmoid of the difference."""

EXPECTED = {
    ("strict_micro", "accuracy"): 3 / 5,
    ("strict_macro", "accuracy"): 3 / 5,
    ("half_micro", "accuracy"): 3.5 / 5,
    ("half_macro", "accuracy"): 3.5 / 5,
    # Right: three of the first image, and the tie; 1 before 3 is wrong; 2 and 3 are level, so one half.
    ("hpdv2", "accuracy"): 4.5 / 6,
    ("hpdv2_published", "accuracy"): 5 / 6,
    ("imagereward_micro", "accuracy"): 3 / 5,
    ("imagereward_macro", "accuracy"): 3 / 5,
    ("imagereward_recall", "recall@1"): 1.0,
    ("imagereward_recall", "recall@2"): 1.0,
    ("imagereward_recall", "recall@4"): 1.0,
    # The worst, image 3, is level with image 2 above image 1: it is never last, among the last two half of the time.
    ("imagereward_recall", "filter@1"): 0.0,
    ("imagereward_recall", "filter@2"): 0.5,
    ("imagereward_recall", "filter@4"): 1.0,
    ("imagereward_recall_published", "filter@2"): 1.0,
    # t = 0.1: p differ by tanh(d / 2): 0.245, 0.185, 0.185 of the first image; 0.062, 0.062 and 0 are ties.
    ("pickapic", "accuracy"): (1 + 1 + 1 + 1 + 0.5 + 0.5) / 6,
    ("pickapic_training", "accuracy"): (1 + 1 + 1 + 0.5 + 0 + 0) / 6,
    ("tie_calibrated_micro", "accuracy"): 4 / 6,
    ("tie_calibrated_macro", "accuracy"): 4 / 6,
    ("tie_calibrated_micro_published", "accuracy"): 4 / 6,
    ("tie_calibrated_macro_published", "accuracy"): 4 / 6,
    ("videoalign_published", "accuracy"): 4 / 6,
    ("kendall", "tau_b"): 0.4,
    ("spearman", "rho"): 0.5,
    ("position", "accuracy"): 1.0,
}
THRESHOLDS = {"pickapic": 0.1, "tie_calibrated_micro": 0.125, "tie_calibrated_macro": 0.125}


def test_worked_oracle_under_every_protocol(predictions_of_ranks: Make) -> None:
    table = predictions_of_ranks([ORACLE])
    found = {}
    for protocol in PROTOCOLS:
        tuned = {"overall": Tuned(protocol, THRESHOLDS[protocol], 1, 1, None)} if protocol in THRESHOLDS else None
        for measurement in apply(protocol, table, tuned)["overall"]:
            found[protocol, measurement.metric] = measurement.value()
    for name, value in EXPECTED.items():
        assert found[name] == pytest.approx(value), name
    delta = np.array([0.5, 0.375, 0.375, -0.125, -0.125, 0.0])
    label = np.array([1, 1, 1, 0.5, 1, 1])
    p = 1 / (1 + np.exp(-delta))
    assert found["calibration", "brier"] == pytest.approx(np.mean((p - label) ** 2))
    assert found["calibration", "nll"] == pytest.approx(-np.mean(label * np.log(p) + (1 - label) * np.log(1 - p)))
    assert found["system", "spearman"] is None, "nobody says which generator made what"


def test_one_group_has_no_interval_and_twice_the_same_has_no_width(predictions_of_ranks: Make) -> None:
    for row in evaluate(predictions_of_ranks([ORACLE]), ["all"], tuning=predictions_of_ranks([ORACLE]), draws=100):
        assert row["low"] is None and row["high"] is None
    for row in evaluate(predictions_of_ranks([ORACLE] * 2), ["strict", "hpdv2", "kendall"], draws=100):
        assert row["low"] == pytest.approx(row["value"]) and row["high"] == pytest.approx(row["value"])


def test_names_families_and_rules_fit_together(predictions_of_ranks: Make) -> None:
    part = judged(predictions_of_ranks([ORACLE]))["overall"]
    for protocol in PROTOCOLS:
        tuned = Tuned(protocol, 0.5, 1, 1, None) if protocol in (*TUNED, "calibration") else None
        assert {m.protocol for m in measure(protocol, part, tuned)} == {protocol}
    assert set(RULES) <= set(PROTOCOLS)
    assert {name for name in RULES if RULES[name].threshold and not name.endswith("_published")} == set(TUNED)
    assert expand(["strict", "hpdv2", "strict_micro"]) == ("strict_micro", "strict_macro", "hpdv2")
    assert not any(name.endswith("_published") for name in FAMILIES["all"])
    assert len(set(NAMES)) == len(NAMES)
    with pytest.raises(UserError, match="Did you mean 'tie_calibrated"):
        expand(["tie_calibratd"])
    with pytest.raises(UserError, match="no protocol"):
        measure("strict", part)


def test_tuned_protocols_never_tune_on_the_test_silently(predictions_of_ranks: Make) -> None:
    for protocol in (*TUNED, "tie_calibrated"):
        with pytest.raises(UserError, match=r"data\.tune="):
            evaluate(predictions_of_ranks([ORACLE]), [protocol])
    rows = evaluate(predictions_of_ranks([ORACLE]), ["calibration"])
    assert [row["metric"] for row in rows] == ["ece", "mce", "brier", "nll"]


def test_baselines_of_every_protocol(random_predictions: Make) -> None:
    table = random_predictions(60, seed=3, prefer="A")
    rows = {(row["protocol"], row["metric"]): row for row in evaluate(table, ["all"], tuning=table, draws=0)}
    strict = rows["strict_micro", "accuracy"]
    assert strict["chance"] == 0.5 and strict["which_generator"] > 0.65
    assert rows["position", "accuracy"]["value"] == pytest.approx(strict["list_position"])
    # Generator A is always listed first, and is liked best: whoever knows either finds a best image more often.
    recall = rows["imagereward_recall", "recall@1"]
    assert recall["chance"] == pytest.approx(0.25, abs=0.02)
    assert recall["list_position"] > 0.6 and recall["which_generator"] > 0.6
    assert rows["kendall", "tau_b"]["chance"] == 0.0 and rows["kendall", "tau_b"]["list_position"] > 0.2
    for key in BESIDE:
        assert rows["system", "pearson"][key] is None and rows["calibration", "ece"][key] is None
    assert rows["kendall", "tau_b"]["annotator_agreement"] is None


def test_chance_of_rules_that_judge_ties(predictions_of_ranks: Make) -> None:
    # 2 of 4 comparisons are ties. Pick-a-Pic at random: 1/2 + t/2 * share of ties.
    table = predictions_of_ranks(
        [([0.0, 9.0], [1, 1]), ([0.0, 0.0], [1, 1]), ([1.0, 0.0], [1, 2]), ([0.0, 9.0], [2, 1])]
    )
    tuned = {"overall": Tuned("pickapic", 0.4, 1, 1, None)}
    (found,) = apply("pickapic", table, tuned)["overall"]
    part = judged(table)["overall"]
    from rewardkit.metrics.evaluate import beside

    assert beside([found], part)[0]["chance"] == pytest.approx(0.5 + 0.5 * 0.4 * 0.5)
    (found,) = apply("tie_calibrated_micro", table, {"overall": Tuned("", 0.0, 1, 1, None)})["overall"]
    # One of four pairs is called a tie: ties are met with 1/4, the others with 3/4 of one half.
    assert beside([found], part)[0]["chance"] == pytest.approx((0.25 + 0.375) / 2)
    (found,) = apply("hpdv2", table)["overall"]
    assert beside([found], part)[0]["chance"] == pytest.approx((1 + 0.5) / 2)


@pytest.mark.parametrize("kind", ["empty", "no labels", "one candidate", "all unscored"])
def test_strange_tables_give_no_numbers_and_no_crash(
    kind: str, predictions_of: Make, predictions_of_ranks: Make
) -> None:
    nan = float("nan")
    table = {
        "empty": PredictionRows(["overall"]).predictions(),
        "no labels": predictions_of([([0.0, 1.0], [])] * 3, generators=["A", "B"]),
        "one candidate": predictions_of_ranks([([1.0], [1])] * 2),
        "all unscored": predictions_of_ranks([([nan, nan, nan], [1, 2, 3])] * 3, generators=["A", "B", "C"]),
    }[kind]
    for row in evaluate(table, [*PROTOCOLS], tuning=table, draws=100):
        assert row["value"] is None, row
        assert row["low"] is None and (row["comparisons"] == 0 or row["protocol"] == "system"), row


def test_rows_are_plain(random_predictions: Make) -> None:
    table = random_predictions(10, seed=0)
    rows = evaluate(table, [*PROTOCOLS], tuning=table, draws=50)
    assert json.loads(json.dumps(rows)) == rows
    assert all(set(row) == set(rows[0]) for row in rows)


def test_imagereward_test_file_and_its_trap(predictions_of_ranks: Make) -> None:
    shared = os.environ.get("REWARDKIT_SHARED")
    if not shared:
        pytest.skip("needs REWARDKIT_SHARED")
    records = json.loads((Path(shared) / "data" / "imagereward_test" / "test.json").read_text(encoding="utf-8"))
    table = predictions_of_ranks([([0.0] * len(r["ranking"]), r["ranking"]) for r in records])
    rows = {
        (row["protocol"], row["metric"]): row
        for row in evaluate(table, ["imagereward", "half_micro", "hpdv2", "hpdv2_published"], draws=0)
    }
    strict = rows["imagereward_micro", "accuracy"]
    assert (strict["comparisons"], strict["ties"], strict["groups"]) == (6399, 831, 466)
    assert strict["value"] == 0.0 and rows["half_micro", "accuracy"]["value"] == 0.5
    # The file lists better images first: a constant scorer looks good where ties are broken by position.
    assert rows["hpdv2_published", "accuracy"]["value"] == pytest.approx(0.633350364)
    assert rows["hpdv2", "accuracy"]["value"] == pytest.approx(0.550, abs=0.001)
    assert strict["list_position"] > 0.55
