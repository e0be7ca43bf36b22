"""How much memory a format takes while it reads, for the tests that it does not grow with the file."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewardkit.data.reading.format import Format, ReadLog

Peak = Callable[..., tuple[int, float]]


@pytest.fixture
def peak_megabytes() -> Peak:
    """Statements that a source makes, and the most memory (megabytes) that Python holds meanwhile."""

    def measure(format: Format, src: Path, options: Any = None) -> tuple[int, float]:
        tracemalloc.start()
        try:
            said = format.read(src, format.options() if options is None else options, ReadLog())
            count = sum(1 for _ in said)
            return count, tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()

    return measure
