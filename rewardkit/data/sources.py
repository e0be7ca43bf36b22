"""Sources: the data sets that a run reads, where they lie, and the one way their bytes are read."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rewardkit.data.remote import RemoteFile, ShardPlace, is_url, remote_folder
from rewardkit.data.remote_blocks import block_reader
from rewardkit.errors import DataError, RewardkitError

READ_ATTEMPTS = 3
"""How often a read is tried before a failing disk or mount ends the run."""


@dataclass(frozen=True, slots=True)
class Source:
    """One data set that a run reads.

    Attributes:
        path: The folder of its shards, or the URL of one (``open_index``).
        weight: Its share of the training, in proportion to those of the others; None takes every group once per epoch.
        name: What tables and reports call it; by default its folder's name.
    """

    path: str
    weight: float | None = None
    name: str | None = None

    @property
    def label(self) -> str:
        """Its name, or that of its folder."""
        if self.name is not None:
            return self.name
        return remote_folder(self.path).name if is_url(self.path) else Path(self.path).resolve().name


def as_sources(paths: Sequence[Source | str | os.PathLike[str]] | Source | str | os.PathLike[str]) -> list[Source]:
    """One source or a list of them, from paths or ready."""
    if isinstance(paths, Source | str | os.PathLike):
        paths = [paths]
    return [path if isinstance(path, Source) else Source(os.fspath(path)) for path in paths]


def distinct_names(sources: Sequence[Source]) -> list[str]:
    """A name for each source that can stand in a file name, all different, and none of them ``train``."""
    names: list[str] = []
    for source in sources:
        stem = re.sub(r"[^A-Za-z0-9._]+", "_", source.label).strip("._") or "val"
        name, n = stem, 2
        while name in names or name == "train":
            name, n = f"{stem}_{n}", n + 1
        names.append(name)
    return names


def read_range(path: ShardPlace | str, offset: int, length: int) -> bytes:
    """Reads bytes ``[offset, offset + length)`` of a file; fewer where a file on a disk ends.

    Raises:
        DataError: The file cannot be opened or read, after ``READ_ATTEMPTS`` attempts. This is a failure of transport,
            not a bad sample: the sample may be well.
    """
    if isinstance(path, RemoteFile):
        return block_reader(path.parent.access).read(path, offset, length)
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


def expect_range(path: ShardPlace | str, offset: int, length: int) -> None:
    """Says that bytes of a file will be read soon, so that a disk or a network fetches them meanwhile.

    It changes nothing else; what is wrong with the file shows when it is read.
    """
    if isinstance(path, RemoteFile):
        with suppress(RewardkitError):
            block_reader(path.parent.access).expect(path, offset, length)
        return
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
