"""Sources: the data sets that a run reads, where they lie, and the one way their bytes are read."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rewardkit.errors import DataError, UserError

READ_ATTEMPTS = 3
"""How often a read is tried before a failing disk or mount ends the run."""


@dataclass(frozen=True, slots=True)
class Source:
    """One data set that a run reads.

    Attributes:
        path: The folder of its shards.
        weight: Its share in a mixture; None takes every group once per epoch, the only way there is so far.
        name: What tables and reports call it; by default its folder's name.
    """

    path: str
    weight: float | None = None
    name: str | None = None

    def folder(self) -> Path:
        """The local folder.

        Raises:
            UserError: The path is a URL, or the source has a weight.
        """
        if "://" in self.path:
            raise UserError(f"{self.path}: only local folders can be read; copy the shards to a disk first")
        if self.weight is not None:
            raise UserError(f"{self.path}: weight {self.weight} is given, but sources are not weighted; leave it out")
        return Path(self.path)


def as_sources(paths: Sequence[Source | str | os.PathLike[str]] | Source | str | os.PathLike[str]) -> list[Source]:
    """One source or a list of them, from paths or ready."""
    if isinstance(paths, Source | str | os.PathLike):
        paths = [paths]
    return [path if isinstance(path, Source) else Source(os.fspath(path)) for path in paths]


def read_range(path: str | os.PathLike[str], offset: int, length: int) -> bytes:
    """Reads bytes ``[offset, offset + length)`` of a file; fewer where the file ends.

    Raises:
        DataError: The file cannot be opened or read, after ``READ_ATTEMPTS`` attempts. This is a failure of transport,
            not a bad sample: the sample may be well.
    """
    failure: OSError | None = None
    for attempt in range(READ_ATTEMPTS):
        if attempt:
            time.sleep(0.1 * 4 ** (attempt - 1))
        try:
            return _read(path, offset, length)
        except OSError as error:
            failure = error
    assert failure is not None
    raise DataError(f"{path} cannot be read ({READ_ATTEMPTS} attempts): {failure.strerror or failure}")


def expect_range(path: str | os.PathLike[str], offset: int, length: int) -> None:
    """Says that bytes of a file will be read soon, so that a disk fetches them meanwhile; changes nothing else.

    What is wrong with the file shows when it is read.
    """
    if not hasattr(os, "posix_fadvise"):  # macOS and Windows have none
        return
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def _read(path: str | os.PathLike[str], offset: int, length: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(descriptor, length, offset)
        while len(data) < length and (more := os.pread(descriptor, length - len(data), offset + len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)
