"""``benchmark`` with an evaluator: EvalAlign's prompts, plans, aggregates and tables, and its golden numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_mllm import evaluator_bundle, questions

import rewardkit
from rewardkit import cli
from rewardkit.benchmark.aspects import aspect_rows
from rewardkit.benchmark.prompts import Prompt, PromptSet
from rewardkit.benchmark.result import read_result
from rewardkit.data.answer_table import QuestionAnswer, read_answers
from rewardkit.metrics.answer_sets import evalalign_of_table
from rewardkit.models.mllm.scoring import LoadedEvaluator

OTHERS = """
name: mine
about: a gate, and a question behind it
options:
- {label: "yes", text: "yes", value: 1}
- {label: "no", text: "no", value: -1}
questions:
- {key: face, text: "Is there a face?", dimension: body}
- {key: smile, text: "Does it smile?", dimension: object, needs: [face]}
"""

GOLDEN = Path(__file__).parents[1] / "golden" / "evalalign.json"


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluator_bundle(tmp_path_factory.mktemp("evaluator") / "bundle")


@pytest.fixture
def folders(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    """EvalAlign's files with two prompts each and one without a question; id 7 stands in both."""
    faithful = [{"prompt_id": id, "prompt": f"faithful {id}"} for id in ("7", "8")]
    slots = {"Object": "fox", "Count": "none", "Color": "fox: red;"}
    aligned = [{"prompt_id": id, "prompt": f"aligned {id}", "result_info": slots} for id in ("7", "9")]
    aligned.append({"prompt_id": "675", "prompt": "nothing", "result_info": {"Object": "none"}})
    (tmp_path / "test_faithfulness_prompt.json").write_text(json.dumps(faithful))
    (tmp_path / "test_alignment_prompt.json").write_text(json.dumps(aligned))
    for g, generator in enumerate(("sd", "xl")):
        for n, file in enumerate(("faithfulness/7", "8", "alignment/7", "9", "675")):
            draw(tmp_path / "images" / generator / f"{file}.png", 10 * g + n)
    (tmp_path / "images" / "xl" / "9.png").unlink()
    (tmp_path / "images" / "xl" / "stray id.png").write_bytes(b"x")
    return tmp_path


def _arguments(model: object, folder: Path, *others: str) -> list[str]:
    return [
        "benchmark", f"model={model}", f"images={folder / 'images'}", f"prompts={folder}", f"out={folder / 'out'}",
        "bootstrap=100", "workers=0", "device=cpu", *others,
    ]  # fmt: skip


def test_evalaligns_prompts_and_aggregates(evaluator: Path, folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(_arguments(evaluator, folders)) == 0
    printed = capsys.readouterr().out
    assert "xl lacks 1 of 3 images of alignment: alignment/9" in printed
    assert "1 files belong to no prompt and are ignored: stray id.png" in printed and "EvalAlign" in printed
    result = read_result(folders / "out")
    table = read_answers(folders / "out" / result.rewards[0].predictions)
    keys = table.rows.groupby("key")["question"].agg(set)
    assert keys["faithfulness/7"] == {"body", "Hand", "face", "object", "common"}
    assert keys["alignment/7"] == {"Object", "Color"} and "alignment/675" not in keys
    # What it says is what the evaluator says of the same image.
    loaded = rewardkit.load(evaluator)
    assert isinstance(loaded, LoadedEvaluator)
    said = loaded.answers([folders / "images/sd/8.png"], "faithful 8")
    mine = table.rows[(table.rows["key"] == "faithfulness/8") & (table.rows["generator"] == "sd")]
    assert dict(zip(mine["question"], mine["answer"], strict=True)) == {a.question: a.answer for a in said}
    expected = evalalign_of_table(table)
    for row in result.aspects:
        ours = expected[row.generator][row.aspect]
        assert row.average_micro == pytest.approx(ours.average_micro)
        assert row.normalised_macro == pytest.approx(ours.normalised_macro)
        if row.aspect == "alignment":
            assert row.images == 3  # also the one without a question, and the missing one
            assert row.total_average == pytest.approx(ours.score / 3)
            assert row.missing == (("alignment/9",) if row.generator == "xl" else ())
            # The published program divides by the files that are there.
            assert row.published["total_avgerage"] == pytest.approx(ours.score / (2 if row.generator == "xl" else 3))
            assert row.skills["Object"].n_planned == 2
    assert {row.generator for row in result.both_aspects} == {"sd", "xl"}
    assert {c.dimension for c in result.cells} == {q.dimension for q in questions().questions}


def test_written_answers_and_going_on(evaluator: Path, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.run(_arguments(evaluator, folders, "answers=generate", "answer_tokens=2")) == 0
    first = read_result(folders / "out")
    assert first.rewards[0].scale == "written"
    table = read_answers(folders / "out" / first.rewards[0].predictions)
    assert table.rows["text"].notna().all()
    unparsed = int((table.rows["outcome"] == "unparsed").sum())
    assert sum(skill.n_invalid for row in first.aspects for skill in row.skills.values()) == unparsed
    monkeypatch.setattr(LoadedEvaluator, "answer_batch", None)  # nothing is asked again
    assert cli.run(_arguments(evaluator, folders, "answers=generate", "answer_tokens=2")) == 0
    assert read_result(folders / "out").aspects == first.aspects


def test_other_questions_beside_a_reward(
    evaluator: Path, rewards: dict[str, Path], folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "mine.yaml").write_text(OTHERS)
    model = f"{evaluator},{rewards['c']}"
    assert cli.run(_arguments(model, folders, f"questions={folders / 'mine.yaml'}")) == 0
    result = read_result(folders / "out")
    assert [(r.kind, r.dimensions, r.questions) for r in result.rewards] == [
        ("mllm", ("body", "object"), "mine"), ("clip", ("overall",), None),
    ]  # fmt: skip
    assert not result.aspects and "mean, rank" in capsys.readouterr().out
    cells = {(c.reward, c.dimension, c.generator): c.n for c in result.cells if not c.tag}
    assert cells[result.rewards[0].label, "body", "sd"] == 5
    assert {(a.reward, a.other) for a in result.agreements} == {tuple(r.label for r in result.rewards)}


@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text())["cases"], ids=lambda case: case["name"])
def test_golden_aggregates(case: dict[str, Any]) -> None:
    aspect, table = case["kind"], case["inputs"]["table"]
    prompts = tuple(
        Prompt(f"{aspect}/{n}", "p", n, {"aspect": aspect}, dict.fromkeys(row["answers"], "x"), (), aspect)
        for n, row in enumerate(table)
    )
    said = {
        (n, 0): [
            QuestionAnswer(0, key, key, "answered", None, None, None, None, None, text=text)
            for key, text in row["answers"].items()
        ]
        for n, row in enumerate(table)
    }
    rows, _ = aspect_rows({"g": said}, questions(), PromptSet("e", "evalalign", prompts, ()), reward="r", draws=100)
    (row,) = rows
    if case["inputs"].get("n_images") in (None, len(table)):
        assert row.published == pytest.approx(case["expected"]["reference"], abs=1e-8)
    corrected = case["expected"].get("corrected", {})
    for key, numbers in corrected.items():
        if key != "total":
            mine = row.skills[key]
            for name in ("score", "n_scored", "n_na", "n_invalid", "average"):
                if name in numbers:
                    assert getattr(mine, name) == pytest.approx(numbers[name], abs=1e-8), (key, name)
