"""Converts a source of any format into a shard set: images checked and measured, labels kept as people gave them."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rewardkit.data.formats import find_format
from rewardkit.data.formats.format import GroupWithImages, Image
from rewardkit.data.group import Group
from rewardkit.data.index_build import build_index
from rewardkit.data.large_groups import split_large
from rewardkit.data.new_folder import new_folder
from rewardkit.data.shards import ShardWriter
from rewardkit.data.source_images import ShardImage, prepare_image, read_source
from rewardkit.errors import BadSample, DataError

ERRORS_FILE = "convert_errors.jsonl"
"""Names each group that was left out, in the shard set's folder."""

TOLERATED = 10
"""Groups with unreadable images that are left out whatever their share, as in training (``data/bad_samples.py``)."""

HOPELESS = 100
"""Reading stops after this many unreadable groups if they are most of those seen: the images lie elsewhere."""

SHOWN = 10
"""Unreadable groups that an error message lists."""


@dataclass(frozen=True, slots=True)
class BadGroup:
    """A group that was left out because an image of it cannot be read."""

    id: str
    image: str
    reason: str
    provenance: dict[str, Any]

    def __str__(self) -> str:
        place = " ".join(f"{name} {value}" for name, value in self.provenance.items() if name != "format")
        return f"{self.image}: {self.reason} ({place or self.id})"


@dataclass(slots=True)
class Converted:
    """What a conversion did.

    Attributes:
        read: Groups that the source holds.
        written: Groups in the shards; more than were read where large groups were split.
        candidates: Images in the shards.
        bad: Groups left out.
        notes: Reason -> how often something else was left out or changed.
    """

    read: int = 0
    written: int = 0
    candidates: int = 0
    bad: list[BadGroup] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def convert(
    format: str,
    src: Path,
    out: Path,
    *,
    options: Any = None,
    name: str | None = None,
    source: str | None = None,
    shard_groups: int = 1000,
    shard_bytes: int = 2**28,
    max_candidates: int = 16,
    max_side: int | None = None,
    decode: bool = True,
    max_bad_fraction: float = 0.01,
    workers: int = 2,
    progress: Callable[[int], None] = lambda groups: None,
) -> Converted:
    """Reads a source and writes it as shards with their index.

    A group with an image that cannot be read is left out whole and named in ``convert_errors.jsonl``.

    Args:
        format: Name of a format (``rewardkit.data.formats.FORMATS``).
        src: What the format reads.
        out: Folder to make; appears only when all is written.
        options: An instance of the format's options; None takes its defaults.
        name: Start of the shards' file names; where None, the folder's name made fit for a file name.
        source: Name under which evaluations list the data; where None, ``name`` or else the folder's name.
        shard_groups: Most groups in a shard.
        shard_bytes: Size at which a shard is closed.
        max_candidates: Larger groups are split (``split_large``).
        max_side: Images with a longer side than this, pixels, are made smaller; None keeps their bytes.
        decode: Decode every image now, rather than only its header.
        max_bad_fraction: Share of the groups that may have unreadable images.
        workers: Threads that read and check images.
        progress: Called with the number of groups done, after each.

    Raises:
        UserError: The format is unknown, the source is not what it says, or ``out`` exists.
        DataError: Two groups have one id, or more groups than ``max(10, max_bad_fraction × groups)``, or more than
            half of them, have unreadable images.
    """
    reader = find_format(format, src)
    done = Converted()
    asked = options if options is not None else reader.options()
    groups = reader.read(src, asked, done.notes)
    folder_name = out.resolve().name
    source = source or name or folder_name
    name = name or re.sub(r"[^A-Za-z0-9_-]+", "-", folder_name).strip("-")[:64] or "data"
    with new_folder(out) as folder:
        with ShardWriter(folder, name, max_groups=shard_groups, max_bytes=shard_bytes) as writer:
            prepared = _prepare_all(groups, decode=decode, max_side=max_side, workers=workers)
            for group, made in _without_bad(prepared, done, out):
                _write(group, made, writer, done, max_candidates, source)
                progress(done.read)
        _judge(done, out, max_bad_fraction)
        if done.bad:
            _write_errors(done.bad, folder / ERRORS_FILE)
        how = {"action": "convert", "format": format, "src": str(src), "options": asdict(asked), "max_side": max_side}
        build_index(folder, made=how)
    return done


