"""The numbers behind the page."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rewardkit.config.layout import RunLayout
from rewardkit.data.predictions import Predictions, read_predictions
from rewardkit.metrics.protocols import accuracy
from rewardkit.report.evaluation import (
    MAX_PARTS,
    Evaluation,
    Row,
    evaluate,
    evaluations_of_summary,
    margins,
    summary_of_set,
)


@pytest.fixture
def predictions(layout: RunLayout, write: SimpleNamespace) -> Predictions:
    write.predictions(layout, dimensions=("overall", "other"), groups=20)
    return read_predictions(layout.predictions / "000100-val.parquet")


def test_parts_add_up_to_the_whole(predictions: Predictions) -> None:
    found = evaluate(predictions, "strict_micro")
    for dimension in ("overall", "other"):
        whole = next(row for row in found.rows if row.name == dimension)
        for kind in ("source", "tag", "generator_pair"):
            assert sum(row.comparisons or 0 for row in found.parts[kind][dimension]) == whole.comparisons
    assert {row.name for row in found.parts["tag"]["overall"]} == {"style=s0", "style=s1"}
    assert [row.comparisons for row in found.parts["tag"]["overall"]] == [30, 30]


def test_margins_give_the_strict_accuracy(predictions: Predictions) -> None:
    found = evaluate(predictions, "strict_micro")
    assert found.pairs is not None
    for row in found.rows:
        values = margins(found.pairs, row.name)
        part = found.pairs[found.pairs["dimension"] == row.name]
        assert np.mean(values > 0) == pytest.approx(row.value)
        assert row.value == accuracy(part, "strict_micro").value


def test_scores_that_are_not_finite_do_not_count(predictions: Predictions) -> None:
    scores = predictions.scores.copy()
    mask = (scores["group"] == 0) & (scores["candidate"] == 0)
    scores.loc[mask, "score"] = np.inf
    found = evaluate(Predictions(scores, predictions.labels), "strict_micro")
    assert found.infinite_scores == 2
    assert {row.name: row.comparisons for row in found.rows} == {"overall": 58, "other": 58}


def test_many_parts_are_cut_to_the_largest(predictions: Predictions) -> None:
    scores = predictions.scores.assign(
        tags=[json.dumps({"style": f"s{group}"}) for group in predictions.scores["group"]],
        group=predictions.scores["group"],
    )
    copies = [scores.assign(group=scores["group"] + 20 * n) for n in range(3)]
    for n, copy in enumerate(copies):
        copy["tags"] = [json.dumps({"style": f"s{group}"}) for group in copy["group"]]
        copy["key"] = f"{n}-" + copy["key"]
    labels = [predictions.labels.assign(group=predictions.labels["group"] + 20 * n) for n in range(3)]
    found = evaluate(Predictions(pd.concat(copies), pd.concat(labels)), "strict_micro")
    assert len(found.parts["tag"]["overall"]) == MAX_PARTS
    assert found.left_out["tag", "overall"] == 60 - MAX_PARTS


def test_too_many_generators_are_not_paired(predictions: Predictions) -> None:
    scores = predictions.scores.assign(generator=[f"g{n}" for n in range(len(predictions.scores))])
    found = evaluate(Predictions(scores, predictions.labels), "strict_micro")
    assert found.too_many == ("generator_pair",)
    assert "generator_pair" not in found.parts


def test_headline_is_overall_where_there_is_one() -> None:
    rows = (Row("a", value=0.5), Row("overall", value=0.6))
    assert Evaluation("", "strict_micro", 1, rows).headline == rows[1]
    assert Evaluation("", "strict_micro", 1, (Row("a"), Row("b", value=0.7))).headline == Row("b", value=0.7)
    assert Evaluation("", "strict_micro", 1, ()).headline is None


def test_summary_of_sets() -> None:
    sets = {"one": {"accuracies": {"overall": {"value": 0.6}}}, "two": {"accuracies": {"overall": {"value": 0.7}}}}
    summary = {"protocol": "half_macro", "step": 5, "sets": sets, "ceilings": {"best": {"overall": 0.9}}}
    found = evaluations_of_summary(summary)
    assert [(e.set, e.rows[0].value, e.rows[0].reachable) for e in found] == [("one", 0.6, 0.9), ("two", 0.7, None)]
    assert summary_of_set({"accuracies": 1}, "any") == {"accuracies": 1}
    assert summary_of_set(summary, "three") == {}
    assert evaluations_of_summary({}) == []


def test_an_order_of_people_is_taken_apart_by_its_own_pairs() -> None:
    from rewardkit.data.group import Candidate, Group, Ranking
    from rewardkit.data.predictions import PredictionRows

    rows = PredictionRows(["overall"])
    for n, ranks in enumerate([(1, 2, 2), (2, 1, 3)]):
        group = Group(
            f"g{n}", "p", tuple(Candidate(f"{i}.jpg", "AB"[i % 2]) for i in range(3)),
            rankings=(Ranking("overall", "ann", ranks),),
        )  # fmt: skip
        rows.add(group, [[3.0], [2.0], [1.0]], number=n, key=f"k{n}", source="val")
    found = evaluate(rows.predictions(), "hpdv2")
    assert found.headline.value == pytest.approx((1 + 2 / 3) / 2) and found.headline.comparisons == 6
    (source,) = found.parts["source"]["overall"]
    assert (source.value, source.comparisons) == (found.headline.value, 6)
    assert len(found.counted) == 6 and found.counted["verdict"].eq(0).sum() == 1
