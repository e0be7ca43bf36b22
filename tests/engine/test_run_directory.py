"""A run is started, continued or refused, and never overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rewardkit.config.layout import RunLayout
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
        layout.checkpoints.mkdir()
        torch.save({"state_dict": {}, "global_step": step}, layout.last_checkpoint)
    return layout


def test_a_new_run_and_its_refusal(tmp_path: Path) -> None:
    assert opened(tmp_path) == Opened(RunLayout(tmp_path / "r" / "a"), None, 0)
    begin(tmp_path, step=None)
    with pytest.raises(UserError, match=r"exists already.*resume=auto"):
        opened(tmp_path)


def test_a_run_without_a_name_is_named_by_the_time(tmp_path: Path) -> None:
    assert opened(tmp_path, name=None).layout.root.parent == tmp_path / "r"


def test_auto_starts_continues_and_ends(tmp_path: Path) -> None:
    assert opened(tmp_path, "auto").checkpoint is None
    layout = begin(tmp_path, step=7)
    assert opened(tmp_path, "auto") == Opened(layout, layout.last_checkpoint, 7)
    layout.summary.write_text("{}", encoding="utf-8")
    assert opened(tmp_path, "auto").finished


def test_auto_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.name=NAME"):
        opened(tmp_path, "auto", name=None)


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    begin(tmp_path, step=None)
    assert opened(tmp_path, "auto").step == 0


@pytest.mark.parametrize("place", ["", "checkpoints", "checkpoints/last.ckpt"])
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


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    layout = begin(tmp_path, step=5)
    layout.last_checkpoint.write_bytes(layout.last_checkpoint.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be read"):
        opened(tmp_path, "auto")
