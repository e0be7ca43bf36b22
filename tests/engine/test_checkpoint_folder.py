"""Which checkpoints a run has: they appear whole, the newest and the best stay, damaged ones are passed over."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardkit.engine.checkpoint_files import save_durably
from rewardkit.engine.checkpoint_folder import CheckpointFolder, Contents, newest_readable, steps_in, write_contents
from rewardkit.errors import CheckpointError


def write(folder: CheckpointFolder, step: int, *, best: bool = False, parts: int = 0) -> Path:
    """A checkpoint of one file, or a folder of so many."""
    folder.root.mkdir(exist_ok=True)
    scratch = folder.scratch(step)
    if parts:
        (scratch / "checkpoint").mkdir(parents=True)
        names = [f"checkpoint/part-{n}.pt" for n in range(parts)]
        files = {name: save_durably({"step": torch.tensor(step)}, scratch / name) for name in names}
        write_contents(scratch, Contents(step, "zero2", parts, files))
    else:
        save_durably({"state_dict": {}, "global_step": step}, scratch)
    return folder.commit(step, best=best)


@pytest.mark.parametrize("parts", [0, 2])
def test_the_newest_and_the_best_stay(tmp_path: Path, parts: int) -> None:
    folder = CheckpointFolder(tmp_path / "c", keep=2)
    for step in (2, 4, 6, 8, 10):
        write(folder, step, best=step in (2, 4), parts=parts)
    assert steps_in(folder.root) == [4, 8, 10]
    assert os.readlink(folder.root / "last.ckpt") == "step-00000010.ckpt"
    assert os.readlink(folder.root / "best.ckpt") == "step-00000004.ckpt"
    assert sorted(p.name for p in folder.root.iterdir() if "tmp" in p.name) == []
    assert newest_readable(folder.root) == (folder.root / "step-00000010.ckpt", {})


@pytest.mark.parametrize("parts", [0, 2])
def test_a_damaged_one_is_passed_over_and_set_aside(tmp_path: Path, parts: int) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    good, bad = write(folder, 5, parts=parts), write(folder, 10, parts=parts)
    file = bad / "checkpoint" / "part-1.pt" if parts else bad
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    found, unreadable = newest_readable(tmp_path)
    assert found == good and list(unreadable) == [bad] and "damaged" in unreadable[bad]
    folder.begin(5, unreadable=unreadable)
    assert steps_in(tmp_path) == [5]
    assert (tmp_path / "step-00000010.ckpt.unreadable").exists()
    assert not (tmp_path / "last.ckpt").is_symlink(), "a link to nothing misleads"
    write(folder, 10, parts=parts)
    assert newest_readable(tmp_path) == (tmp_path / "step-00000010.ckpt", {})


def test_a_folder_that_lacks_a_part(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    (write(folder, 5, parts=2) / "checkpoint" / "part-0.pt").unlink()
    with pytest.raises(CheckpointError, match=r"none of the checkpoints.*\n.*part-0\.pt"):
        newest_readable(tmp_path)
    (tmp_path / "step-00000005.ckpt" / "files.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no files\.json"):
        newest_readable(tmp_path)


@pytest.mark.parametrize("parts", [0, 2])
def test_a_kill_at_any_moment_leaves_the_one_before(
    tmp_path: Path, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change of a name is stopped once: what is on the disk then can be continued from."""

    class Killed(BaseException):
        pass

    def killing(real: Callable[..., Any], calls: list[int], stop_at: int) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) > stop_at:
                raise Killed
            return real(*arguments)

        return call

    for stop_at in range(20):
        folder = CheckpointFolder(tmp_path / str(stop_at), keep=1)
        write(folder, 5, best=True, parts=parts)
        write(folder, 10, parts=parts)
        calls: list[int] = []
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(os, "replace", killing(os.replace, calls, stop_at))
            patch.setattr(shutil, "rmtree", killing(shutil.rmtree, calls, stop_at))
            write(folder, 15, best=True, parts=parts)
        found, unreadable = newest_readable(folder.root)
        assert found is not None and not unreadable
        assert found.name in ("step-00000010.ckpt", "step-00000015.ckpt"), stop_at
        folder.begin(int(found.name[5:13]), unreadable={})
        assert not list(folder.root.glob("*.tmp")) and (folder.root / "last.ckpt").exists()
        if len(calls) <= stop_at:
            return
    raise AssertionError("there is no end of renames")


def test_going_on_from_an_earlier_one_removes_the_later(tmp_path: Path) -> None:
    """After a kill the run would go on from a later one otherwise, with logs that were cut back."""
    folder = CheckpointFolder(tmp_path, keep=3)
    for step in (5, 10, 15):
        write(folder, step, best=step == 15)
    (tmp_path / "step-00000020.ckpt.tmp").mkdir()
    (tmp_path / "step-00000020.ckpt.tmp" / "half").write_bytes(b"x")
    folder.begin(10, unreadable={})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000005.ckpt", "step-00000010.ckpt"]
