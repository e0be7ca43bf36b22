"""What a conversion left out: how much of it is too much, and the file that names each row and group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rewardkit.data.convert_unit import BadGroup
from rewardkit.data.reading.format import ALWAYS_TOLERATED, SHOWN, BadRow, TooManyBadRows
from rewardkit.errors import DataError

ERRORS_FILE = "convert_errors.jsonl"
"""Names each row and group that was left out, in the shard set's folder; beside it where the conversion failed."""

HOPELESS = 100
"""Reading stops after this many unreadable groups if they are most of those seen: the images lie elsewhere."""


def judge_groups(
    bad: Sequence[BadGroup], read: int, bad_rows: Sequence[BadRow], out: Path, max_bad_fraction: float
) -> None:
    """Whether few enough groups have unreadable images.

    Raises:
        DataError: More than ``max(10, max_bad_fraction × read)``, or more than half; all are listed beside ``out``.
    """
    if len(bad) > max(ALWAYS_TOLERATED, max_bad_fraction * read) or 2 * len(bad) > read:
        raise too_many_bad_groups(bad, read, bad_rows, out, stopped=False)


def too_many_bad_groups(
    bad: Sequence[BadGroup], read: int, bad_rows: Sequence[BadRow], out: Path, *, stopped: bool
) -> DataError:
    """The error for too many unreadable groups; all of them are listed in a file beside ``out``."""
    listing = write_errors(out.with_name(f"{out.name}.{ERRORS_FILE}"), bad_rows, bad)
    seen = f"{read} groups{' read so far' if stopped else ''}"
    shown = [f"  {group}" for group in bad[:SHOWN]]
    more = [f"  … and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    head = (
        f"{len(bad)} of {seen} have an image that cannot be read; nothing was written to {out}. All are listed in "
        f"{listing}. Mend them, or allow more with max_bad_fraction=; the same command goes on with what is done"
    )
    return DataError("\n".join([head, *shown, *more]))


def with_listing(error: TooManyBadRows, out: Path) -> str:
    """The message for too many bad rows, all of which are then listed in a file beside ``out``."""
    listing = write_errors(out.with_name(f"{out.name}.{ERRORS_FILE}"), error.bad, [])
    return str(error).replace("\n", f" (all are listed in {listing}):\n", 1)


def write_errors(file: Path, rows: Sequence[BadRow], groups: Sequence[BadGroup]) -> Path:
    """Writes what ``error_lines`` says; returns the file."""
    file.write_text(error_lines(rows, groups), encoding="utf-8", errors="backslashreplace")
    return file


def error_lines(rows: Sequence[BadRow], groups: Sequence[BadGroup]) -> str:
    """One JSON line for each row and group that was left out."""
    records = [*(asdict(row) for row in rows), *(asdict(group) for group in groups)]
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read_errors(file: Path) -> tuple[list[BadRow], list[BadGroup]]:
    """What ``write_errors`` wrote; nothing where there is no such file."""
    rows: list[BadRow] = []
    groups: list[BadGroup] = []
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if "image" in record:
                groups.append(BadGroup(**record))
            else:
                rows.append(BadRow(**record))
    return rows, groups
