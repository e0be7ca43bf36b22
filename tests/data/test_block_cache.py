"""The cache of remote blocks: whole blocks or none, a bound, and many processes at once."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from rewardkit.data.block_cache import BlockCache
from rewardkit.errors import UserError

KEY = "ab12"


def content(key: str, number: int, size: int = 1000) -> bytes:
    return random.Random(f"{key} {number}").randbytes(size)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


@pytest.fixture
def cache(tmp_path: Path) -> BlockCache:
    return BlockCache(tmp_path / "blocks", max_bytes=10**6)


def test_a_block_comes_back_whole_and_in_parts(cache: BlockCache) -> None:
    data = content(KEY, 3)
    assert cache.get(KEY, 3, 1000) is None
    assert cache.put(KEY, 3, data)
    for _ in range(2):  # the second time its digest is known to be right
        assert cache.get(KEY, 3, 1000) == data
        assert cache.get(KEY, 3, 1000, 10, 25) == data[10:25]
    assert cache.get(KEY, 4, 1000) is None and cache.get("ab13", 3, 1000) is None
    cache.drop(KEY, 3)
    assert cache.get(KEY, 3, 1000) is None


@pytest.mark.parametrize("damage", ["cut", "longer", "flipped", "flipped digest", "empty"])
def test_a_damaged_block_counts_as_not_there_and_goes(cache: BlockCache, damage: str) -> None:
    cache.put(KEY, 0, content(KEY, 0))
    (file,) = files(cache.folder)
    stored = bytearray(file.read_bytes())
    if damage == "flipped":
        stored[500] ^= 1
    elif damage == "flipped digest":
        stored[-1] ^= 1
    file.write_bytes({"cut": stored[:700], "longer": stored + b"x", "empty": b""}.get(damage, stored))
    assert cache.get(KEY, 0, 1000, 5, 9) is None
    assert not files(cache.folder)


def test_a_block_of_another_size_is_another_block(cache: BlockCache) -> None:
    cache.put(KEY, 0, content(KEY, 0))
    assert cache.get(KEY, 0, 900) is None


def test_the_longest_unused_go(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "blocks", max_bytes=5 * 1016)
    for number in range(5):
        cache.put(KEY, number, content(KEY, number))
        os.utime(cache.folder / "ab" / f"{KEY}-{number}", (0, 1000 + number))
    assert cache.get(KEY, 0, 1000)  # says that it is in use
    cache.put(KEY, 5, content(KEY, 5))
    left = {int(path.name.split("-")[1]) for path in files(cache.folder)}
    assert left == {0, 3, 4, 5}


def test_parts_left_by_the_killed_go_and_others_stay(cache: BlockCache) -> None:
    folder = cache.folder / "ab"
    folder.mkdir()
    (folder / ".part-old").write_bytes(b"x")
    os.utime(folder / ".part-old", (0, time.time() - 7200))
    (folder / ".part-now").write_bytes(b"x")
    cache.put(KEY, 0, content(KEY, 0))
    assert [path.name for path in files(cache.folder)] == [".part-now", f"{KEY}-0"]


def test_a_full_disk_costs_only_time(cache: BlockCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not cache.put(KEY, 0, content(KEY, 0))
    assert cache.get(KEY, 0, 1000) is None
    assert not files(cache.folder)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cache\.dir="):
        BlockCache(tmp_path / "file" / "blocks", max_bytes=1)


def _use(folder: Path, seed: int, wrong: multiprocessing.SimpleQueue) -> None:
    cache, draw = BlockCache(folder, max_bytes=20_000), random.Random(seed)
    for _ in range(300):
        key, number = f"{draw.randrange(16):02x}", draw.randrange(3)
        data = cache.get(key, number, 1000)
        if data is None:
            cache.put(key, number, content(key, number))
        elif data != content(key, number):
            wrong.put((key, number))
    wrong.put(None)


def test_processes_share_it_above_its_bound(tmp_path: Path) -> None:
    # 48 blocks of which 20 fit, so that each process removes what the others read.
    spawn = multiprocessing.get_context("fork")
    wrong = spawn.SimpleQueue()
    workers = [spawn.Process(target=_use, args=(tmp_path / "blocks", seed, wrong)) for seed in range(4)]
    for worker in workers:
        worker.start()
    assert [wrong.get() for _ in workers] == [None] * 4
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    sizes = [path.stat().st_size for path in files(tmp_path / "blocks")]
    assert sizes and set(sizes) == {1016} and sum(sizes) <= 20_000 + 4 * 1016
