"""Makes the index of a shard set: from shards that are read once, or from rows that were made beside them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rewardkit.data.group import Group
from rewardkit.data.image_files import image_size
from rewardkit.data.index import ARRAYS, EACH, FORMAT_VERSION, INDEX_FILE, WIDE, Scale, ShardIndex
from rewardkit.data.index_rows import IndexRows, ShardRows, aligned, hash_of
from rewardkit.data.shard_writer import Written
from rewardkit.data.shards import Sample, StoredSample, open_sample, scan_shard, shard_paths
from rewardkit.errors import BadSample, DataError, UserError

Part = Callable[[], IndexRows]
"""Rows that are read when they are needed, so that those of all shards are never in memory together."""


def build_index(
    folder: str | os.PathLike[str],
    *,
    scales: Mapping[str, Scale] | None = None,
    made: Mapping[str, Any] | None = None,
    leave_out_bad: bool = False,
    progress: Callable[[int], None] | None = None,
) -> ShardIndex:
    """Indexes the shards of a folder; an index that is already there is replaced once the new one is whole.

    Args:
        folder: The shards.
        scales: The scale of a dimension's answers where it is known; else it is the range of the answers.
        made: How the shards were made, kept in the index.
        leave_out_bad: Leave out samples that cannot be used, and name them in the index, instead of failing.
        progress: Called with the number of groups so far, after each shard.

    Raises:
        UserError: There are no shards, or the folder cannot be written.
        DataError: A shard is damaged, a record contradicts itself, or two samples have one key; names up to ten.
    """
    folder = Path(folder)
    paths = shard_paths(folder)
    keys: dict[int, int] = {}
    problems: list[Mapping[str, str]] = []
    groups = 0
    try:
        scratch = tempfile.TemporaryDirectory(prefix=".rows-", dir=folder)
    except OSError as error:
        raise UserError(f"{folder}: the index cannot be written: {error.strerror or error}") from error
    with scratch as rows_folder:
        files = [Path(rows_folder) / f"{number:06d}.npz" for number in range(len(paths))]
        for number, (path, file) in enumerate(zip(paths, files, strict=True)):
            rows = _scan(path, number, keys, [p.name for p in paths])
            groups += len(rows.arrays["offset"])
            problems += rows.left_out
            rows.save(file)
            if progress is not None:
                progress(groups)
        if problems and not leave_out_bad:
            raise DataError(_told(folder, problems))
        return write_index(folder, [lambda file=file: IndexRows.load(file) for file in files], scales=scales, made=made)  # type: ignore[misc]


def _told(folder: Path, problems: Sequence[Mapping[str, str]]) -> str:
    told = "\n".join(f"  {p['shard']} {p['key']}: {p['reason']}" for p in problems[:10])
    more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
    return (
        f"{folder}: {len(problems)} samples cannot be indexed:\n{told}{more}\n"
        "Mend the shards, or index the others with `rewardkit data index src=… leave_out_bad=true`."
    )


def _scan(path: Path, number: int, keys: dict[int, int], names: Sequence[str]) -> IndexRows:
    """The rows of one shard, with what cannot be indexed.

    Args:
        path: The shard.
        number: Of the shard.
        keys: Hash of each key seen so far to its shard's number; those of this shard are added.
        names: Of all shards.
    """
    rows = ShardRows()

    def leave_out(key: str, reason: str) -> None:
        rows.left_out.append({"shard": path.name, "key": key, "reason": reason})

    def add(stored: StoredSample) -> None:
        key = hash_of(stored.key.encode("utf-8", "surrogateescape"))
        if key in keys:
            leave_out(stored.key, f"the key is there twice: in {names[keys[key]]} and in {path.name}")
            return
        keys[key] = number
        try:
            sample = open_sample(stored)
        except BadSample as error:
            leave_out(stored.key, error.reason)
            return
        group = _measured(sample)
        rows.add(Written(stored.key, number, stored.offset, stored.length, group, stored.files["json"]))

    try:
        for stored in scan_shard(path):
            add(stored)
    except DataError as error:
        leave_out("", str(error))
    return rows.rows(path.name, path.stat().st_size)


def _measured(sample: Sample) -> Group:
    """The group with the true sha256 of each image, and its size where the record has none."""
    candidates = []
    for candidate, image in zip(sample.group.candidates, sample.images, strict=True):
        width, height = candidate.width, candidate.height
        if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
            try:
                width, height = image_size(image)
            except BadSample:
                width = height = 0  # training meets it again, counts it and names it
        digest = hashlib.sha256(image).hexdigest()
        candidates.append(replace(candidate, width=width, height=height, sha256=digest))
    return replace(sample.group, candidates=tuple(candidates))


@dataclass(slots=True)
class _Totals:
    """What all parts say together."""

    shards: list[Mapping[str, Any]] = field(default_factory=list)
    dimensions: set[str] = field(default_factory=set)
    scales: dict[str, Scale] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    left_out: list[Mapping[str, str]] = field(default_factory=list)
    groups: int = 0
    candidates: int = 0
    comparisons: int = 0
    rankings: int = 0
    answers: int = 0

    def add(self, rows: IndexRows) -> None:
        self.shards += rows.shards
        self.dimensions |= set(rows.dimensions)
        for name, scale in rows.scales.items():
            self.scales[name] = self.scales[name].union(scale) if name in self.scales else scale
        self.sources.update(rows.sources)
        self.left_out += rows.left_out
        self.groups += len(rows.arrays["offset"])
        self.candidates += len(rows.arrays["each_candidate_hash"])
        self.comparisons += len(rows.arrays["each_comparison_dimension"])
        self.rankings += int(rows.arrays["rankings"].sum())
        self.answers += len(rows.arrays["each_answer_value"])


def write_index(
    folder: Path,
    parts: Sequence[Part],
    *,
    scales: Mapping[str, Scale] | None = None,
    made: Mapping[str, Any] | None = None,
) -> ShardIndex:
    """Joins rows to the index of a folder, whose shards are those of the parts, in their order.

    The arrays are written part by part: memory is that of one part.

    Args:
        folder: The shards.
        parts: Called twice each.
        scales: As in ``build_index``.
        made: As in ``build_index``.

    Raises:
        UserError: The folder cannot be written.
        DataError: There is no group, two have one key, or answers lie outside a given scale.
    """
    totals = _Totals()
    for part in parts:
        totals.add(part())
    for name, seen in totals.scales.items():
        given = (scales or {}).get(name, seen)
        if given.union(seen) != given:
            raise DataError(f"{folder}: dimension {name!r} has answers of {seen}, outside the scale given, {given}")
    if not totals.groups:
        raise DataError(f"{folder}: the shards hold no group; a group is KEY.json with KEY.0.jpg, KEY.1.jpg, …")
    try:
        _write(folder, parts, totals, dict(scales or {}), dict(made or {}))
    except OSError as error:
        raise UserError(f"{folder}: the index cannot be written: {error.strerror or error}") from error
    return ShardIndex.open(folder)


def _write(
    folder: Path, parts: Sequence[Part], totals: _Totals, scales: dict[str, Scale], made: dict[str, Any]
) -> None:
    """Writes the arrays to a new folder, then index.json in one step, then removes what an older index left."""
    dimensions = tuple(sorted(totals.dimensions))
    digest = _digest_of_shards(totals.shards)
    target = folder / f"index-{digest[:16]}"
    temporary = Path(tempfile.mkdtemp(prefix=".index-", dir=folder))
    try:
        files = _write_arrays(temporary, parts, totals, dimensions)
        _refuse_doubles(temporary, folder, totals)
        temporary.chmod(0o755)
        if target.exists():  # in use until index.json names the new one
            target = target.with_name(f"{target.name}-{temporary.name[-8:]}")
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    record = {
        "version": FORMAT_VERSION,
        "digest": digest,
        "arrays": target.name,
        "files": files,
        "dimensions": dimensions,
        "scales": {name: asdict(scale) for name, scale in sorted({**totals.scales, **scales}.items())},
        "sources": dict(sorted(totals.sources.items())),
        "counts": {
            "groups": totals.groups,
            "candidates": totals.candidates,
            "comparisons": totals.comparisons,
            "rankings": totals.rankings,
            "answers": totals.answers,
        },
        "made": made,
        "left_out": totals.left_out,
        "shards": totals.shards,
    }
    record["sha256"] = digest_of_record(record)
    part = folder / f".{INDEX_FILE}.part-{os.getpid()}"
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, folder / INDEX_FILE)
    for old in folder.glob("index-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)


def _write_arrays(
    folder: Path, parts: Sequence[Part], totals: _Totals, dimensions: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Each array under its name, written part after part; returns the size and sha256 of each file."""
    lengths = {f"each_{what}": getattr(totals, f"{what}s") for what in EACH}
    column = {name: n for n, name in enumerate(dimensions)}
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / f"{name}.npy", "wb")) for name in ARRAYS}
        for name, kind in ARRAYS.items():
            length = next((count for start, count in lengths.items() if name.startswith(start)), totals.groups)
            shape = (length, len(dimensions)) if name in WIDE else (length,)
            about = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[name], about)
        first_shard = 0
        for part in parts:
            rows = part()
            columns = [column[name] for name in rows.dimensions]
            for name, kind in ARRAYS.items():
                piece = aligned(name, rows.arrays[name], columns, len(dimensions), first_shard)
                files[name].write(np.ascontiguousarray(piece, dtype=kind).tobytes())
            first_shard += len(rows.shards)
    return {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(folder.iterdir())}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_doubles(arrays: Path, folder: Path, totals: _Totals) -> None:
    """Raises DataError where two samples have one key."""
    hashes = np.load(arrays / "key_hash.npy", mmap_mode="r")
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if len(same):
        shard = np.load(arrays / "shard.npy", mmap_mode="r")
        names = [totals.shards[shard[order[same[0] + step]]]["name"] for step in (0, 1)]
        raise DataError(
            f"{folder}: {len(same)} keys are there twice, the first in {names[0]} and in {names[1]}; a key names one "
            "sample of a set"
        )


def digest_of_record(record: Mapping[str, Any]) -> str:
    """The digest of an ``index.json``, of all but the digest itself."""
    rest = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _digest_of_shards(shards: Sequence[Mapping[str, Any]]) -> str:
    """The digest of a set, from those of its shards."""
    lines = [f"shard {number} {shard['digest']}\n" for number, shard in enumerate(shards)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
