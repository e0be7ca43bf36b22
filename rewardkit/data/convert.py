"""Converts a source of any format into a shard set: labels kept as people gave them, images checked and measured.

Two stages. The source's rows are gathered by group in a spool on disk; then units of groups are written as shards by
any number of processes. Everything unfinished lies in a work folder beside the result, so that a conversion that was
killed goes on where it stopped and gives the same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rewardkit.data.convert_early import EarlyUnits
from rewardkit.data.convert_engines import Workers
from rewardkit.data.convert_errors import (
    ERRORS_FILE,
    HOPELESS,
    error_lines,
    judge_groups,
    read_errors,
    too_many_bad_groups,
    with_listing,
)
from rewardkit.data.convert_gather import Progress, gather_source
from rewardkit.data.convert_result import put_together, shards_of
from rewardkit.data.convert_unit import REPORT_FILE, BadGroup, UnitReport, UnitSettings
from rewardkit.data.convert_work import FAILED_FILE, clean, locked, take_up, work_folder
from rewardkit.data.formats import find_format
from rewardkit.data.index import ShardIndex
from rewardkit.data.reading.fields import source_folder
from rewardkit.data.reading.format import BadRow, ReadLog, TooManyBadRows
from rewardkit.data.source_images import JPEG_QUALITY
from rewardkit.errors import DataError, RewardkitError, UserError

__all__ = ["ERRORS_FILE", "Converted", "Progress", "convert"]

COUNTS = ("rows", "read", "written", "candidates", "bytes", "shards")


@dataclass(slots=True)
class Converted:
    """What a conversion did.

    Attributes:
        rows: Rows that were read.
        read: Groups that they make.
        written: Groups in the shards; more than were read where large groups were split.
        candidates: Images in the shards.
        bytes: Of the images.
        shards: Their number.
        bad_rows: Rows left out.
        bad: Groups left out, since an image of them cannot be read.
        notes: Reason -> how often something else was left out or changed.
        taken_up: Units that an earlier attempt had done.
    """

    rows: int = 0
    read: int = 0
    written: int = 0
    candidates: int = 0
    bytes: int = 0
    shards: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    bad: list[BadGroup] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    taken_up: int = 0

    def summary(self) -> dict[str, Any]:
        """The counts, as the index keeps them."""
        counts = {name: getattr(self, name) for name in COUNTS}
        return {**counts, "bad_rows": len(self.bad_rows), "bad_groups": len(self.bad), "notes": dict(self.notes)}


def convert(
    format: str,
    src: Path,
    out: Path,
    *,
    options: Any = None,
    name: str | None = None,
    source: str | None = None,
    shard_groups: int = 500,
    shard_bytes: int = 2**28,
    max_candidates: int = 16,
    max_side: int | None = None,
    quality: int = JPEG_QUALITY,
    decode: bool = False,
    outside: bool = False,
    max_bad_fraction: float = 0.01,
    part: tuple[int, int] | None = None,
    workers: int = 2,
    engine: str = "processes",
    progress: Progress = lambda stage, done, total: None,
) -> Converted:
    """Reads a source and writes it as shards with their index; goes on where an earlier attempt stopped.

    A row that cannot be used, and a group with an image that cannot be read, is left out whole and named in
    ``convert_errors.jsonl``. The same source and options give the same bytes, with any workers and engine.

    Args:
        format: Name of a format (``rewardkit.data.formats.FORMATS``).
        src: What the format reads.
        out: Folder to make; appears only when all is written.
        options: An instance of the format's options; None takes its defaults.
        name: Start of the shards' file names; where None, the folder's name made fit for a file name.
        source: Name under which evaluations list the data; where None, ``name`` or else the folder's name.
        shard_groups: Most groups of the source in a shard.
        shard_bytes: Size at which a shard is closed.
        max_candidates: Larger groups are split (``split_large``).
        max_side: Images with a longer side than this, pixels, are made smaller; None keeps their bytes.
        quality: Of JPEGs that are made smaller, 1 to 100.
        decode: Decode every image now, rather than look at its header and its end.
        outside: Permit images outside the source's folder.
        max_bad_fraction: Share of the rows, and of the groups, that may be left out.
        part: ``(k, n)``: only the k-th of n parts of the groups, from 0; ``merge_shards`` joins the parts.
        workers: Processes that read, check and write; threads, where there is one shard only.
        engine: ``processes``, or ``ray`` for a Ray cluster.
        progress: See ``Progress``.

    Raises:
        UserError: The format is unknown, the source is not what it says, ``out`` exists, or an unfinished conversion
            of another kind lies beside it.
        DataError: More rows or groups than ``max(10, max_bad_fraction × all)``, or more than half, cannot be used.
        RewardkitError: A worker was killed, or the disk is full; the same call goes on.
    """
    reader = find_format(format, src)
    asked = options if options is not None else reader.options()
    folder_name = out.resolve().name
    settings = UnitSettings(
        work=work_folder(out),
        root=source_folder(src),
        format=reader.name,
        source=source or name or folder_name,
        name=name or re.sub(r"[^A-Za-z0-9_-]+", "-", folder_name).strip("-")[:64] or "data",
        groups=shard_groups,
        shard_bytes=shard_bytes,
        max_candidates=max_candidates,
        max_side=max_side,
        quality=quality,
        decode=decode,
        outside=outside,
    )
    if not src.exists():
        raise UserError(f"src={src} does not exist")
    plan = {"format": format, "src": str(src.resolve()), "options": asdict(asked), "part": part}
    plan |= {
        key: str(value) for key, value in asdict(settings).items() if key not in ("work", "root", "format", "units")
    }
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        return _finished(out, settings.work, plan, source_folder(src))
    with locked(settings.work), Workers(workers, engine) as hands:
        take_up(settings.work, plan)
        clean(settings.work)
        early = EarlyUnits(settings, hands)
        groups, log = gather_source(reader, src, asked, settings.work, part, max_bad_fraction, early, progress)
        done = Converted(rows=log.rows, bad_rows=list(log.bad), notes=Counter(log.notes))
        reports = _do_all(settings, groups, done, out, hands, progress)
        _add_up(done, reports)
        _judge(done, settings, reports, out, max_bad_fraction)
        made = {"action": "convert", "format": format, "src": str(src), "options": asdict(asked), "max_side": max_side}
        files = {file: size for file, (size, _) in sorted(log.files.items())}
        made |= {"quality": quality if max_side else None, "part": part and f"{part[0] + 1}/{part[1]}", "files": files}
        made["plan"] = _digest(plan)
        shards = shards_of(settings, len(reports))
        done.shards = len(shards)
        errors = error_lines(done.bad_rows, done.bad)
        put_together(settings, shards, out, errors, {**made, "summary": done.summary()})
        ShardIndex.open(out)
    return done


def _finished(out: Path, work: Path, plan: dict[str, Any], source: Path) -> Converted:
    """What this very conversion did, where it is done already, perhaps by a process that was killed at its end.

    Raises:
        UserError: ``out`` is something else.
    """
    made: Mapping[str, Any] = {}
    with suppress(RewardkitError):
        made = ShardIndex.open(out).made
    files = made.get("files", {})
    same = all((source / name).is_file() and (source / name).stat().st_size == size for name, size in files.items())
    if made.get("plan") != _digest(plan) or not same:
        raise UserError(f"out={out} exists already; choose another folder, or remove it first")
    with locked(work):
        counts = {name: made["summary"][name] for name in COUNTS}
        rows, groups = read_errors(out / ERRORS_FILE)
        notes = Counter(made["summary"]["notes"])
        done = Converted(**counts, bad_rows=rows, bad=groups, notes=notes, taken_up=counts["shards"])
        shutil.rmtree(work, ignore_errors=True)
    return done


def _digest(plan: dict[str, Any]) -> str:
    """What names a conversion: another source, format or option gives another one."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


