"""When a call may go out: the rate limit, holds that a server asks for, and waits that grow between attempts."""

from __future__ import annotations

import asyncio
import random
import time

LONGEST_PAUSE = 60.0
"""Seconds between two attempts at most, where the server does not ask for more."""


class Stopped(Exception):
    """Nothing more is to be sent."""


class Pace:
    """Of one annotator.

    Args:
        per_minute: Calls in a minute at most, evenly spaced; None: no limit.
        first_pause: Seconds before the second attempt, about; it doubles from attempt to attempt.
        seed: Of the jitter.
        stop: Set where nothing more is to be sent; ends every wait.
    """

    def __init__(self, *, per_minute: float | None, first_pause: float, seed: int, stop: asyncio.Event) -> None:
        self._spacing = 60.0 / per_minute if per_minute else 0.0
        self._first_pause, self._stop = first_pause, stop
        self._jitter = random.Random(seed)
        self._next = 0.0
        self._held_until = 0.0

    async def turn(self) -> None:
        """Waits until the next call may go out; raises Stopped."""
        while True:
            now = time.monotonic()
            if self._held_until > now:
                await self.wait(self._held_until - now)
                continue
            mine = max(now, self._next)
            self._next = mine + self._spacing
            await self.wait(mine - now)
            if self._held_until <= time.monotonic():
                return

    def hold(self, seconds: float) -> None:
        """Nobody sends for so long: the server gets too much."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)

    def pause(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt (from 0): they grow exponentially, and half of them is random."""
        return min(LONGEST_PAUSE, self._first_pause * 2 ** min(attempt, 30)) * self._jitter.uniform(0.5, 1.0)

    async def wait(self, seconds: float) -> None:
        """Waits; raises Stopped as soon as nothing more is to be sent."""
        if self._stop.is_set():
            raise Stopped
        if seconds <= 0:
            return
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
        raise Stopped
