"""Checkpoint files: on the disk when they say so, checked before they are trusted, the same from the background."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardkit.engine import checkpoint_files
from rewardkit.engine.checkpoint_files import FileWriter, check_archive, check_written, save_durably, snapshot
from rewardkit.errors import CheckpointError


def content() -> dict[str, Any]:
    torch.manual_seed(0)
    weight = torch.randn(50_000)
    model = torch.nn.Linear(3, 2)
    return {"weight": weight, "view": weight[10:20], "nested": [{"deep": weight.view(100, -1)}, 1, "a"],
            "module": model.state_dict(), "pair": (torch.zeros(0), None)}  # fmt: skip


@pytest.fixture
def small_files() -> Iterator[None]:
    """A limit of 100 kB a file: what a quota or a full disk do, from the system itself."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_written_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "a"
    written = save_durably(content(), path)
    check_archive(path)
    check_written(path, written)
    read = torch.load(path, weights_only=True)
    assert torch.equal(read["weight"], content()["weight"])
    read["weight"][10] = 7.0
    assert read["view"][0] == 7.0, "tensors that shared memory still do"


@pytest.mark.parametrize("damage", ["bit", "cut", "empty"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a"
    written = save_durably(content(), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"bit": bytes(data), "cut": bytes(data[:-1000]), "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=str(path)):
        check_archive(path)
    with pytest.raises(CheckpointError, match=str(path)):
        check_written(path, written)


def test_a_snapshot_stays_as_it_was_and_is_written_alike(tmp_path: Path) -> None:
    live = content()
    copied = snapshot(live)
    before = save_durably(live, tmp_path / "live")
    live["weight"].zero_()
    assert save_durably(copied, tmp_path / "copied") == before
    assert (tmp_path / "live").read_bytes() == (tmp_path / "copied").read_bytes()


@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_is_told_at_the_end(tmp_path: Path, small_files: None, background: bool) -> None:
    writer = FileWriter(background=background)
    writer.save(content(), tmp_path / "a")
    writer.save({"small": 1}, tmp_path / "b")
    written, error = writer.finish()
    assert error is not None and error.filename == str(tmp_path / "a") and list(written) == [tmp_path / "b"]
    assert writer.finish() == ({}, None), "told once"


def test_the_background_does_not_hold_training_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    real = checkpoint_files.save_durably

    def slow(*arguments: Any) -> Any:
        go_on.wait(30)
        return real(*arguments)

    monkeypatch.setattr(checkpoint_files, "save_durably", slow)
    writer, live = FileWriter(background=True), content()
    expected = live["weight"].clone()
    writer.save(live, tmp_path / "a")
    live["weight"].zero_()
    assert not writer.is_done and not (tmp_path / "a").exists()
    go_on.set()
    written, error = writer.finish()
    assert error is None and list(written) == [tmp_path / "a"]
    assert torch.equal(torch.load(tmp_path / "a", weights_only=True)["weight"], expected)
