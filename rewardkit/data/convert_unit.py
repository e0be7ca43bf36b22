"""One unit of a conversion: some groups of the spool, written as shards with their index rows, in a folder of its own.

Units depend on nothing but the spool and the settings, so any process may do any of them, in any order, again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rewardkit.data.gathered import Gathered, Stored, gathered
from rewardkit.data.group import Candidate, Group
from rewardkit.data.grouping import Grouped, build_group
from rewardkit.data.index_rows import ShardRows
from rewardkit.data.large_groups import split_large
from rewardkit.data.reading.format import BadRow
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.data.source_folder import SourceFolder
from rewardkit.data.source_images import JPEG_QUALITY, ShardImage, prepare_image
from rewardkit.data.spool import Spool
from rewardkit.errors import BadSample, RewardkitError

REPORT_FILE = "report.json"
IMAGES_AT_ONCE = 64
"""Images in memory at a time in one unit, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSettings:
    """What every unit of a conversion is told.

    Attributes:
        work: The conversion's work folder, with the spool.
        root: The source's folder.
        format: Name of the format, for the records' provenance.
        source: Name of the data set, likewise.
        name: Start of the shards' file names.
        groups: Groups of the spool in a unit.
        shard_bytes: Size at which a shard is closed.
        max_candidates: Larger groups are split.
        max_side: Longer side of images that are made smaller; None keeps all as they came.
        quality: Of JPEGs that are made smaller.
        decode: Decode every image.
        outside: Permit images outside the source's folder.
        units: Folder in the work folder for finished units.
    """

    work: Path
    root: Path
    format: str
    source: str
    name: str
    groups: int = 500
    shard_bytes: int = 2**28
    max_candidates: int = 16
    max_side: int | None = None
    quality: int = JPEG_QUALITY
    decode: bool = False
    outside: bool = False
    units: str = "units"

    def folder(self, unit: int) -> Path:
        """Where a finished unit lies."""
        return self.work / self.units / f"{unit:06d}"


@dataclass(frozen=True, slots=True)
class BadGroup:
    """A group that was left out because an image of it cannot be read."""

    id: str
    image: str
    reason: str
    provenance: dict[str, Any]

    def __str__(self) -> str:
        place = f"{self.provenance.get('file', '')}:{self.provenance.get('line', '')}".strip(":")
        return f"{place or self.id}: {self.image}: {self.reason}"


@dataclass(slots=True)
class UnitReport:
    """What a unit did.

    Attributes:
        read: Groups taken from the spool.
        written: Groups in the shards; more than were read where large groups were split.
        images: Images in the shards.
        bytes: Of these images.
        bad_groups: Groups left out.
        bad_rows: Statements left out because they contradict earlier ones.
        notes: Reason -> how often something else was left out or changed.
    """

    read: int = 0
    written: int = 0
    images: int = 0
    bytes: int = 0
    bad_groups: list[BadGroup] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def save(self, file: Path) -> None:
        """Writes it as JSON."""
        record = asdict(self) | {"notes": dict(self.notes)}
        text = json.dumps(record, ensure_ascii=False, sort_keys=True)
        file.write_text(text, encoding="utf-8", errors="surrogateescape")

    @classmethod
    def load(cls, file: Path) -> UnitReport:
        """Reads what ``save`` wrote."""
        record = json.loads(file.read_text(encoding="utf-8", errors="surrogateescape"))
        record["bad_groups"] = [BadGroup(**bad) for bad in record["bad_groups"]]
        record["bad_rows"] = [BadRow(**bad) for bad in record["bad_rows"]]
        record["notes"] = Counter(record["notes"])
        return cls(**record)