def _without_bad(
    prepared: Iterable[tuple[Group, list[ShardImage] | BadGroup]], done: Converted, out: Path
) -> Iterator[tuple[Group, list[ShardImage]]]:
    """Passes readable groups on and counts all; refuses an id that was there before.

    Raises:
        DataError: Two groups have one id, or so much is unreadable that going on is pointless.
    """
    first_places: dict[str, str] = {}
    for group, made in prepared:
        done.read += 1
        _refuse_double(group, first_places)
        if not isinstance(made, BadGroup):
            yield group, made
            continue
        done.bad.append(made)
        if len(done.bad) >= HOPELESS and 2 * len(done.bad) > done.read:
            raise _too_many(done, out, stopped=True)


def _prepare_all(
    groups: Iterable[GroupWithImages], *, decode: bool, max_side: int | None, workers: int
) -> Iterator[tuple[Group, list[ShardImage] | BadGroup]]:
    """Groups in their order, images made ready by threads a little ahead of the writer."""
    pending: deque[tuple[Group, Future[list[ShardImage] | BadGroup]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for group, images in groups:
                pending.append((group, pool.submit(_prepare, group, images, decode, max_side)))
                if len(pending) > 4 * workers:
                    first, made = pending.popleft()
                    yield first, made.result()
            while pending:
                first, made = pending.popleft()
                yield first, made.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare(group: Group, images: list[Image], decode: bool, max_side: int | None) -> list[ShardImage] | BadGroup:
    """A group's images for the shard, or why they cannot be."""
    made = []
    for image, candidate in zip(images, group.candidates, strict=True):
        try:
            made.append(prepare_image(read_source(image), decode=decode, max_side=max_side))
        except BadSample as error:
            return BadGroup(group.id, candidate.file, error.reason, dict(group.provenance))
    return made


def _refuse_double(group: Group, first_places: dict[str, str]) -> None:
    place = " ".join(f"{name} {value}" for name, value in group.provenance.items()) or repr(group.prompt[:60])
    if group.id in first_places:
        raise DataError(
            f"two groups have the id {group.id!r}: {first_places[group.id]}, and {place}. Ids must differ within a "
            "shard set"
        )
    first_places[group.id] = place


def _write(
    group: Group, images: list[ShardImage], writer: ShardWriter, done: Converted, max_candidates: int, source: str
) -> None:
    """Writes one read group, in parts where it is too large."""
    group = replace(
        group,
        candidates=tuple(
            replace(candidate, width=image.width, height=image.height, sha256=image.sha256)
            for candidate, image in zip(group.candidates, images, strict=True)
        ),
    )
    # The writer gives files their names in the shard; where they came from stays on record.
    files = [candidate.file for candidate in group.candidates]
    group = replace(group, provenance={**group.provenance, "source": source, "files": files})
    parts = split_large(group, max_candidates)
    if len(parts) > 1:
        done.notes[f"groups of more than {max_candidates} candidates, split so that each comparison is kept once"] += 1
    for part, members in parts:
        writer.write(part, [images[member].data for member in members])
        done.written += 1
        done.candidates += len(members)
    for image in images:
        if image.rewritten:
            done.notes[image.rewritten] += 1


def _judge(done: Converted, out: Path, max_bad_fraction: float) -> None:
    """Raises where nothing is left or too much is unreadable."""
    if not done.read:
        raise DataError("the source holds no groups")
    bad = len(done.bad)
    if bad > max(TOLERATED, max_bad_fraction * done.read) or 2 * bad > done.read:
        raise _too_many(done, out, stopped=False)


def _too_many(done: Converted, out: Path, *, stopped: bool) -> DataError:
    """The error for too many unreadable groups; all of them are listed in a file beside ``out``."""
    listing = out.with_name(f"{out.name}.{ERRORS_FILE}")
    _write_errors(done.bad, listing)
    seen = f"{done.read} groups{' read so far' if stopped else ''}"
    shown = [str(bad) for bad in done.bad[:SHOWN]]
    more = [f"… and {len(done.bad) - SHOWN} more"] if len(done.bad) > SHOWN else []
    return DataError(
        "\n".join(
            [
                f"{len(done.bad)} of {seen} have an image that cannot be read; nothing was written to {out}. All are "
                f"listed in {listing}. Mend them, or allow more with max_bad_fraction=",
                *shown,
                *more,
            ]
        )
    )


def _write_errors(bad: list[BadGroup], file: Path) -> None:
    lines = [{"id": b.id, "image": b.image, "reason": b.reason, "provenance": b.provenance} for b in bad]
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
