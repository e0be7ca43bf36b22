"""How remote files are read, the ways in which that can fail, and what messages may say of a URL."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

from rewardkit.data.cache import DEFAULT_MAX_BYTES, cache_root
from rewardkit.errors import DataError

LONGEST_WAIT = 30.0
"""Seconds between two attempts at most, where the server does not ask for more."""

_jitter = random.Random()  # its own: it takes nothing from a run's seeds, and is not fixed by them


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """How remote files are read.

    Attributes:
        cache: The cache's folder, where blocks and indices are kept.
        max_bytes: Bound of the blocks in it, and of the indices.
        attempts: How often a read is tried before it fails.
        timeout: Seconds in which a server must answer, and in which a next byte must come.
        first_wait: Seconds before the second attempt, about; it doubles from attempt to attempt.
    """

    cache: Path = field(default_factory=cache_root)
    max_bytes: int = DEFAULT_MAX_BYTES
    attempts: int = 8
    timeout: float = 15.0
    first_wait: float = 0.5

    def pause(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt (from 0).

        They grow exponentially, and half of them is random, so that readers that failed together do not all come back
        together.
        """
        return min(LONGEST_WAIT, self.first_wait * 2**attempt) * _jitter.uniform(0.5, 1.0)


class NotThere(DataError):
    """The server knows no such file."""


class RangeIgnored(Exception):
    """A server answered a byte range with the whole file."""


class Refused(Exception):
    """An answer that will not change by asking again."""


class Failed(Exception):
    """An answer that may be another next time.

    Args:
        text: What is wrong with it.
        wait: Seconds that the server asks to wait.
    """

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


def redacted(text: str) -> str:
    """A text without the passwords and signed queries of the URLs in it."""
    text = re.sub(r"(\w://)[^/\s@]+@", r"\1…@", text)
    return re.sub(r"(\w://[^\s?'\"]*)\?[^\s'\"]*", r"\1?…", text)
