"""The verb: what is refused before anything starts, what is printed, and what lies in the folder at the end."""

from __future__ import annotations

import csv
import functools
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from rewardkit.cli import run
from rewardkit.config.recipes import compose_fit
from rewardkit.sweeps.local import TrialPlan

FAKE = Path(__file__).parents[1] / "sweeps" / "fake_fit.py"

SWEEP = """
description: Two of fit's options
method: grid
metric: {name: val/m, goal: maximize}
parameters:
  optim.lr: {values: [2.0, 3.0]}
  optim.weight_decay: {values: [0.1, 0.2]}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep file in it, where trials are the fake program's, and no W&B key is found."""
    (tmp_path / "mine.yaml").write_text(SWEEP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    program = (sys.executable, str(FAKE))
    monkeypatch.setattr("rewardkit.commands.sweep_folder.TrialPlan", functools.partial(TrialPlan, program=program))
    monkeypatch.setattr("rewardkit.sweeps.local.LOOK_SECONDS", 0.05)
    return tmp_path


def test_a_sweep_to_its_end_and_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "sweep=mine.yaml", "recipe=hpsv2", "run.name=a", "jobs=2", "logger=tensorboard"]
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert "4 trials: 4 complete" in printed and "best" in printed
    root = here / "runs/sweeps/mine/a"
    results = json.loads((root / "results.json").read_text())
    assert (results["best"], results["finished"], len(results["trials"])) == (2, True, 4)
    assert results["trials"][2]["parameters"] == {"optim.lr": 3.0, "optim.weight_decay": 0.1}
    rows = list(csv.DictReader((root / "results.csv").open()))
    assert [row["optim.lr"] for row in rows] == ["2.0", "2.0", "3.0", "3.0"] and rows[0]["state"] == "complete"
    assert (root / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "Best so far" in (root / "report.html").read_text(encoding="utf-8")
    assert (root / "best/bundle/model.safetensors").read_text() == "0002"
    assert compose_fit({"recipe": str(root / "best/recipe.yaml")}).options.optim.lr == 1e-3  # the fake's config.yaml
    assert "logger=csv,tensorboard" in (root / "logs/0000.log").read_text()
    assert run(command) == 2
    assert "exists already and is not overwritten" in capsys.readouterr().err
    assert run([*command, "resume=auto"]) == 0
    assert run(["sweep", f"resume={root}"]) == 0
    assert all(len((root / f"runs/hpsv2/{n:04d}/starts.txt").read_text().split()) == 1 for n in range(4))
    capsys.readouterr()
    assert run([*command, "resume=auto", "optim.eps=1"]) == 2
    assert (
        "cannot be continued: this differs" in (told := capsys.readouterr().err) and "optim.eps: None then, 1" in told
    )


def test_all_failed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.yaml").write_text(SWEEP.replace("val/m", "val/n"), encoding="utf-8")
    assert run(["sweep", "sweep=mine.yaml", "recipe=hpsv2", "run.name=a", "jobs=4"]) == 1
    printed = capsys.readouterr().out
    assert "4 failed" in printed and "did not log val/n" in printed and "no trial went to its end" in printed
    assert not (here / "runs/sweeps/mine/a/best").exists()


def test_what_would_be_tried(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", "sweep=mine.yaml", "recipe=hpsv2", "dry_run=true"]) == 0
    printed = capsys.readouterr().out
    assert "grid, 4 points, 4 trials, 1 at once" in printed and "there is no W&B key" in printed
    assert "python -m rewardkit fit recipe=hpsv2 seed=0 optim.lr=2.0 optim.weight_decay=0.1" in printed
    assert [path.name for path in here.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({}, [], "name a recipe"),
        ({}, ["recipe=hpsv2", "optim.lr=1"], "optim.lr: is searched by mine.yaml"),
        ({}, ["recipe=hpsv2", "job=2"], "job: there is no such key. Did you mean 'jobs'"),
        ({}, ["recipe=hpsv2", "optim.epz=2"], "optim.epz: there is no such key. Did you mean 'optim.eps'"),
        ({}, ["recipe=hpsv2", "backend=here"], "backend: 'here' is not one of"),
        ({}, ["recipe=hpsv2", "resume=auto"], "resume=auto needs a name"),
        ({}, ["recipe=hpsv2", "resume=nowhere"], "this is no sweep's folder"),
        ({}, ["recipe=hpsv2", "backend=wandb"], "backend=wandb needs a W&B key"),
        ({"optim.lr": "optim.lrr"}, ["recipe=hpsv2"], "optim.lrr: there is no such key. Did you mean 'optim.lr'"),
        ({"[2.0, 3.0]": "[fast, 3.0]"}, ["recipe=hpsv2"], "optim.lr: expects a number, got 'fast' (set by mine.yaml)"),
        ({"[2.0, 3.0]": "[-1.0, 3.0]"}, ["recipe=hpsv2"], "optim.lr: must be greater than 0, got -1.0"),
        ({}, ["recipe=hpsv2", "optim.warmup_steps=9999"], "optim.warmup_steps: 9999 is not less than"),
        ({"metric: {name: val/m, goal: maximize}": ""}, ["recipe=hpsv2"], "names none"),
        (
            {"grid": "random", "{values: [2.0, 3.0]}": "{min: 1.0, max: 2.0}"},
            ["recipe=hpsv2"],
            "has no end: give count",
        ),
    ],
)
def test_mistakes(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    arguments: list[str],
    words: str,
) -> None:
    text = SWEEP
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (here / "mine.yaml").write_text(text, encoding="utf-8")
    assert run(["sweep", "sweep=mine.yaml", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_what_ships_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep"]) == 2
    told = capsys.readouterr().err
    assert "hpsv2_lr_freezing" in told and "Learning rate × freezing" in told


def test_two_at_one_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rewardkit.sweeps.trial import only_one

    root = here / "runs/sweeps/mine/a"
    root.mkdir(parents=True)
    with only_one(root / ".lock"):
        assert run(["sweep", "sweep=mine.yaml", "recipe=hpsv2", "run.name=a"]) == 2
    assert "is being worked on by another process" in capsys.readouterr().err


def test_wandbs_server_gets_the_file_and_the_command_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    calls: list[tuple[str, object]] = []
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb, "sweep", lambda config, **kwargs: calls.append(("sweep", config)) or "s1")
    monkeypatch.setattr(wandb, "agent", lambda name, **kwargs: calls.append(("agent", (name, kwargs["count"]))))
    command = ["sweep", "sweep=mine.yaml", "recipe=hpsv2", "run.name=a", "count=3", "optim.eps=1e-7"]
    assert run(command) == 0
    (_, config), agent = calls
    assert isinstance(config, dict) and config["parameters"] == {
        "optim.lr": {"values": [2.0, 3.0]},
        "optim.weight_decay": {"values": [0.1, 0.2]},
    }
    assert config["command"][:6] == ["${env}", "${interpreter}", "-m", "rewardkit", "fit", "recipe=hpsv2"]
    assert {"logger=csv,wandb", "optim.eps=1e-7", "run.dir=runs/sweeps/mine/a/runs"} <= set(config["command"])
    assert config["command"][-1] == "${args_no_hyphens}" and agent == ("agent", ("s1", 3))
    assert run([*command, "resume=auto"]) == 0
    assert [name for name, _ in calls] == ["sweep", "agent", "agent"], "the sweep that is there is joined again"
