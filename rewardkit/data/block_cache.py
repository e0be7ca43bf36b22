"""Blocks of remote files on the local disk: bounded, shared safely by processes, safe to delete at any moment.

A block is one file: its bytes, and their digest behind them. It appears under its name in one step, and nothing is
ever changed in place, so that a reader has a whole block or none. What is damaged or cut off counts as not there. When
the cache grows over its bound, the blocks unused for longest go, whoever wrote them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from rewardkit.errors import UserError

DIGEST_BYTES = 16

_SWEPT_TO = 0.9
"""A sweep leaves this share of the bound."""

_SWEEP_EVERY = 0.01
"""A process sweeps each time that it has written this share of the bound; it counts what others wrote only then."""

_TOUCHED_SECONDS = 60.0
"""A block in use says so at most this often."""

_LEFT_BEHIND_SECONDS = 3600.0
"""A part of a block that is older was left by a process that was killed."""


class BlockCache:
    """The blocks of one folder.

    Args:
        folder: Made where it is not there.
        max_bytes: Bound of all blocks together; it may be passed by what processes write between two sweeps, a
            hundredth of it each.

    Raises:
        UserError: The folder cannot be written.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._written = max_bytes  # so that the first block that is written looks at what is there
        self._checked: dict[Path, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"the cache {folder} cannot be written ({error.strerror or error}); name another folder with "
                "cache.dir=…"
            ) from error

    def get(self, key: str, number: int, size: int, start: int = 0, stop: int | None = None) -> bytes | None:
        """Bytes ``[start, stop)`` of a block; None where it is not there, damaged or of another size.

        A block's digest is compared when this process reads it for the first time.

        Args:
            key: Of the file, as a name.
            number: Of the block in the file.
            size: Of the whole block.
            start: First byte wanted.
            stop: First byte not wanted; by default to its end.
        """
        path = self._path(key, number)
        stop = size if stop is None else stop
        try:
            with open(path, "rb", buffering=0) as file:
                about = os.fstat(file.fileno())
                if about.st_size != size + DIGEST_BYTES:
                    self.drop(key, number)
                    return None
                if time.time() - about.st_mtime > _TOUCHED_SECONDS:
                    os.utime(file.fileno())
                if self._checked.get(path) == about.st_ino:
                    return _read(file.fileno(), start, stop)
                whole = _read(file.fileno(), 0, size + DIGEST_BYTES)
        except OSError:  # never there, swept meanwhile, or a disk that fails: it is read from its source
            return None
        data = whole[:size]
        if _digest(data) != whole[size:]:
            self.drop(key, number)
            return None
        self._checked[path] = about.st_ino
        return data[start:stop]

    def put(self, key: str, number: int, data: bytes) -> bool:
        """Keeps a block; False where the disk does not take it, which costs reading it from its source again."""
        path = self._path(key, number)
        part = None
        try:
            path.parent.mkdir(exist_ok=True)
            descriptor, part = tempfile.mkstemp(prefix=".part-", dir=path.parent)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.write(_digest(data))
            os.replace(part, path)
        except OSError:
            if part is not None:
                with suppress(OSError):
                    os.unlink(part)
            self.sweep()
            return False
        self._written += len(data)
        if self._written > self._max_bytes * _SWEEP_EVERY:
            self.sweep()
        return True

    def drop(self, key: str, number: int) -> None:
        """Forgets a block."""
        path = self._path(key, number)
        self._checked.pop(path, None)
        with suppress(OSError):
            path.unlink()

    def sweep(self) -> None:
        """Removes the blocks unused for longest where all together are above the bound."""
        self._written = 0
        self._checked = {path: inode for path, inode in self._checked.items() if path.exists()}
        blocks, now = [], time.time()
        for path in self.folder.glob("*/*"):
            with suppress(OSError):  # another process has removed it
                about = path.stat()
                if not path.name.startswith("."):
                    blocks.append((about.st_mtime, about.st_size, path))
                elif now - about.st_mtime > _LEFT_BEHIND_SECONDS:
                    path.unlink()
        total = sum(size for _, size, _ in blocks)
        if total <= self._max_bytes:
            return
        for _, size, path in sorted(blocks):
            if total <= self._max_bytes * _SWEPT_TO:
                return
            with suppress(OSError):
                path.unlink()
            total -= size

    def _path(self, key: str, number: int) -> Path:
        return self.folder / key[:2] / f"{key}-{number}"


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def _read(descriptor: int, start: int, stop: int) -> bytes:
    """Bytes ``[start, stop)`` of an open file.

    Raises:
        OSError: It cannot be read, or ends before.
    """
    parts = []
    while start < stop:
        part = os.pread(descriptor, stop - start, start)
        if not part:
            raise OSError("the file ends too early")
        parts.append(part)
        start += len(part)
    return b"".join(parts)
