"""A run on W&B is one curve: each step once, in order, whatever kills and old checkpoints come between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rewardkit.engine.loggers import MetricsCSV
from rewardkit.engine.wandb_file import files_of, read_records, step_of
from rewardkit.engine.wandb_run import LATE_STEP, WandbRun, WandbValues
from rewardkit.errors import RewardkitError, UserError

wandb = pytest.importorskip("wandb")

KILLED = """
import os, signal, sys
from pathlib import Path
from rewardkit.engine.loggers import MetricsCSV
from rewardkit.engine.wandb_run import WandbRun, WandbValues
folder = Path(sys.argv[1])
loggers = [
    MetricsCSV(folder / "metrics.csv", cut_after=0),
    WandbRun(folder, WandbValues("offline", {"group": "g"}, {"a": {"b": 1}}), resumed_step=0, metrics=folder / "metrics.csv"),
]
loggers[1].start()
for step in range(1, 8):
    for logger in loggers:
        logger.log_metrics({"train/loss": 1 / step}, step=step)
    if step == 4:
        loggers[1].log_media({"val/x": 1.0}, step=step)  # so that save waits until the file has it
        for logger in loggers:
            logger.save()
            logger.log_metrics({"train/throughput/checkpoint_mb": 3.0}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""  # noqa: E501


class FakeRun:
    """What WandbRun needs of a run."""

    def __init__(self, starting_step: int = 0) -> None:
        self.starting_step = starting_step
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.axes: dict[str, str] = {}
        self.alerts: list[tuple[str, str]] = []
        self.summary: dict[str, Any] = {}
        self.ended: list[Any] = []

    def log(self, row: dict[str, Any], *, step: int, commit: bool) -> None:
        assert commit and (not self.rows or step > self.rows[-1][0])
        self.rows.append((step, row))

    def define_metric(self, name: str, *, step_metric: str) -> None:
        assert name not in self.axes
        self.axes[name] = step_metric

    def alert(self, title: str, text: str) -> None:
        self.alerts.append((title, text))

    def mark_preempting(self) -> None:
        self.ended.append("preempting")

    def finish(self, *, exit_code: int) -> None:
        self.ended.append(exit_code)


def started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, resumed: int = 0, fake: FakeRun | None = None
) -> WandbRun:
    run = WandbRun(folder, WandbValues("offline", {}, {}), resumed_step=resumed, metrics=folder / "metrics.csv")
    made = fake or FakeRun()
    monkeypatch.setattr(run, "_init", lambda mode: made)
    run.start()
    return run


def rows_of(folder: Path, run_id: str) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for path in files_of(folder / "wandb", run_id):
        for record, _ in read_records(path):
            step = step_of(record)
            if step is not None:
                items = record.history.item
                rows.append((step, {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}))
    return rows


def test_figures_of_a_step_become_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRun()
    run = started(tmp_path, monkeypatch, fake=fake)
    run.log_metrics({"train/loss": 1.0}, step=1)
    run.log_metrics({"val/x": 2.0}, step=1)
    assert fake.rows == []
    run.log_metrics({"train/loss": 0.5}, step=2)
    assert fake.rows == [(1, {"train/loss": 1.0, "val/x": 2.0})]
    run.finish(exit_code=0)
    assert fake.rows[1:] == [(2, {"train/loss": 0.5})] and fake.ended == [0]


def test_what_comes_late_keeps_its_step_on_an_axis_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRun()
    run = started(tmp_path, monkeypatch, fake=fake)
    (tmp_path / "metrics.csv").touch()
    for step in (1, 2):
        run.log_metrics({"train/loss": 1.0}, step=step)
        run.save()
        run.log_metrics({"checkpoint_mb": float(step)}, step=step)
    run.finish(exit_code=0)
    assert fake.rows == [(1, {"train/loss": 1.0}), (2, {"train/loss": 1.0, "checkpoint_mb": 1.0, LATE_STEP: 1})]
    assert fake.axes == {"checkpoint_mb": LATE_STEP} and fake.summary == {"checkpoint_mb": 2.0}


def test_a_failure_leaves_out_the_unfinished_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, other = FakeRun(), FakeRun()
    run = started(tmp_path, monkeypatch, fake=fake)
    run.log_metrics({"train/loss": 1.0}, step=1)
    run.finish(exit_code=1)
    assert fake.rows == [] and fake.ended == [1]
    run = started(tmp_path, monkeypatch, fake=other)
    run.log_metrics({"train/loss": 1.0}, step=1)
    run.finish(exit_code=0, preempted=True)
    assert other.rows == [(1, {"train/loss": 1.0})] and other.ended == ["preempting", 0]
    assert "WANDB_DATA_DIR" not in os.environ


def test_online_the_server_says_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has steps up to 2; 3 and 4 come from metrics.csv, 5 from the training, and 1 and 2 are not sent again."""
    csv = MetricsCSV(tmp_path / "metrics.csv", cut_after=0)
    for step in range(1, 7):
        csv.log_metrics({"train/loss": float(step)}, step=step)
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    fake = FakeRun(starting_step=3)
    run = WandbRun(tmp_path, WandbValues("auto", {}, {}), resumed_step=4, metrics=tmp_path / "metrics.csv")
    monkeypatch.setattr(run, "_init", lambda mode: fake)
    run.start()
    assert not run.offline
    run.log_metrics({"train/loss": 50.0}, step=5)
    run.finish(exit_code=0)
    assert fake.rows == [(3, {"train/loss": 3.0}), (4, {"train/loss": 4.0}), (5, {"train/loss": 50.0})]


def test_without_a_network_auto_goes_on_offline_and_online_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(mode: str) -> FakeRun:
        if mode == "online":
            raise wandb.errors.CommError("no route to host")
        return FakeRun()

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    for mode in ("auto", "online"):
        run = WandbRun(tmp_path, WandbValues(mode, {}, {}), resumed_step=0, metrics=tmp_path / "metrics.csv")
        monkeypatch.setattr(run, "_init", unreachable)
        if mode == "online":
            with pytest.raises(RewardkitError, match="no route to host"):
                run.start()
        else:
            run.start()
            assert run.offline and "no route to host" in run.notes[0]
            run.finish(exit_code=0)


def test_online_without_a_key_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    run = WandbRun(tmp_path, WandbValues("online", {}, {}), resumed_step=0, metrics=tmp_path / "metrics.csv")
    with pytest.raises(UserError, match="wandb login"):
        run.start()


@pytest.mark.slow
def test_killed_and_resumed_twice_every_step_is_there_once(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    for resumed, last in ((4, 6), (2, 8)):  # the second goes on from a checkpoint older than the last logged step
        csv = MetricsCSV(tmp_path / "metrics.csv", cut_after=resumed)
        run = WandbRun(tmp_path, WandbValues("offline", {}, {}), resumed_step=resumed, metrics=tmp_path / "metrics.csv")
        run.start()
        for step in range(resumed + 1, last + 1):
            for logger in (csv, run):
                logger.log_metrics({"train/loss": 1 / step}, step=step)
        run.finish(exit_code=0)
    rows = rows_of(tmp_path, run.run_id)
    assert Counter(step for step, _ in rows) == Counter(range(1, 9))
    assert [step for step, _ in rows] == sorted(step for step, _ in rows)
    assert [row["train/loss"] for _, row in rows] == pytest.approx([1 / step for step in range(1, 9)])
    assert len(files_of(tmp_path / "wandb", run.run_id)) == 3
