"""The cache: made once, whole or not at all, bounded."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rewardkit.data.cache import KEPT_SECONDS, cache_folder, cache_root, prune
from rewardkit.errors import UserError


def filler(size: int, calls: list[int]):
    def make(folder: Path) -> None:
        calls.append(size)
        (folder / "data").write_bytes(b"x" * size)

    return make


def test_made_once(tmp_path):
    calls: list[int] = []
    first = cache_folder(tmp_path, "kind", "abc", filler(5, calls))
    second = cache_folder(tmp_path, "kind", "abc", filler(5, calls))
    assert first == second == tmp_path / "kind" / "abc" and calls == [5]
    assert (first / "data").read_bytes() == b"xxxxx"
    assert [path.name for path in (tmp_path / "kind").iterdir()] == ["abc"]


def test_a_failure_leaves_nothing(tmp_path):
    def make(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache_folder(tmp_path, "kind", "abc", make)
    assert list((tmp_path / "kind").iterdir()) == []


def test_of_those_that_want_it_at_once_one_makes_it(tmp_path):
    calls: list[int] = []
    begun = threading.Barrier(4)

    def slow(folder: Path) -> None:
        calls.append(1)
        time.sleep(0.3)
        (folder / "data").write_text("whole")

    def want() -> str:
        begun.wait()
        return (cache_folder(tmp_path, "kind", "abc", slow) / "data").read_text()

    with ThreadPoolExecutor(4) as pool:
        assert [job.result() for job in [pool.submit(want) for _ in range(4)]] == ["whole"] * 4
    assert calls == [1]
    assert [path.name for path in (tmp_path / "kind").iterdir()] == ["abc"]


def test_where_the_maker_fails_one_that_waits_makes_it(tmp_path):
    calls: list[int] = []
    begun = threading.Barrier(2)

    def make(folder: Path) -> None:
        calls.append(1)
        time.sleep(0.2)
        if len(calls) == 1:
            raise RuntimeError
        (folder / "data").write_text("whole")

    def want() -> bool:
        begun.wait()
        try:
            return (cache_folder(tmp_path, "kind", "abc", make) / "data").is_file()
        except RuntimeError:
            return False

    with ThreadPoolExecutor(2) as pool:
        assert sorted(job.result() for job in [pool.submit(want) for _ in range(2)]) == [False, True]
    assert calls == [1, 1]


def test_without_locks_the_first_of_two_makers_is_kept(tmp_path, monkeypatch):
    def no_locks(file: object, what: int) -> None:
        raise OSError

    monkeypatch.setattr("fcntl.flock", no_locks)
    calls: list[int] = []

    def slow(folder: Path) -> None:
        (folder / "data").write_text("slow")
        cache_folder(tmp_path, "kind", "abc", filler(3, calls))

    entry = cache_folder(tmp_path, "kind", "abc", slow)
    assert (entry / "data").read_text() == "xxx"
    assert [path.name for path in (tmp_path / "kind").iterdir()] == ["abc"]


def test_the_longest_unused_go_first(tmp_path):
    for number, name in enumerate(["old", "older", "new", ".left-behind"]):
        cache_folder(tmp_path, "kind", name, filler(100, []))
        age = {"old": 2, "older": 3, "new": 0.5, ".left-behind": 2}[name] * KEPT_SECONDS
        os.utime(tmp_path / "kind" / name, (10**9 - age, 10**9 - age))
        assert number < 4
    folder = tmp_path / "kind"
    removed = prune(folder, max_bytes=300, now=10**9)
    assert [path.name for path in removed] == ["older", ".left-behind"]
    assert [path.name for path in prune(folder, max_bytes=0, now=10**9)] == ["old"]
    assert [path.name for path in folder.iterdir()] == ["new"]  # in use within the last day


def test_a_use_makes_an_entry_young(tmp_path):
    entry = cache_folder(tmp_path, "kind", "a", filler(100, []))
    os.utime(entry, (1, 1))
    cache_folder(tmp_path, "kind", "a", filler(100, []), max_bytes=0)
    assert entry.is_dir()


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\); name another folder with cache\.dir="):
        cache_folder(tmp_path / "file", "kind", "abc", filler(5, []))


def test_the_root(tmp_path, monkeypatch):
    assert cache_root(tmp_path) == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root().name == "rewardkit"
