"""A run is started, continued or refused, and never overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rewardkit.config.layout import RunLayout
from rewardkit.engine.checkpoint_folder import CheckpointFolder
from rewardkit.engine.run_directory import Opened, open_run, write_run_files
from rewardkit.errors import CheckpointError, UserError

VALUES = {"seed": 0, "optim.lr": 0.1, "trainer.devices": "1", "data.workers": 0}


def opened(folder: Path, resume: str = "never", name: str | None = "a", **changes: Any) -> Opened:
    values = {**VALUES, **{key.replace("__", "."): value for key, value in changes.items()}}
    return open_run(resume, runs=str(folder), recipe="r", name=name, values=values)


def begin(folder: Path, *, step: int | None) -> RunLayout:
    layout = opened(folder).layout
    write_run_files(layout, config="seed: 0\n", values=VALUES, arguments=["recipe=r"], environment={})
    if step is not None:
        save(layout, step)
    return layout


def save(layout: RunLayout, step: int) -> Path:
    folder = CheckpointFolder(layout.checkpoints, keep=3)
    layout.checkpoints.mkdir(exist_ok=True)
    torch.save({"state_dict": {}, "global_step": step}, folder.scratch(step))
    return folder.commit(step, best=False)


def test_a_new_run_and_its_refusal(tmp_path: Path) -> None:
    assert opened(tmp_path) == Opened(RunLayout(tmp_path / "r" / "a"), None, 0)
    begin(tmp_path, step=None)
    with pytest.raises(UserError, match=r"exists already.*resume=auto"):
        opened(tmp_path)


def test_a_run_without_a_name_is_named_by_the_time(tmp_path: Path) -> None:
    assert opened(tmp_path, name=None).layout.root.parent == tmp_path / "r"


def test_a_run_of_a_sweep_agent_has_the_name_of_its_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    assert opened(tmp_path, name=None).layout.root.name != "abc123"
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    assert opened(tmp_path, name=None).layout.root == tmp_path / "r" / "abc123"
    assert opened(tmp_path, name="mine").layout.root == tmp_path / "r" / "mine"


def test_auto_starts_continues_and_ends(tmp_path: Path) -> None:
    assert opened(tmp_path, "auto").checkpoint is None
    layout = begin(tmp_path, step=7)
    assert opened(tmp_path, "auto") == Opened(layout, layout.checkpoints / "step-00000007.ckpt", 7)
    layout.summary.write_text("{}", encoding="utf-8")
    assert opened(tmp_path, "auto").finished


def test_auto_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.name=NAME"):
        opened(tmp_path, "auto", name=None)


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    begin(tmp_path, step=None)
    assert opened(tmp_path, "auto").step == 0


@pytest.mark.parametrize("place", ["", "checkpoints", "checkpoints/last.ckpt", "checkpoints/step-00000005.ckpt"])
def test_a_path_is_a_folder_or_a_checkpoint(tmp_path: Path, place: str) -> None:
    layout = begin(tmp_path, step=5)
    assert opened(tmp_path, str(layout.root / place)).step == 5


def test_what_may_and_may_not_differ(tmp_path: Path) -> None:
    begin(tmp_path, step=5)
    assert opened(tmp_path, "auto", trainer__devices="2", data__workers=3).step == 5
    with pytest.raises(UserError, match=r"optim\.lr: 0\.1 then, 0\.2 now"):
        opened(tmp_path, "auto", optim__lr=0.2)


def test_a_path_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run's folder"):
        opened(tmp_path, str(tmp_path))


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(tmp_path: Path) -> None:
    layout = begin(tmp_path, step=5)
    newest = save(layout, 9)
    newest.write_bytes(newest.read_bytes()[:100])
    found = opened(tmp_path, "auto")
    assert found.step == 5 and "step-00000009.ckpt cannot be read" in found.unreadable[newest]
    with pytest.raises(CheckpointError, match=r"step-00000009.*cannot be read.*newest one that is whole"):
        opened(tmp_path, str(layout.last_checkpoint))
    layout.checkpoints.joinpath("step-00000005.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"(?s)none of the checkpoints.*00000009.*00000005"):
        opened(tmp_path, "auto")
