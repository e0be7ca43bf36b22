"""Remote files by blocks: from the cache on the disk where it has them, else over the network, several at once."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from functools import lru_cache
from typing import TYPE_CHECKING

from rewardkit.data.block_cache import BlockCache
from rewardkit.data.remote_access import RangeIgnored, RemoteAccess
from rewardkit.data.remote_transport import read_range, read_whole

if TYPE_CHECKING:
    from rewardkit.data.remote import RemoteFile

BLOCK_BYTES = 2**22
"""Large enough that the bytes of a request outlast its way there and back, small enough that little is read in vain."""

AT_ONCE = 8
"""Requests under way in one process."""


def block_reader(access: RemoteAccess) -> BlockReader:
    """The reader of this process; a forked one makes its own."""
    return _block_reader(access, os.getpid())


@lru_cache(maxsize=16)
def _block_reader(access: RemoteAccess, process: int) -> BlockReader:
    return BlockReader(access)


class BlockReader:
    """Reads ranges of remote files; its methods may be called from several threads.

    Args:
        access: How files are read, and where the cache lies.

    Raises:
        UserError: The cache cannot be written.
    """

    def __init__(self, access: RemoteAccess) -> None:
        self._access = access
        self._cache = BlockCache(access.cache / "blocks", max_bytes=access.max_bytes)
        self._under_way: dict[tuple[str, int], Future[bytes]] = {}
        self._lock = threading.Lock()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._read_whole: dict[str, asyncio.Lock] = {}

    def expect(self, file: RemoteFile, offset: int, length: int) -> None:
        """Begins to fetch what is not in the cache; what fails shows when it is read."""
        for number in _blocks(offset, length):
            under_way = (file.key, number) in self._under_way
            if not under_way and self._cache.get(file.key, number, _size(file, number), 0, 0) is None:
                self._begin(file, number)

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes:
        """Bytes ``[offset, offset + length)`` of a file.

        Raises:
            DataError: They cannot be read.
        """
        assert offset >= 0 and offset + length <= file.size
        self.expect(file, offset, length)
        parts = []
        for number in _blocks(offset, length):
            first = number * BLOCK_BYTES
            start, stop = max(offset - first, 0), min(offset + length - first, BLOCK_BYTES)
            parts.append(self._part(file, number, start, stop))
        return b"".join(parts)

    def forget(self, file: RemoteFile, offset: int, length: int) -> None:
        """Drops the blocks of a range from the cache, since what they hold cannot be right."""
        for number in _blocks(offset, length):
            self._cache.drop(file.key, number)

    def _part(self, file: RemoteFile, number: int, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)`` of a block."""
        data = self._cache.get(file.key, number, _size(file, number), start, stop)
        if data is not None:
            return data
        future = self._begin(file, number)
        try:
            return future.result()[start:stop]
        finally:
            with self._lock:  # an error is told once, and the next read tries again
                self._under_way.pop((file.key, number), None)

    def _begin(self, file: RemoteFile, number: int) -> Future[bytes]:
        """A block under way."""
        from fsspec.asyn import get_loop

        with self._lock:
            known = self._under_way.get((file.key, number))
            if known is None:
                known = asyncio.run_coroutine_threadsafe(self._fetch(file, number), get_loop())
                self._under_way[file.key, number] = known
            return known

    async def _fetch(self, file: RemoteFile, number: int) -> bytes:
        """Reads a block and puts it into the cache; takes itself off what is under way, unless it failed."""
        async with self._slots:
            start = number * BLOCK_BYTES
            try:
                data = await read_range(file.url, start, _size(file, number), size=file.size, access=self._access)
            except RangeIgnored:
                data = await self._fetch_whole(file, number)
            else:
                await asyncio.to_thread(self._cache.put, file.key, number, data)
        with self._lock:
            self._under_way.pop((file.key, number), None)
        return data

    async def _fetch_whole(self, file: RemoteFile, wanted: int) -> bytes:
        """A block of a file that its server sends only as a whole: all of its blocks go into the cache, once."""
        async with self._read_whole.setdefault(file.key, asyncio.Lock()):
            found = self._cache.get(file.key, wanted, _size(file, wanted))

            def take(number: int, data: bytes) -> None:
                nonlocal found
                self._cache.put(file.key, number, data)
                if number == wanted:
                    found = data

            if found is None:
                await read_whole(file.url, size=file.size, piece=BLOCK_BYTES, access=self._access, take=take)
        assert found is not None
        return found


def _blocks(offset: int, length: int) -> range:
    """The blocks that a range touches."""
    return range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES))


def _size(file: RemoteFile, number: int) -> int:
    return min(BLOCK_BYTES, file.size - number * BLOCK_BYTES)
