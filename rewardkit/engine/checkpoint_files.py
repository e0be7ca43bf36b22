"""Checkpoint files: written durably, at once or in the background, and checked before they are trusted.

A file counts as written when its bytes are on the disk (``fsync``). What went wrong while writing is an ``OSError``
with the path, whatever torch makes of it.
"""

from __future__ import annotations

import copy
import os
import time
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from rewardkit.errors import CheckpointError

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """What is known of a file that was written.

    Attributes:
        bytes: Its length.
        crc32: Check sum of its content.
    """

    bytes: int
    crc32: int


class FileWriter:
    """Writes the files that this process adds to a checkpoint, one after the other.

    An error is kept for ``finish``, so that a rank with a full disk still takes part in what all ranks do together.

    Args:
        background: Copy what is to be written and return; a thread writes it. The files have the same content.

    Attributes:
        seconds: Time spent on writing since the last ``finish``, in this thread or in the other.
    """

    def __init__(self, *, background: bool = False) -> None:
        self.background = background
        self.seconds = 0.0
        self._written: dict[Path, Written] = {}
        self._error: OSError | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint") if background else None
        self._pending: list[Future[None]] = []

    def save(self, content: Any, path: Path) -> None:
        """Writes ``content`` (tensors and plain values) with ``torch.save``."""
        if self._thread is None:
            self._do(lambda: save_durably(content, path), path)
        else:
            copied = snapshot(content)
            self._pending.append(self._thread.submit(self._do, lambda: save_durably(copied, path), path))

    def save_text(self, text: str, path: Path) -> None:
        """Writes a small file at once."""

        def write() -> Written:
            path.write_text(text, encoding="utf-8")
            return make_durable(path)

        self._do(write, path)

    def note(self, path: Path) -> None:
        """Makes a file durable that something else has written, and counts it among those of the checkpoint."""
        self._do(lambda: make_durable(path), path)

    def make_folder(self, path: Path) -> None:
        """Makes a folder."""
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._error = self._error or error

    @property
    def is_done(self) -> bool:
        """Whether nothing is being written."""
        return all(future.done() for future in self._pending)

    def finish(self) -> tuple[dict[Path, Written], OSError | None]:
        """Waits until all is written.

        Returns:
            Path to what is known of it, of all files since the last call, and the first error.
        """
        for future in self._pending:
            future.result()
        written, error = self._written, self._error
        self._pending, self._written, self._error = [], {}, None
        return written, error

    def _do(self, write: Callable[[], Written], path: Path) -> None:
        started = time.monotonic()
        try:
            self._written[path] = write()
        except OSError as error:
            self._error = self._error or OSError(error.errno, error.strerror, str(path))
        self.seconds += time.monotonic() - started


class _Counted:
    """A file as ``torch.save`` sees it: counts, sums up, and keeps the first error instead of raising it.

    An exception inside torch's archive writer ends the process, since its destructor raises a second one.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.bytes = 0
        self.crc32 = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                self.file.write(view)
            except OSError as error:
                self.error = error
        self.bytes += len(view)
        self.crc32 = zlib.crc32(view, self.crc32)
        return len(view)

    def flush(self) -> None:
        try:
            self.file.flush()
        except OSError as error:
            self.error = self.error or error


def save_durably(content: Any, path: Path) -> Written:
    """``torch.save`` to a new file, and on to the disk.

    Raises:
        OSError: The disk is full or will not take it; the file may be there in part.
    """
    with path.open("wb", buffering=0) as file:
        counted = _Counted(file)
        torch.save(content, counted)  # type: ignore[arg-type]
        if counted.error is not None:
            raise counted.error
        os.fsync(file.fileno())
    return Written(counted.bytes, counted.crc32)


def make_durable(path: Path) -> Written:
    """Brings a file that something else has written on to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _look_at(path)


def snapshot(content: Any) -> Any:
    """A copy on the CPU that later training does not change; tensors that share memory still do."""
    storages: dict[int, torch.UntypedStorage] = {}

    def of_tensor(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in storages:
            storages[storage.data_ptr()] = storage.clone() if storage.device.type == "cpu" else storage.cpu()
        new = torch.empty(0, dtype=tensor.dtype)
        new.set_(storages[storage.data_ptr()], tensor.storage_offset(), tensor.size(), tensor.stride())  # type: ignore[call-overload]
        return new.requires_grad_(tensor.requires_grad)

    done: dict[int, Any] = {}  # what is one object in several places stays one, and is written once

    def walk(value: Any) -> Any:
        if id(value) not in done:
            done[id(value)] = of_value(value)
        return done[id(value)]

    def of_value(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return of_tensor(value)
        if isinstance(value, dict):
            new = copy.copy(value)  # a state_dict carries an attribute beside its items
            for key, item in value.items():
                new[key] = walk(item)
            return new
        if type(value) in (list, tuple):
            return type(value)(walk(item) for item in value)
        return copy.deepcopy(value)

    return walk(content)


def check_archive(path: Path) -> None:
    """Reads a file of ``torch.save`` through and compares the check sums inside it.

    Raises:
        CheckpointError: It is cut off or damaged, or no such file at all.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint at {path}") from None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from None
    if damaged is not None:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {damaged} in it is damaged")


def check_written(path: Path, expected: Written) -> None:
    """Reads a file through and compares it with what was written.

    Raises:
        CheckpointError: It is missing, cut off or damaged.
    """
    try:
        found = path.stat().st_size
        if found != expected.bytes:
            raise CheckpointError(f"{path} has {found} bytes instead of {expected.bytes}")
        if _look_at(path) != expected:
            raise CheckpointError(f"{path} is damaged (its check sum is another)")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None


def _look_at(path: Path) -> Written:
    total = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total += len(chunk)
            crc = zlib.crc32(chunk, crc)
    return Written(total, crc)