def do_unit(
    settings: UnitSettings,
    unit: int,
    threads: int = 1,
    tick: Callable[[], None] = lambda: None,
    groups: Sequence[Stored] | None = None,
) -> UnitReport:
    """Writes one unit; where it is there already, only its report is read.

    The folder appears under its name when all of it is written, so that a kill at any moment loses the unit as a
    whole or not at all.

    Args:
        settings: Of the conversion.
        unit: Number of the unit, from 0.
        threads: Threads that read, check and resize images.
        tick: Called after each group.
        groups: The unit's groups, none of which has images that came as bytes; None takes them from the spool.

    Raises:
        RewardkitError: The disk is full, the spool is damaged, or reading fails for another reason than a bad image.
    """
    done = settings.folder(unit)
    if done.is_dir():
        return UnitReport.load(done / REPORT_FILE)
    part = done.with_name(f".{done.name}.part-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        if groups is not None:
            report = _write_unit(settings, part, gathered(groups), None, threads, tick)
        else:
            with Spool(settings.work) as spool:
                said = spool.groups(unit * settings.groups, (unit + 1) * settings.groups)
                report = _write_unit(settings, part, said, spool, threads, tick)
        report.save(part / REPORT_FILE)
        part.rename(done)
    except OSError as error:
        if done.is_dir():  # a worker that outlived a killed run has finished it; all write the same
            return UnitReport.load(done / REPORT_FILE)
        raise RewardkitError(f"{error.filename or part}: {error.strerror or error}; the conversion can go on") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return report


def _write_unit(
    settings: UnitSettings,
    folder: Path,
    groups: Iterable[Gathered],
    spool: Spool | None,
    threads: int,
    tick: Callable[[], None],
) -> UnitReport:
    report = UnitReport()
    rows: dict[int, ShardRows] = {}
    with ShardWriter(folder, settings.name, max_groups=2**31, max_bytes=settings.shard_bytes) as writer:
        for group, images in _with_images(settings, groups, spool, report, threads):
            tick()
            if isinstance(images, BadGroup):
                report.bad_groups.append(images)
                continue
            for part, ready in _parts(settings, group, images, report):
                written = writer.write(part, [image.data for image in ready])
                rows.setdefault(written.shard, ShardRows()).add(written)
                report.written += 1
                report.images += len(ready)
                report.bytes += sum(len(image.data) for image in ready)
    for shard, made in rows.items():
        path = writer.path(shard)
        made.rows(path.name, path.stat().st_size).save(path.with_suffix(".npz"))
    return report


def _with_images(
    settings: UnitSettings, groups: Iterable[Gathered], spool: Spool | None, report: UnitReport, threads: int
) -> Iterator[tuple[Group, list[ShardImage] | BadGroup]]:
    """The unit's groups in their order, their images read and checked by threads a little ahead of the writer."""
    source = SourceFolder(settings.root, outside=settings.outside)

    def built() -> Iterator[Grouped]:
        for said in groups:
            grouped = build_group(said, settings.format)
            report.read += 1
            report.bad_rows += grouped.bad
            report.notes.update(grouped.notes)
            yield grouped

    def prepare(grouped: Grouped, datas: list[bytes | None]) -> list[ShardImage] | BadGroup:
        return _prepare(settings, source, grouped, datas)

    def stored(grouped: Grouped) -> list[bytes | None]:
        if spool is None:
            return [None] * len(grouped.images)
        return [None if place.offset is None else spool.read(place) for place in grouped.images]

    if threads == 1:
        for grouped in built():
            yield grouped.group, prepare(grouped, stored(grouped))
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            waiting: list[Grouped] = []
            count = 0
            for grouped in built():
                waiting.append(grouped)
                count += len(grouped.images)
                if count >= IMAGES_AT_ONCE:
                    yield from _together(waiting, pool.map(prepare, waiting, map(stored, waiting)))
                    waiting, count = [], 0
            yield from _together(waiting, pool.map(prepare, waiting, map(stored, waiting)))
        finally:
            pool.shutdown(cancel_futures=True)


def _together(
    waiting: list[Grouped], images: Iterable[list[ShardImage] | BadGroup]
) -> Iterator[tuple[Group, list[ShardImage] | BadGroup]]:
    return zip((grouped.group for grouped in waiting), images, strict=True)


def _prepare(
    settings: UnitSettings, source: SourceFolder, grouped: Grouped, datas: Sequence[bytes | None]
) -> list[ShardImage] | BadGroup:
    """A group's images for the shard, or why they cannot be."""
    made = []
    for place, data in zip(grouped.images, datas, strict=True):
        try:
            found = source.read(place.name, place.folder) if data is None else data
            made.append(
                prepare_image(found, decode=settings.decode, max_side=settings.max_side, quality=settings.quality)
            )
        except BadSample as error:
            return BadGroup(grouped.group.id, place.name, error.reason, dict(grouped.group.provenance))
    return made


def _parts(
    settings: UnitSettings, group: Group, images: list[ShardImage], report: UnitReport
) -> Iterator[tuple[Group, list[ShardImage]]]:
    """A group as it goes into the shards, in parts where it is too large."""
    group = replace(
        group,
        candidates=tuple(
            Candidate(candidate.file, candidate.generator, image.width, image.height, image.sha256)
            for candidate, image in zip(group.candidates, images, strict=True)
        ),
        # The writer gives files their names in the shard; where they came from stays on record.
        provenance={
            **group.provenance,
            "source": settings.source,
            "files": [candidate.file for candidate in group.candidates],
        },
    )
    parts = split_large(group, settings.max_candidates)
    if len(parts) > 1:
        report.notes[
            f"groups of more than {settings.max_candidates} candidates, split so that each comparison is kept once"
        ] += 1
    for image in images:
        if image.rewritten:
            report.notes[image.rewritten] += 1
    for part, members in parts:
        yield part, [images[member] for member in members]
