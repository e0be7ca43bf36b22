"""``fit`` of evaluators from end to end on a tiny model: files, figures, answers; resumed as uninterrupted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from rewardkit import cli
from rewardkit.data.answer_table import read_answers
from rewardkit.engine.checkpoints import read_checkpoint

RECIPE = """
about: a tiny evaluator
model: {kind: mllm, architecture: small, questions: embedded, mllm: {vision: full, small: {side: 32}}}
objective: {name: [option, answer, ordinal, bradley_terry], option: {class_weights: balanced}}
data: {dimension_map: {overall: null}, workers: 0, batch_groups: 4, micro_groups: 2}
optim: {lr: 1.0e-3, warmup_steps: 0}
evaluation: {bootstrap: 100}
trainer: {threads: 1, max_steps: 4, checkpoint_every: 2, validate_every: 4, log_every: 1}
logger: [csv]
"""
KEYS = ["prompt_following", "aesthetic", "fidelity", "harmlessness"]


@pytest.fixture
def arguments(answered_folders: tuple[Path, Path], tmp_path: Path) -> list[str]:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    train, val = answered_folders
    return ["fit", f"recipe={recipe}", f"data.train={train}", f"data.val={val}", f"run.dir={tmp_path / 'runs'}"]


def figures(run: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["name"], {})[int(row["step"])] = float(row["value"])
    return found


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]
    return state


@pytest.mark.slow
def test_a_run_has_answers_and_a_resumed_one_is_the_same(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*arguments, "run.name=whole"]) == 0
    told, run = capsys.readouterr().out, tmp_path / "runs" / "tiny" / "whole"
    assert "Held-out answers on val" in told and "Held-out preference accuracy on val" in told
    name = run / "predictions" / "00000004-val.parquet"
    table = read_answers(name)
    assert list(table.rows["question"].unique()) == KEYS and len(table.rows) == 4 * 4 * len(KEYS)
    assert all(len(people) == 3 for people in table.rows["people"])
    seen = figures(run)
    for key in KEYS:
        assert f"val/answers/option_accuracy/{key}" in seen and f"train/loss/option/{key}" in seen
        assert any(f"train/option_accuracy/{key}" in name for name in seen)
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    measured = {(row["dimension"], row["metric"]) for row in summary["answers"]}
    assert {(key, metric) for key in KEYS for metric in ("srcc", "qwk", "mae", "unparsed_rate")} <= measured
    assert (run / "bundle" / "questions" / "embedded.yaml").is_file()

    assert cli.run([*arguments, "run.name=cut", "trainer.stop_after=2"]) == 0
    cut = tmp_path / "runs" / "tiny" / "cut"
    assert cli.run([*arguments, "run.name=cut", "resume=auto"]) == 0
    ours, theirs = weights(cut), weights(run)
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        assert torch.equal(tensor, theirs[key]), key
    resumed = figures(cut)
    assert resumed.keys() == seen.keys()
    assert {k: v for k, v in resumed.items() if "throughput" not in k} == {
        k: v for k, v in seen.items() if "throughput" not in k
    }


@pytest.mark.slow
def test_the_published_form_learns_labels_as_written(arguments: list[str], tmp_path: Path) -> None:
    published = ["model.mllm.style=published", "objective.name=answer"]
    assert cli.run([*arguments, "run.name=p", *published]) == 0
    seen = figures(tmp_path / "runs" / "tiny" / "p")
    assert "train/loss/answer" in seen and "train/score_spread" not in seen and "train/accuracy/fidelity" not in seen
    assert all(f"val/answers/srcc/{key}" in seen or f"val/answers/mae/{key}" in seen for key in KEYS)
    assert all(value == value for of in seen.values() for value in of.values()), "a figure is not a number"


def test_answers_that_no_option_has_are_told_with_the_options(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*arguments, "run.name=q", "model.questions=visionprefer"]) == 2
    told = capsys.readouterr().err
    assert "no option of question" in told and "(1, 2, 3, 4, 5)" in told


def test_dry_run_shows_rows_and_what_trains(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*arguments, "dry_run=true", "model.mllm.vision_lr_factor=0.5"]) == 0
    told = capsys.readouterr().out
    assert "questions.input_ids" in told and "is padding" in told and "image.projection" in told
    assert any(
        line.split()[0] == "image.block.0" and line.split()[-1] == "0.5" for line in told.splitlines() if line.split()
    )
