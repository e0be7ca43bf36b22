"""Reads the files that W&B writes beside a run (``run-ID.wandb``), and mends one that a kill left unfinished.

The frames are those of LevelDB's log format: after a header of 7 bytes blocks of 32 KiB, each with chunks of checksum
(CRC-32 of kind and data), length and kind (whole record, first, middle or last part of one). A record is a protobuf
message of W&B's own. A run that was continued has one file for each attempt.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER_BYTES = 7
BLOCK_BYTES = 32 * 1024
_CHUNK = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read_records(path: Path, *, start: int = HEADER_BYTES) -> Iterator[tuple[Any, int]]:
    """Every whole record (``wandb_internal_pb2.Record``) and the place behind it; ends where the file is torn.

    Args:
        path: The file.
        start: Place of the first record to read: one that was given before.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    for data, end in _frames(path, start):
        try:
            record = wandb_internal_pb2.Record.FromString(data)  # type: ignore[attr-defined]
        except DecodeError:
            return
        yield record, end


def _frames(path: Path, start: int) -> Iterator[tuple[bytes, int]]:
    with path.open("rb") as file:
        file.seek(start)
        parts = b""
        while True:
            left = BLOCK_BYTES - file.tell() % BLOCK_BYTES
            if left < _CHUNK.size:
                file.seek(left, os.SEEK_CUR)  # too short for a chunk: filled up with zeros
                continue
            head = file.read(_CHUNK.size)
            if len(head) < _CHUNK.size:
                return
            checksum, length, kind = _CHUNK.unpack(head)
            data = file.read(length)
            if len(data) < length or zlib.crc32(bytes([kind]) + data) != checksum:
                return
            parts = data if kind in (_WHOLE, _FIRST) else parts + data
            if kind in (_WHOLE, _LAST):
                yield parts, file.tell()


def step_of(record: Any) -> int | None:
    """The step of a row of the history; None of other records."""
    if record.WhichOneof("record_type") != "history":
        return None
    for item in record.history.item:
        if item.key == "_step" or list(item.nested_key) == ["_step"]:
            return int(float(item.value_json))
    return int(record.history.step.num)


def files_of(folder: Path, run_id: str) -> list[Path]:
    """The files of a run, one for each attempt, oldest first."""
    return sorted(folder.glob(f"*run-*/run-{run_id}.wandb"), key=lambda path: path.parent.name.partition("run-")[2])


def mend(path: Path) -> int:
    """Cuts off what a kill left unfinished, since ``wandb sync`` stops there; removes a file that names no run.

    Returns:
        The last step that the file holds; 0 where there is none.
    """
    end, last, names_run = HEADER_BYTES, 0, False
    for record, behind in read_records(path):
        end = behind
        last = max(last, step_of(record) or 0)
        names_run = names_run or record.WhichOneof("record_type") == "run"
    if not names_run:
        path.unlink()
    elif path.stat().st_size > end:
        os.truncate(path, end)
    return last
