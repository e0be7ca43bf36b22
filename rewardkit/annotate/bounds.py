"""Bounds of what is held while thousands of requests are asked: requests planned one by one, bytes of images."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from rewardkit.annotate.requests import Request


class Queue:
    """Requests, planned one by one in a thread: reading records must not hold up answers."""

    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests, self._lock = requests, asyncio.Lock()

    async def next(self) -> Request | None:
        """The next one; None where there is none left."""
        async with self._lock:
            return await asyncio.to_thread(next, self._requests, None)


class Bytes:
    """A bound of bytes that are held; one holder alone may pass it."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._freed = asyncio.Condition()

    async def take(self, size: int) -> None:
        """Waits until so many bytes may be held."""
        async with self._freed:
            await self._freed.wait_for(lambda: self._held == 0 or self._held + size <= self._most)
            self._held += size

    async def give(self, size: int) -> None:
        """They are not held any more."""
        async with self._freed:
            self._held -= size
            self._freed.notify_all()
