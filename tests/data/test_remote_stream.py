"""Epochs read from a server: the batches of the disk, whatever the server does, or a clear error; and the verbs."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_server import FAULTS, FaultServer, Request, serve

from rewardkit.cli import run
from rewardkit.data import remote_access, remote_blocks
from rewardkit.data.batch import Batch
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.images import ImageTransform
from rewardkit.data.remote_access import RemoteAccess
from rewardkit.data.sources import Source
from rewardkit.errors import DataError

Make = Callable[..., PreferenceData]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_blocks, "BLOCK_BYTES", 5000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def folders(make_shards: Callable[..., Path], group_of: Callable[..., Any]) -> list[Path]:
    return [
        make_shards("a", [group_of(n) for n in range(17)]),
        make_shards("b", [group_of(n, start=100) for n in range(9)]),
        make_shards("val", [group_of(n, start=1000) for n in range(7)]),
    ]


@pytest.fixture
def server(folders: list[Path]) -> Iterator[FaultServer]:
    with serve(folders[0].parent) as running:
        running.stall_seconds = 0.4
        yield running


@pytest.fixture
def make(folders: list[Path], tokenizer: Any, tmp_path: Path) -> Make:
    def made(base: str | Path, *, cache: str = "cache", weights: tuple[Any, Any] = (None, None), **options: Any) -> Any:
        return PreferenceData(
            train=[Source(f"{base}/{name}", weight=w) for name, w in zip("ab", weights, strict=True)],
            val=[f"{base}/val"],
            transform=ImageTransform(8),
            tokenizer=tokenizer,
            dimensions=["overall", "aesthetic"],
            batch_groups=6,
            micro_groups=3,
            remote=RemoteAccess(cache=tmp_path / cache, attempts=8, timeout=0.3, first_wait=0.01),
            **options,
        )

    return made


def same(ours: Batch, theirs: Batch) -> None:
    for item in fields(Batch):
        a, b = getattr(ours, item.name), getattr(theirs, item.name)
        if isinstance(a, torch.Tensor):
            assert torch.equal(a.nan_to_num(-9), b.nan_to_num(-9)), item.name
        elif item.name not in ("denominators", "records", "questions"):
            assert a == b, item.name
    for item in fields(ours.denominators):
        assert torch.equal(getattr(ours.denominators, item.name), getattr(theirs.denominators, item.name))


def epoch_of(data: PreferenceData) -> list[Batch]:
    return [*data.train_dataloader(), *data.val_dataloader()[0]]


def any_fault(seed: int, share: float = 0.3) -> Callable[[Request], str | None]:
    draw = random.Random(seed)
    kinds = [name for name in FAULTS if name != "trickle"]
    return lambda request: draw.choice(kinds) if draw.random() < share else None


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_server_ends_in_the_epoch_of_the_disk(
    server: FaultServer, folders: list[Path], make: Make, workers: int
) -> None:
    local = make(folders[0].parent)
    server.fault = any_fault(workers)
    remote = make(server.url, workers=workers)
    batches = epoch_of(remote)
    assert len(server.requests) > 40
    assert [batch.bad for batch in batches] == [[]] * len(batches) and remote.bad_samples == 0
    for ours, theirs in zip(batches, epoch_of(local), strict=True):
        same(ours, theirs)


def test_weighted_sources_on_a_server_go_on_where_they_stopped(
    server: FaultServer, folders: list[Path], make: Make
) -> None:
    options: dict[str, Any] = {"weights": (2, 1), "epoch_groups": 18}
    local = make(folders[0].parent, **options)
    theirs = []
    for _ in range(2):
        theirs += list(local.train_dataloader())
        local.steps_done += 3
    remote = make(server.url, **options)
    remote.load_state_dict({**remote.state_dict(), "steps": 4, "epoch": 1})
    for ours, other in zip(remote.train_dataloader(), theirs[8:], strict=True):
        same(ours, other)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dead_server_is_an_error_and_no_bad_sample(
    server: FaultServer, make: Make, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_access, "LONGEST_WAIT", 0.01)
    data = make(server.url, workers=workers)
    server.fault = lambda request: "503"
    with pytest.raises(DataError, match=r"cannot be read \(8 attempts\): HTTP 503.*no sample was left out"):
        list(data.train_dataloader())
    assert data.bad_samples == 0


def test_a_bad_sample_on_a_server_is_one_bad_sample(
    make_shards: Callable[..., Path], group_of: Callable[..., Any], folders: list[Path], make: Make
) -> None:
    shutil.rmtree(folders[1])
    group, images = group_of(2, start=200)
    make_shards("b", [(group, [images[0][:-30], *images[1:]]), *(group_of(n, start=203) for n in range(6))])
    with serve(folders[0].parent) as server:
        data = make(server.url)
        batches = list(data.train_dataloader())
        (report,) = (report for batch in batches for report in batch.bad)
        assert (report.source, report.shard, report.key) == (f"{server.url}/b", "b-000000.tar", "g00202")
        assert data.bad_samples == 1


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


def data(*arguments: str) -> int:
    return run(["data", *arguments])


@pytest.mark.usefixtures("user_cache")
def test_verbs_read_a_server(
    server: FaultServer, folders: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert data("verify", f"src={server.url}/a") == 0
    assert "17 groups" in capsys.readouterr().out
    assert data("inspect", f"src={server.url}/a") == 0
    remote = capsys.readouterr().out
    assert data("inspect", f"src={folders[0]}") == 0
    assert remote == capsys.readouterr().out
    assert data("leaks", f"a={server.url}/a", f"b={server.url}/a", "images=exact") == 1
    assert data("split", f"src={server.url}/a", f"out={tmp_path / 'cut'}", "fraction=0.2") == 0
    assert data("verify", f"src={tmp_path / 'cut' / 'train'}") == 0
    capsys.readouterr()
    assert data("index", f"src={server.url}/a") == 2
    assert data("merge", f"src={server.url}/a,{server.url}/b", f"out={tmp_path / 'merged'}") == 2
    told = capsys.readouterr().err
    assert "make it where they lie" in told and "copy those of a server to a disk first" in told


@pytest.mark.usefixtures("user_cache")
def test_verify_names_what_a_server_damages(
    server: FaultServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_access, "LONGEST_WAIT", 0.01)
    server.fault = lambda request: "garble" if request.range and "a-000001" in request.path else None
    assert data("verify", f"src={server.url}/a") == 1
    told = capsys.readouterr().out
    assert "a-000001.tar: " in told and "not the sample that was indexed" in told and "17 groups" in told
