"""Shards: webdataset tar files with one group per sample, read whole or by byte range.

A sample is ``KEY.json`` (the group record) and ``KEY.0.jpg`` to ``KEY.{K-1}.jpg`` (or png, webp), in any order but next
to each other. Nothing is ever extracted to disk, and links or devices inside a shard are refused.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rewardkit.data.group import Group, RecordError, from_json
from rewardkit.data.remote import ShardPlace
from rewardkit.data.sources import read_range
from rewardkit.data.tar_files import BLOCK, tar_files, tar_header
from rewardkit.errors import BadSample, DataError, UserError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
MAX_RECORD_BYTES = 2**26
"""A record above 64 MiB is taken for damage."""

_FIRST_READ = 2**16


@dataclass(frozen=True, slots=True)
class Sample:
    """One group with its images' bytes.

    Attributes:
        images: One per candidate, in the candidates' order, as the files came.
    """

    key: str
    group: Group
    images: list[bytes]


@dataclass(frozen=True, slots=True)
class StoredSample:
    """Where a sample lies in its shard, with its files: image index or ``"json"`` to bytes."""

    key: str
    offset: int
    length: int
    files: dict[int | str, bytes]


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder, by name.

    Raises:
        UserError: The folder does not exist or holds none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; data.train and data.val take a folder of shards")
    paths = sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))
    if not paths:
        raise UserError(
            f"{folder}: the folder holds no shards (*.tar). For a data set of another form, see "
            "`rewardkit data convert format=… src=… out=…`"
        )
    return paths


def read_sample(path: ShardPlace | str, offset: int, length: int) -> Sample:
    """Reads one sample by its place in a shard.

    Raises:
        BadSample: The bytes there are cut off or damaged, or the record does not fit the images.
        DataError: The shard cannot be read at all.
    """
    return open_sample(read_stored(path, offset, length))


def read_stored(path: ShardPlace | str, offset: int, length: int) -> StoredSample:
    """Reads the files of one sample by its place in a shard.

    Raises:
        BadSample: The bytes there are cut off or damaged.
        DataError: The shard cannot be read at all.
    """
    data = read_range(path, offset, length)
    if len(data) < length:
        raise BadSample(f"the shard is cut off: {len(data)} of the sample's {length} bytes are there")
    stored = list(_samples(io.BytesIO(data), len(data)))
    if len(stored) != 1:
        raise BadSample(f"{len(stored)} samples lie where the index says there is one; {_REINDEX}")
    return stored[0]


_REINDEX = "if the shard was changed, run `rewardkit data index src=…`"


def read_record(path: ShardPlace | str, offset: int, length: int) -> Group:
    """Reads only the group record of a sample; cheap where it stands first, as in our own shards.

    Raises:
        BadSample: The bytes there are cut off or damaged, or the record contradicts itself.
        DataError: The shard cannot be read at all.
    """
    return parse_record(read_record_file(path, offset, length))


def read_record_file(path: ShardPlace | str, offset: int, length: int) -> bytes:
    """Reads only the ``KEY.json`` of a sample; raises as ``read_stored``."""
    head = read_range(path, offset, min(length, _FIRST_READ))
    if len(head) >= BLOCK:
        try:
            name, size, kind = tar_header(head[:BLOCK])
        except tarfile.HeaderError:
            pass  # read_stored tells what is wrong
        else:
            end = BLOCK + size
            if kind in (tarfile.REGTYPE, tarfile.AREGTYPE) and name.endswith(".json") and 0 <= end <= length:
                data = head if end <= len(head) else read_range(path, offset, end)
                if len(data) >= end:
                    return data[BLOCK:end]
    return _record_file(read_stored(path, offset, length))


def key_at(path: ShardPlace | str, offset: int) -> str:
    """The key of the sample that begins at a byte of a shard, as far as its first header tells; else empty."""
    try:
        name, _, _ = tar_header(read_range(path, offset, BLOCK))
    except tarfile.HeaderError:
        return ""
    return _split_name(name)[0]


def open_sample(stored: StoredSample) -> Sample:
    """The group record of a stored sample with its images in the candidates' order.

    Raises:
        BadSample: The record is missing, contradicts itself or does not fit the images.
    """
    group = parse_record(_record_file(stored))
    found = sorted(name for name in stored.files if isinstance(name, int))
    if found != list(range(len(group.candidates))):
        raise BadSample(f"the record has {len(group.candidates)} candidates, but the images are {found}")
    return Sample(stored.key, group, [stored.files[n] for n in found])


def _record_file(stored: StoredSample) -> bytes:
    if "json" not in stored.files:
        raise BadSample(f"there is no {stored.key}.json")
    return stored.files["json"]


def parse_record(data: bytes) -> Group:
    """The group that a ``KEY.json`` holds.

    Raises:
        BadSample: It contradicts itself, or is no record.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise BadSample(f"the record has {len(data)} bytes, more than {MAX_RECORD_BYTES}")
    try:
        return from_json(data)
    except RecordError as error:
        raise BadSample(str(error)) from error


def scan_shard(path: Path) -> Iterator[StoredSample]:
    """Every sample of a shard, in order, read from the beginning.

    Raises:
        DataError: The shard is cut off, damaged or holds links or devices; names the shard and the sample it
            happened at.
    """
    size = path.stat().st_size
    last = None
    try:
        with open(path, "rb") as file:
            for stored in _samples(file, size, whole=True):
                last = stored.key
                yield stored
    except BadSample as error:
        where = f"after sample {last!r}" if last else "in its first sample"
        raise DataError(f"{path}: {where}: {error.reason}") from error


def _samples(stream: BinaryIO, size: int, *, whole: bool = False) -> Iterator[StoredSample]:
    """Groups neighbouring tar members of one key. ``whole``: the end-of-archive mark must be there."""
    key, start, files, end = "", 0, dict[int | str, bytes](), 0
    for name, begin, data, after in tar_files(stream, size, whole=whole):
        base, kind = _split_name(name)
        if base != key and files:
            yield StoredSample(key, start, end - start, files)
            files = {}
        if not files:
            key, start = base, begin
        if kind in files:
            raise BadSample(f"sample {key!r} has {name!r} twice")
        if kind is not None:
            files[kind] = data
        end = after
    if files:
        yield StoredSample(key, start, end - start, files)


def _split_name(name: str) -> tuple[str, int | str | None]:
    """``dir/KEY.0.jpg`` to (``dir/KEY``, 0), ``KEY.json`` to (``KEY``, "json"); other files count for nothing."""
    folder, slash, base = name.rpartition("/")
    stem, _, rest = base.partition(".")
    key = folder + slash + stem
    if rest == "json":
        return key, "json"
    number, _, suffix = rest.partition(".")
    if suffix.lower() in IMAGE_SUFFIXES and number.isascii() and number.isdigit() and len(number) < 7:
        return key, int(number)
    return key, None
