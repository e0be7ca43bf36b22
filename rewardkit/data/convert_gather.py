"""The first stage of a conversion: the source's rows, gathered by group in the work folder."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rewardkit.data.convert_early import EarlyUnits, remove_early
from rewardkit.data.convert_errors import with_listing
from rewardkit.data.convert_work import gathered, note_gathered, out_of
from rewardkit.data.formats import looks_like
from rewardkit.data.grouping import gather
from rewardkit.data.reading.fields import source_folder
from rewardkit.data.reading.format import Format, ReadLog, TooManyBadRows
from rewardkit.data.reading.statements import Said
from rewardkit.data.source_folder import refused_entries
from rewardkit.data.spool import Spool
from rewardkit.errors import DataError, RewardkitError, UserError

LOOK_EVERY = 1000
"""Statements between two looks at how far reading is."""

Progress = Callable[[str, int, int | None], None]
"""Called with the stage (``rows`` or ``groups``), how many are done, and how many there are where that is known."""


def gather_source(
    reader: Format,
    src: Path,
    options: Any,
    work: Path,
    part: tuple[int, int] | None,
    max_bad_fraction: float,
    early: EarlyUnits,
    progress: Progress,
) -> tuple[int, ReadLog]:
    """Reads a source into the spool of the work folder, where an earlier attempt has not done so.

    Returns:
        Number of groups in the spool, and what reading counted.

    Raises:
        UserError: The source is not what the format reads; says what it looks like.
        DataError: Too many rows are bad, or there is no group.
        RewardkitError: The disk is full.
    """
    known = gathered(work, source_folder(src))
    if known is not None:
        return known
    remove_early(work)
    shutil.rmtree(work / "units", ignore_errors=True)  # of a source that has changed since
    (work / "spool.sqlite").unlink(missing_ok=True)  # perhaps half-written
    log = ReadLog(max_bad_fraction)
    try:
        with Spool(work, part, said=early.said) as spool:

            def look(rows: int, total: int | None) -> None:
                progress("rows", rows, total)
                early.look(spool)

            groups = gather(_counting(reader.read(src, options, log), log, look), spool, log)
        for archive, entry, reason in refused_entries(source_folder(src)):
            log.notes[f"entry {entry!r} of {archive} is never read: {reason}"] += 1
        log.judge()
        if not groups:
            where = f"part {part[0] + 1} of {part[1]} of " if part else ""
            raise DataError(f"{where}the source {src} holds no groups")
        early.settle()
    except BaseException as error:
        early.abandon()
        shutil.rmtree(work, ignore_errors=True)
        if isinstance(error, UserError | DataError):
            raise _with_hint(error, reader, src, work) from None
        if isinstance(error, sqlite3.Error):
            raise RewardkitError(f"{work} cannot be written: {error}") from None
        raise
    note_gathered(work, groups, log)
    return groups, log


def _counting(said: Iterable[Said], log: ReadLog, look: Callable[[int, int | None], None]) -> Iterator[Said]:
    for number, statement in enumerate(said):
        if number % LOOK_EVERY == 0:
            look(log.rows, None)
        yield statement
    look(log.rows, log.rows)


def _with_hint(error: RewardkitError, reader: Format, src: Path, work: Path) -> RewardkitError:
    """The error, with what the source looks like where it is not what was said."""
    message = with_listing(error, out_of(work)) if isinstance(error, TooManyBadRows) else str(error)
    others = [] if reader.matches(src) else looks_like(src)
    if others:
        message += f"; {src} looks like format={' or format='.join(others)}, not like format={reader.name}"
    return UserError(message) if isinstance(error, UserError) else DataError(message)
