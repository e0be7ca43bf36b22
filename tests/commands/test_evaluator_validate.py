"""``validate`` with evaluators: measures of questions, EvalAlign's aggregates, two evaluators, tables read again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from answered_images import answered_group, write_answered
from tiny_mllm import questions, qwen2_5_vl

import rewardkit
from rewardkit import cli
from rewardkit.data.answer_table import read_answers
from rewardkit.data.predictions import read_predictions
from rewardkit.metrics.answer_sets import answers_of_table, evalalign_of_table
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.saving import save_evaluator
from rewardkit.models.mllm.scoring import LoadedEvaluator

GROUPS = 6


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_answered(tmp_path_factory.mktemp("answered") / "val", first=0, groups=GROUPS)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root, made = tmp_path_factory.mktemp("evaluators"), []
    dimensions = [question.dimension for question in questions().questions]
    for name, seed in (("one", 0), ("two", 1)):
        base, processor = qwen2_5_vl()
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in base.parameters():
                if parameter.ndim > 1:
                    parameter.add_(0.05 * torch.randn_like(parameter)).mul_(3)
        model = MLLMReward(base, processor, dimensions, scores_from="expected")
        model.rows = QuestionRows(processor, questions(), dimensions)
        made.append(save_evaluator(root / name, model))
    return made[0], made[1]


def run(*arguments: object) -> int:
    return cli.run([str(a) for a in arguments])


def validate(shards: Path, out: Path, *arguments: object) -> dict[str, Any]:
    common = [f"data.val={shards}", "data.workers=0", "bootstrap=100", f"out={out}"]
    assert run("validate", *common, *arguments) == 0
    found: dict[str, Any] = json.loads((out / "answers.json").read_text())
    return found


def test_every_question_is_measured_and_written(
    bundles: tuple[Path, Path], shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = validate(shards, tmp_path / "out", f"model={bundles[0]}")["one"]
    printed = capsys.readouterr().out
    assert "one on val: answers" in printed and "one on val: EvalAlign" in printed and "strict_micro" in printed
    table, predictions = (read(tmp_path / "out" / "0-val.parquet") for read in (read_answers, read_predictions))
    assert len(table.rows) == GROUPS * 2 * 5 + GROUPS // 2 * 2  # faithfulness always, Object where the slot is
    rows = {(row["dimension"], row["metric"]): row for row in found["measures"]["val"]}
    accuracy = rows["body", "option_accuracy"]
    assert (accuracy["comparisons"], accuracy["groups"]) == (GROUPS * 2, GROUPS)
    assert accuracy["chance"] == pytest.approx(1 / 6) and accuracy["most_frequent"] == pytest.approx(1 / 3)
    assert {"qwk", "mae", "na_f1", "srcc", "plcc", "tau_b", "unparsed_rate"} <= {metric for _, metric in rows}
    assert rows["face", "option_accuracy"]["value"] is None and rows["face", "option_accuracy"]["asked"] == GROUPS * 2
    with (tmp_path / "out" / "answers.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found["measures"]["val"])
    # The scores of the predictions table are those of the answers, and of rewardkit.load.
    loaded = rewardkit.load(bundles[0])
    assert isinstance(loaded, LoadedEvaluator)
    first, images = answered_group(1)
    scores = loaded.score(images, first.prompt, [first.slots] * 2)
    mine = predictions.scores[
        predictions.scores["key"] == table.rows[table.rows["question"] == "Object"]["key"].iloc[0]
    ]
    for dimension in ("body", "Object"):
        wanted = scores[:, loaded.dimensions.index(dimension)].tolist()
        assert mine[mine["dimension"] == dimension]["score"].tolist() == pytest.approx(wanted, abs=1e-5)
    assert mine[mine["dimension"] == "Count"]["score"].isna().all()
    # EvalAlign's aggregates are those of the table.
    by_generator = evalalign_of_table(table)
    assert set(by_generator) == {"g0", "g1"}
    said = {(row["generator"], row["aspect"], row["metric"]): row for row in found["evalalign"]["val"]}
    for generator, aspects in by_generator.items():
        micro = said[generator, "faithfulness", "average_micro"]
        assert micro["value"] == aspects["faithfulness"].average_micro and micro["n_images"] == GROUPS
        assert said[generator, "alignment", "total_average"]["value"] == aspects["alignment"].total_average
        assert (generator, "overall", "average_of_the_two") in said


def test_two_evaluators_are_compared_and_tables_read_again(
    bundles: tuple[Path, Path], shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = f"model={bundles[0]},{bundles[1]}"
    first = validate(shards, tmp_path / "a", models)
    differences = json.loads((tmp_path / "a" / "results.json").read_text())["differences"]
    assert ("body", "option_accuracy") in {(row["dimension"], row["metric"]) for row in differences}
    assert ("common", "accuracy") in {(row["dimension"], row["metric"]) for row in differences}
    printed = capsys.readouterr().out
    assert "val, body, answers qwk" in printed and "val, body, answers tau_b" not in printed
    tables = ",".join(str(tmp_path / "a" / f"{n}-val.parquet") for n in range(2))
    assert run("validate", f"model={tables}", "bootstrap=100", f"out={tmp_path / 'b'}") == 0
    again = json.loads((tmp_path / "b" / "answers.json").read_text())
    assert list(again.values()) == list(first.values())
    capsys.readouterr()


def test_written_answers_are_validated_apart(bundles: tuple[Path, Path], shards: Path, tmp_path: Path) -> None:
    found = validate(shards, tmp_path / "out", f"model={bundles[0]}", "answers=generate", "answer_tokens=2")["one"]
    table = read_answers(tmp_path / "out" / "0-val.parquet")
    unparsed = table.rows[table.rows["outcome"] == "unparsed"]
    assert len(unparsed) and unparsed["expected"].isna().all() and unparsed["answer"].isna().all()
    for row in found["measures"]["val"]:
        if row["metric"] == "unparsed_rate" and row["dimension"] == "body":
            assert row["value"] == pytest.approx((unparsed["question"] == "body").mean() * len(unparsed) / (GROUPS * 2))
    assert next(len(answers.group) for answers in answers_of_table(table)) == GROUPS * 2


def test_other_questions_and_what_cannot_be(
    bundles: tuple[Path, Path], shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "name: mine\nabout: mine\nquestions:\n"
    for key in ("body", "object", "common"):
        options = ", ".join(f"{{label: '{n}', text: level {n}, value: {n}}}" for n in range(5))
        text += f"- {{key: {key}, text: How is the {key}, options: [{options}]}}\n"
    (tmp_path / "mine.yaml").write_text(text)
    found = validate(shards, tmp_path / "out", f"model={bundles[0]}", f"questions={tmp_path / 'mine.yaml'}")["one"]
    assert {row["dimension"] for row in found["measures"]["val"]} == {"body", "object", "common", "all questions"}
    assert not found["evalalign"]
    few = tmp_path / "few.yaml"
    few.write_text(text[: text.index("- {key: object")])
    assert run("validate", f"model={bundles[0]}", f"data.val={shards}", f"questions={few}") == 2
    assert "no question of mine is on it" in capsys.readouterr().err
