"""How ranks, and runs beside each other, share the encoding of features: one shard at a time, under a lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rewardkit.data.features import read_done


def share_shards(
    folder: Path,
    shards: int,
    *,
    rank: int,
    ranks: int,
    encode: Callable[[Iterator[int]], None],
    wait_seconds: float = 0.5,
) -> None:
    """Has every missing shard encoded by one of the processes that ask for it; returns when all are there.

    A process takes shards from its own place on, skips those that another one is at, and waits for these at the end. A
    lock of a process that dies is free at once, and its shard is then encoded by another.

    Args:
        folder: From ``feature_folder``.
        shards: How many there are.
        rank: Where among them to begin: ``rank / ranks``.
        ranks: Processes that begin in different places.
        encode: Called with the shards that this process takes, each taken when it is asked for; writes them with
            ``write_shard``.
        wait_seconds: How often to look whether the others are done.
    """
    start = shards * rank // ranks
    order = [*range(start, shards), *range(start)]
    with ShardLocks(folder) as locks:
        while missing := [shard for shard in order if read_done(folder, shard) is None]:
            taken: list[int] = []
            mine = _take(folder, missing, locks, taken)
            first = next(mine, None)
            if first is None:
                time.sleep(wait_seconds)
                continue
            encode(chain([first], mine))
            for shard in taken:
                locks.release(shard)


def _take(folder: Path, missing: Sequence[int], locks: ShardLocks, taken: list[int]) -> Iterator[int]:
    """Locks one missing shard after the other, when the next is asked for."""
    for shard in missing:
        if locks.take(shard):
            taken.append(shard)
            if read_done(folder, shard) is None:  # else another process has just finished it
                yield shard


class ShardLocks:
    """A lock for each shard, held by a process and free as soon as it ends; where a system has none, all are free.

    POSIX byte-range locks: they work over NFS, and loader workers do not inherit them. Without locks, two processes may
    encode the same shard, which costs time and changes nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".locks"
        self._file: Any = None

    def __enter__(self) -> ShardLocks:
        self._file = open(self._path, "ab")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def take(self, shard: int) -> bool:
        """Whether the shard is now this process's; does not wait."""
        try:
            import fcntl
        except ImportError:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, shard)
        except BlockingIOError:
            return False
        except PermissionError:  # what some systems raise for a lock that another holds
            return False
        except OSError:
            return True  # a file system without locks
        return True

    def release(self, shard: int) -> None:
        """Gives a shard back."""
        try:
            import fcntl

            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, shard)
        except (ImportError, OSError):
            pass
