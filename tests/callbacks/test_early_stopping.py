"""Early stopping ends a run finished; a run that had stopped takes no further step."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rewardkit.callbacks.early_stopping import EarlyStopping

from rewardkit import cli


def stopped_at(values: list[float | None], **options: Any) -> int | None:
    """The validation (from 1) after which the run stops."""
    accuracy: Any = SimpleNamespace(dimensions=("overall", "other"), latest=[])
    early = EarlyStopping(accuracy, **{"dimension": None, "patience": 2, "min_delta": 0.0, **options})
    trainer: Any = SimpleNamespace(should_stop=False, global_step=0, max_steps=100)
    for n, value in enumerate(values, start=1):
        rows = [{"dimension": "overall", "value": value}, {"dimension": "other", "value": 1.0 - (value or 0)}]
        accuracy.latest = [SimpleNamespace(rows=rows)]
        trainer.global_step = n
        early.on_validation_epoch_end(trainer, None)  # type: ignore[arg-type]
        if trainer.should_stop:
            assert early.stopped_step == n
            return n
    return None


def test_patience_counts_validations_that_are_not_better() -> None:
    assert stopped_at([0.5, 0.6, 0.6, 0.55]) == 4
    assert stopped_at([0.5, 0.5, 0.6, 0.5, 0.61]) is None
    assert stopped_at([0.5, 0.505, 0.509], min_delta=0.01) == 3
    assert stopped_at([0.5, 0.6, 0.7], dimension="other") == 3
    assert stopped_at([0.5, None, None]) == 3


def test_the_last_step_is_no_early_stop() -> None:
    accuracy: Any = SimpleNamespace(dimensions=("a",), latest=[SimpleNamespace(rows=[])])
    early = EarlyStopping(accuracy, dimension=None, patience=1, min_delta=0.0)
    trainer: Any = SimpleNamespace(should_stop=False, global_step=100, max_steps=100)
    early.on_validation_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert not trainer.should_stop and early.stopped_step is None


@pytest.fixture
def stopping(tiny_fit: list[str]) -> list[str]:
    """A run of 8 steps that validates each step and cannot get better by 0.9."""
    kept = [a for a in tiny_fit if not a.startswith("trainer.validate_every")]
    return [
        *kept,
        "run.name=a",
        "trainer.validate_every=1",
        "callbacks.early_stopping.patience=2",
        "callbacks.early_stopping.min_delta=0.9",
    ]


def test_a_run_that_stops_is_finished(stopping: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["fit", *stopping]) == 0
    root = tmp_path / "runs" / "hpsv2" / "a"
    printed = capsys.readouterr().out
    assert "stopped early, after step 3" in printed
    summary = json.loads((root / "summary.json").read_text(encoding="utf-8"))
    assert summary["stopped_early"] == 3 and summary["validations"] == 3 and (root / "bundle" / "bundle.json").is_file()
    assert cli.run(["fit", *stopping, "resume=auto"]) == 0
    assert "is finished" in capsys.readouterr().out


def test_killed_before_its_summary_it_ends_at_once_when_resumed(stopping: list[str], tmp_path: Path) -> None:
    assert cli.run(["fit", *stopping]) == 0
    root = tmp_path / "runs" / "hpsv2" / "a"
    first = json.loads((root / "summary.json").read_text(encoding="utf-8"))
    (root / "summary.json").unlink()
    assert cli.run(["fit", *stopping, "resume=auto"]) == 0
    second = json.loads((root / "summary.json").read_text(encoding="utf-8"))
    assert second["stopped_early"] == 3 and second["step"] == first["step"]
    assert second["accuracies"] == first["accuracies"]


def test_it_needs_validations(tiny_fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["fit", *tiny_fit, "callbacks.early_stopping.patience=2"]) == 2
    assert "callbacks.early_stopping: 2 validations" in capsys.readouterr().err
    more = ["callbacks.early_stopping.dimension=nothing", "callbacks.early_stopping.patience=1"]
    assert cli.run(["fit", *tiny_fit, *more, "callbacks.ema.from_step=8"]) == 2
    error = capsys.readouterr().err
    assert "'nothing' is none of model.dimensions" in error and "callbacks.ema.from_step: 8 is not less" in error