def _do_all(
    settings: UnitSettings, groups: int, done: Converted, out: Path, hands: Workers, progress: Progress
) -> list[UnitReport]:
    """Does all units that are not done yet; the reports of all, in order."""
    count = -(-groups // settings.groups)
    todo = [unit for unit in range(count) if not settings.folder(unit).is_dir()]
    done.taken_up = count - len(todo)
    before = groups - sum(min(settings.groups, groups - unit * settings.groups) for unit in todo)
    progress("groups", before, groups)
    read, bad = 0, list[BadGroup]()
    for report in hands.do(settings, todo, lambda number: progress("groups", min(before + number, groups), groups)):
        read += report.read
        bad += report.bad_groups
        if len(bad) >= HOPELESS and 2 * len(bad) > read:
            _forget_bad(settings, range(count))
            raise too_many_bad_groups(bad, read, done.bad_rows, out, stopped=True)
    return [UnitReport.load(settings.folder(unit) / REPORT_FILE) for unit in range(count)]


def _add_up(done: Converted, reports: list[UnitReport]) -> None:
    for report in reports:
        done.read += report.read
        done.written += report.written
        done.candidates += report.images
        done.bytes += report.bytes
        done.bad += report.bad_groups
        done.bad_rows += report.bad_rows
        done.notes.update(report.notes)


def _judge(
    done: Converted, settings: UnitSettings, reports: list[UnitReport], out: Path, max_bad_fraction: float
) -> None:
    """Whether few enough rows and groups were left out; units with bad groups are done again next time."""
    try:
        ReadLog(max_bad_fraction, rows=done.rows, bad=done.bad_rows).judge()
        judge_groups(done.bad, done.read, done.bad_rows, out, max_bad_fraction)
    except DataError as error:
        _forget_bad(settings, range(len(reports)))
        raise (DataError(with_listing(error, out)) if isinstance(error, TooManyBadRows) else error) from None


def _forget_bad(settings: UnitSettings, units: range) -> None:
    """Removes finished units with bad groups: their images may have been mended by the next attempt."""
    (settings.work / FAILED_FILE).touch()
    for unit in units:
        folder = settings.folder(unit)
        if folder.is_dir() and UnitReport.load(folder / REPORT_FILE).bad_groups:
            shutil.rmtree(folder)
