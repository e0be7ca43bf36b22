"""Options of loggers: contradictions are told, W&B's environment is heard, and only the first process begins a run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from rich.console import Console

from rewardkit.commands.build_loggers import build_loggers, opened_loggers
from rewardkit.commands.check_loggers import logger_problems, wandb_mode
from rewardkit.config.layout import RunLayout
from rewardkit.config.logger_options import WandbOptions
from rewardkit.config.recipes import compose_fit
from rewardkit.engine.run_directory import Opened
from rewardkit.engine.wandb_run import WandbRun, WandbValues


def problems(**overrides: object) -> list[str]:
    composed = compose_fit({"recipe": "hpsv2", **{key.replace("__", "."): value for key, value in overrides.items()}})
    return list(logger_problems(composed.options, composed.origins))


def test_options_that_nothing_reads_are_told() -> None:
    assert problems(logger="csv", wandb__group="g") == [
        "wandb.group: nothing reads it, since logger is csv; for example logger=csv,wandb"
    ]
    assert problems(logger="csv") == []
    assert "is empty" in problems(logger="csv,wandb", wandb__group=" ")[0]


def test_a_package_that_is_missing_is_told_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'rewardkit[wandb]'" in problems(logger="csv,wandb", wandb__mode="offline")[0]
    assert problems(logger="csv,wandb", wandb__mode="disabled") == []


@pytest.mark.parametrize(
    ("asked", "said", "mode"),
    [
        ("auto", None, "auto"),
        ("auto", "offline", "offline"),
        ("auto", "dryrun", "offline"),
        ("auto", "disabled", "disabled"),
        ("auto", "nonsense", "auto"),
        ("online", "offline", "online"),
        ("disabled", "online", "disabled"),
    ],
)
def test_what_is_asked_for_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, asked: str, said: str | None, mode: str
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if said is not None:
        monkeypatch.setenv("WANDB_MODE", said)
    assert wandb_mode(WandbOptions(mode=asked)) == mode


def test_disabled_is_as_if_it_were_not_named(tmp_path: Path) -> None:
    composed = compose_fit({"recipe": "hpsv2", "logger": "csv,wandb", "wandb.mode": "disabled"})
    (logger,) = build_loggers(composed, Opened(RunLayout(tmp_path), None, 0), {})
    assert logger.name == "csv"


def test_other_ranks_begin_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    run = WandbRun(tmp_path, WandbValues("offline", {}, {}), resumed_step=0, metrics=tmp_path / "metrics.csv")
    monkeypatch.setattr(run, "start", lambda: pytest.fail("rank 1 has begun a run"))
    with opened_loggers([run], RunLayout(tmp_path), Console(quiet=True)) as ending:
        run.log_metrics({"train/loss": 1.0}, step=1)
        ending.exit_code = 0
    assert not (tmp_path / "wandb").exists()
