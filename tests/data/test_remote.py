"""Shard sets on servers: the same samples as on the disk, or a clear error, whatever the server does."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fault_server import FAULTS, FaultServer, Request, serve

from rewardkit.data import remote_blocks
from rewardkit.data.index import ARRAYS, ShardIndex
from rewardkit.data.index_build import digest_of_record
from rewardkit.data.open_index import open_index
from rewardkit.data.remote_access import RemoteAccess
from rewardkit.errors import BadSample, DataError, UserError

MakeShards = Callable[..., Path]
GroupOf = Callable[..., Any]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_blocks, "BLOCK_BYTES", 5000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def shards(make_shards: MakeShards, group_of: GroupOf) -> Path:
    return make_shards("pets", [group_of(n) for n in range(20)])


@pytest.fixture
def server(shards: Path) -> Iterator[FaultServer]:
    with serve(shards.parent) as running:
        yield running


@pytest.fixture
def access(tmp_path: Path) -> RemoteAccess:
    return RemoteAccess(cache=tmp_path / "cache", attempts=4, timeout=0.3, first_wait=0.01)


def all_samples(index: ShardIndex) -> list[Any]:
    return [(sample.key, sample.group, sample.images) for sample in map(index.sample, range(len(index)))]


def shard_requests(server: FaultServer) -> list[Request]:
    return [request for request in server.requests if request.path.endswith(".tar")]


def test_samples_and_index_are_those_of_the_disk(server: FaultServer, shards: Path, access: RemoteAccess) -> None:
    local, remote = ShardIndex.open(shards), open_index(f"{server.url}/pets/", access)
    assert all_samples(remote) == all_samples(local)
    assert [remote.record(n) for n in range(20)] == [local.record(n) for n in range(20)]
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(local, name), getattr(remote, name))
    url = f"{server.url}/pets"
    assert (remote.digest, remote.name, str(remote.place)) == (local.digest, "pets", url)
    assert (str(remote.path(0)), str(remote.path(0).parent)) == (f"{url}/{local.shards[0]}", url)


def test_only_blocks_that_are_needed_are_read_and_each_once(server: FaultServer, access: RemoteAccess) -> None:
    index = open_index(f"{server.url}/pets", access)
    server.requests.clear()
    index.sample(3)
    asked = shard_requests(server)
    assert 0 < sum(last - first + 1 for first, last in (r.range for r in asked if r.range)) < index.shard_bytes[0]
    all_samples(index)
    all_samples(index)
    spans = [(request.path, request.range) for request in shard_requests(server)]
    needed = {
        (index.path(n).name, block)
        for n in range(20)
        for block in range(index.offset[n] // 5000, -(-(index.offset[n] + index.length[n]) // 5000))
    }
    assert len(set(spans)) == len(spans) == len(needed)


def test_the_index_is_copied_once_and_again_when_it_has_changed(
    server: FaultServer, shards: Path, access: RemoteAccess, make_shards: MakeShards, group_of: GroupOf
) -> None:
    url = f"{server.url}/pets"
    open_index(url, access)
    server.requests.clear()
    open_index(url, access)
    assert [request.path for request in server.requests] == ["pets/index.json"]
    shutil.rmtree(shards)
    make_shards("pets", [group_of(n, start=100) for n in range(9)])
    assert all_samples(open_index(url, access)) == all_samples(ShardIndex.open(shards))


def test_a_copy_that_somebody_damaged_is_made_again(server: FaultServer, shards: Path, access: RemoteAccess) -> None:
    index = open_index(f"{server.url}/pets", access)
    (next(index.folder.glob("index-*")) / "offset.npy").write_bytes(b"")
    assert all_samples(open_index(f"{server.url}/pets", access)) == all_samples(ShardIndex.open(shards))


def test_another_process_opens_the_copy_without_the_server(server: FaultServer, access: RemoteAccess) -> None:
    index = open_index(f"{server.url}/pets", access)
    server.requests.clear()
    again = pickle.loads(pickle.dumps(index))
    assert not server.requests and again.digest == index.digest
    assert all_samples(again) == all_samples(index)


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "trickle"])
def test_every_fault_that_passes_ends_in_the_same_samples(
    server: FaultServer, shards: Path, access: RemoteAccess, fault: str
) -> None:
    server.stall_seconds = 0.5
    access = replace(access, attempts=8)
    server.fault = lambda request: fault if request.number % 4 == 0 else None
    assert all_samples(open_index(f"{server.url}/pets", access)) == all_samples(ShardIndex.open(shards))
    assert sum(request.number % 4 == 0 for request in server.requests) > 3


TOLD = {
    "500": "HTTP 500",
    "503": "HTTP 503",
    "stall": r"no byte came for 0\.3 s",
    "truncate": "cannot be read",
    "reset": "cannot be read",
    "wrong_range": "the server sent 'bytes 1-",
    "wrong_length": "announced",
    "garble": "are not the sample that was indexed",
    "404": "is not there",
    "403": r"HTTP 403.*\.netrc",
    "401": r"HTTP 401.*\.netrc",
}


@pytest.mark.parametrize("fault", TOLD)
def test_every_fault_that_stays_is_a_clear_error(server: FaultServer, access: RemoteAccess, fault: str) -> None:
    index = open_index(f"{server.url}/pets", access)
    server.stall_seconds = 0.5
    server.fault = lambda request: fault
    server.requests.clear()
    with pytest.raises(DataError, match=TOLD[fault]) as caught:
        all_samples(index)
    assert not isinstance(caught.value, BadSample)
    assert f"{server.url}/pets/pets-000000.tar" in str(caught.value)
    final = fault in ("404", "403", "401")
    assert len(shard_requests(server)) >= (1 if final else 4)
    assert not final or len({request.range for request in shard_requests(server)}) == len(shard_requests(server))


def test_bytes_that_drip_in_too_slowly_are_a_failure(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(f"{server.url}/pets", RemoteAccess(cache=tmp_path, attempts=2, timeout=0.1, first_wait=0.01))
    server.fault = lambda request: "trickle"  # 40 parts, 0.05 s apart, each within the timeout
    with pytest.raises(DataError, match="too few in 1 s"):
        index.sample(0)


def test_a_server_that_ignores_ranges_sends_each_file_once(
    server: FaultServer, shards: Path, access: RemoteAccess
) -> None:
    server.fault = lambda request: "ignore_range"
    index = open_index(f"{server.url}/pets", access)
    server.requests.clear()
    assert all_samples(index) == all_samples(ShardIndex.open(shards))
    whole = [request.path for request in shard_requests(server) if request.range is None]
    assert sorted(whole) == sorted(set(whole)) and len(whole) == len(index.shards)


def test_a_shard_that_changed_stops_the_run(
    server: FaultServer, shards: Path, access: RemoteAccess, make_shards: MakeShards, group_of: GroupOf
) -> None:
    index = open_index(f"{server.url}/pets", access)
    other = make_shards("other", [group_of(n, start=40) for n in range(20)])
    shutil.copy(other / "other-000000.tar", shards / "pets-000000.tar")
    with pytest.raises(DataError, match=r"make their index again|not the sample that was indexed.*data index"):
        index.sample(0)
    assert index.sample(15).key == "g00015"


def test_a_shard_that_changes_between_requests_is_read_again(
    server: FaultServer, shards: Path, access: RemoteAccess
) -> None:
    local = all_samples(ShardIndex.open(shards))
    index = open_index(f"{server.url}/pets", access)
    file = shards / "pets-000000.tar"
    right = file.read_bytes()
    file.write_bytes(right[:6000] + bytes(len(right) - 6000))  # as long, but another file behind the first block

    def mended_later(request: Request) -> None:
        if len(shard_requests(server)) > 6:
            file.write_bytes(right)

    server.fault = mended_later
    assert all_samples(index) == local


def test_a_damaged_block_in_the_cache_is_read_again(
    server: FaultServer, shards: Path, access: RemoteAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(f"{server.url}/pets", access)
    all_samples(index)
    for block in (access.cache / "blocks").glob("*/*"):
        block.write_bytes(block.read_bytes()[:-1])
    assert all_samples(index) == all_samples(ShardIndex.open(shards))


def test_a_bad_sample_is_a_bad_sample_on_a_server_too(
    make_shards: MakeShards, group_of: GroupOf, tmp_path: Path, access: RemoteAccess
) -> None:
    group, images = group_of(2)
    folder = make_shards("bad", [(group, [b"no image at all", *images[1:]]), group_of(3)])
    with serve(folder.parent) as server:
        index = open_index(f"{server.url}/bad", access)
        assert all_samples(index) == all_samples(ShardIndex.open(folder))  # its bytes are what was indexed


def test_a_cache_too_small_for_a_shard_costs_only_requests(server: FaultServer, shards: Path, tmp_path: Path) -> None:
    access = RemoteAccess(cache=tmp_path / "cache", max_bytes=12_000, timeout=2)
    index = open_index(f"{server.url}/pets", access)
    assert all_samples(index) == all_samples(ShardIndex.open(shards))
    assert sum(block.stat().st_size for block in (tmp_path / "cache" / "blocks").glob("*/*")) <= 12_000


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "index.json").unlink(), "data index src="),
        (lambda folder: (folder / "index.json").write_text("{}"), "no index"),
        (lambda folder: (folder / "index.json").write_text("[1"), "no index.*data index src="),
        (lambda folder: (folder / "index.json").write_text('{"version": 3}'), "its format is 3"),
        (lambda folder: _edit(folder, '"arrays": "', '"arrays": "../', mend=True), "outside its folder"),
        (lambda folder: _edit(folder, '"name": "pets', '"name": "../pets', mend=True), "outside its folder"),
        (lambda folder: _edit(folder, '"bytes": 1', '"bytes": 2'), "not what its digest says.*data index src="),
        (lambda folder: _cut(next(folder.glob("index-*/offset.npy"))), "cannot be read"),
    ],
)
def test_an_index_that_cannot_be_used(
    server: FaultServer, shards: Path, access: RemoteAccess, change: Callable[[Path], None], told: str
) -> None:
    change(shards)
    with pytest.raises((UserError, DataError), match=told) as caught:
        open_index(f"{server.url}/pets", access)
    assert server.url in str(caught.value)


def _edit(folder: Path, old: str, new: str, *, mend: bool = False) -> None:
    text = (folder / "index.json").read_text()
    assert old in text
    record = json.loads(text.replace(old, new))
    if mend:
        record["sha256"] = digest_of_record(record)
    (folder / "index.json").write_text(json.dumps(record))


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://me:secret@host/shards", "netrc"),
        ("https://host/shards?X-Amz-Signature=secret", "netrc"),
        ("simplecache::https://host/shards", "PROTOCOL://SERVER/PATH"),
        ("https://", "PROTOCOL://SERVER/PATH"),
        ("pipe://cat secret", "no protocol"),
        ("s3://bucket/shards", r"rewardkit\[s3\]"),
    ],
)
def test_urls_that_are_refused(url: str, told: str, access: RemoteAccess) -> None:
    with pytest.raises(UserError, match=told) as caught:
        open_index(url, access)
    assert "secret" not in str(caught.value).replace("cat secret", "")


def test_a_command_is_a_folder_that_is_not_there(access: RemoteAccess) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        open_index("pipe:cat /etc/passwd", access)


def test_any_file_system_of_fsspec(shards: Path, access: RemoteAccess) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(shards), "/bucket/pets", recursive=True)
    try:
        index = open_index("memory://bucket/pets", access)
        assert all_samples(index) == all_samples(ShardIndex.open(shards))
        memory.pipe_file("/bucket/pets/pets-000001.tar", b"short")
        shutil.rmtree(access.cache)
        with pytest.raises(DataError, match=r"memory://bucket/pets/pets-000001\.tar"):
            all_samples(open_index("memory://bucket/pets", access))
    finally:
        memory.rm("/bucket", recursive=True)
