"""The work folder of a conversion: what is planned, gathered and done; it outlives a kill at any moment."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rewardkit.data.reading.format import BadRow, ReadLog
from rewardkit.errors import UserError

PLAN_FILE = "plan.json"
GATHERED_FILE = "gathered.json"
LOCK_FILE = "lock"
FAILED_FILE = "failed"
"""Stands where an attempt ended since too much was bad: what it did is of use to the same conversion only."""


def work_folder(out: Path) -> Path:
    """Beside ``out``, so that the result can be renamed to it."""
    return out.with_name(f".{out.name}.converting")


def out_of(work: Path) -> Path:
    """The result's folder, by its work folder."""
    return work.with_name(work.name.removeprefix(".").removesuffix(".converting"))


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Makes the work folder and keeps other conversions out of it; a killed one's lock is gone with it.

    Raises:
        UserError: Another conversion is at work there, or the folder cannot be made.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        file = open(work / LOCK_FILE, "w")  # noqa: SIM115  (closed below, which ends the lock)
    except OSError as error:
        raise UserError(f"{work} cannot be written: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another conversion is writing {work}; wait for it, or give another out=") from None
        yield
    finally:
        file.close()


def take_up(work: Path, plan: Mapping[str, Any]) -> bool:
    """Whether an earlier attempt at the same conversion lies here; notes the plan where none does.

    Raises:
        UserError: Another conversion was interrupted here, with the differences. (One that failed makes room.)
    """
    file = work / PLAN_FILE
    now = json.loads(json.dumps(plan))
    if not file.exists():
        write_json(file, now)
        return False
    failed = (work / FAILED_FILE).exists()
    then = json.loads(file.read_text(encoding="utf-8"))
    changed = [
        f"{key} ({then.get(key)} then, {now.get(key)} now)" for key in {**then, **now} if then.get(key) != now.get(key)
    ]
    if changed and failed:
        for entry in work.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK_FILE:
                entry.unlink()
        write_json(file, now)
        return False
    if changed:
        raise UserError(
            f"an unfinished conversion lies in {work}, and differs in {', '.join(changed)}. Give the same options to "
            "go on with it, or remove that folder to start anew"
        )
    return True


def gathered(work: Path, source: Path) -> tuple[int, ReadLog] | None:
    """Number of groups and what was counted, where the source was read to its end and is still the same."""
    file = work / GATHERED_FILE
    if not file.exists():
        return None
    record = json.loads(file.read_text(encoding="utf-8"))
    log = ReadLog(rows=record["rows"], bad=[BadRow(**bad) for bad in record["bad"]], notes=Counter(record["notes"]))
    for name, (size, changed) in record["files"].items():
        path = source / name
        status = path.stat() if path.exists() else None
        if status is None or (status.st_size, status.st_mtime_ns) != (size, changed):
            return None
        log.files[name] = (size, changed)
    return record["groups"], log


def note_gathered(work: Path, groups: int, log: ReadLog) -> None:
    """Says that the source was read to its end."""
    record = {
        "groups": groups,
        "rows": log.rows,
        "bad": [asdict(bad) for bad in log.bad],
        "notes": dict(log.notes),
        "files": log.files,
    }
    write_json(work / GATHERED_FILE, record)


def clean(work: Path) -> None:
    """Removes what an attempt that was killed left half-written."""
    (work / FAILED_FILE).unlink(missing_ok=True)
    for half in (work / "units").glob(".*"):
        shutil.rmtree(half, ignore_errors=True)


def write_json(file: Path, record: Any) -> None:
    """Writes JSON; the file appears complete or not at all."""
    part = file.with_name(f".{file.name}.part-{os.getpid()}")
    part.write_text(
        json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", errors="backslashreplace"
    )
    os.replace(part, file)
