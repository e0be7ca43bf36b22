"""Shards: webdataset tar files with one group per sample, written atomically and read by byte range.

A sample is ``KEY.json`` (the group record) and ``KEY.0.jpg`` to ``KEY.{K-1}.jpg`` (or png, webp), in any order but next
to each other. Nothing is ever extracted to disk, and links or devices inside a shard are refused.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from rewardkit.data.group import Group, RecordError, from_json, to_json
from rewardkit.data.sources import read_range
from rewardkit.data.tar_files import BLOCK, TarFileWriter, tar_files, tar_header
from rewardkit.errors import BadSample, DataError, UserError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
MAX_RECORD_BYTES = 2**26
"""A record above 64 MiB is taken for damage."""

_SAFE_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
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


@dataclass(frozen=True, slots=True)
class Written:
    """A sample that was written: where it lies, and what the index says of it.

    Attributes:
        shard: Number of the shard, from 0.
        offset: First byte in the shard.
        length: Bytes.
        group: The record as stored.
        record: Its bytes.
    """

    key: str
    shard: int
    offset: int
    length: int
    group: Group
    record: bytes


class ShardWriter:
    """Writes groups to ``NAME-000000.tar``, ``NAME-000001.tar``, …; the same groups give the same bytes.

    Use it as a context manager. A shard appears under its name only when it is complete.

    Args:
        folder: Made if needed; must not hold shards of this name.
        name: Start of the shards' file names.
        max_groups: Groups in a shard at most.
        max_bytes: A shard is closed once it is this large.

    Raises:
        UserError: The folder already holds shards of this name.
    """

    def __init__(
        self, folder: str | os.PathLike[str], name: str, *, max_groups: int = 1000, max_bytes: int = 2**28
    ) -> None:
        self.folder = Path(folder)
        self.name = name
        self.groups = 0
        self._max_groups, self._max_bytes = max_groups, max_bytes
        self._shard = 0
        self._in_shard = 0
        self._tar: TarFileWriter | None = None
        self._ids: dict[str, str] = {}
        if not _SAFE_KEY.fullmatch(name):
            raise UserError(f"shard name {name!r}: use letters, digits, - and _")
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.glob(f"{name}-*.tar")):
            raise UserError(
                f"{self.folder} already holds shards named {name}-*.tar; give another folder or remove them"
            )

    def write(self, group: Group, images: Sequence[bytes]) -> Written:
        """Adds one group. Its key is the group's id where that is safe in a file name, else a safe form of it.

        Args:
            group: Its candidates' file names are replaced by those inside the shard, missing sha256 are filled in.
            images: One per candidate: JPEG, PNG or WebP bytes, stored as they are.

        Raises:
            DataError: The id was written before, the number of images differs, an image is of another type, or the
                disk is full.
        """
        if len(images) != len(group.candidates):
            raise DataError(f"group {group.id!r} has {len(group.candidates)} candidates but {len(images)} images")
        key = key_of(group.id)
        place = f"{self.name}-{self._shard:06d}.tar, sample {self._in_shard}"
        if key in self._ids:
            raise DataError(f"group id {group.id!r} is there twice: in {self._ids[key]}, and again in {place}")
        suffixes = [_suffix(image, c.file, group.id) for image, c in zip(images, group.candidates, strict=True)]
        names = [f"{key}.{n}.{suffix}" for n, suffix in enumerate(suffixes)]
        stored = replace(
            group,
            candidates=tuple(
                replace(c, file=name, sha256=c.sha256 or hashlib.sha256(image).hexdigest())
                for c, name, image in zip(group.candidates, names, images, strict=True)
            ),
        )
        try:
            tar = self._tar or self._open()
            record = to_json(stored).encode()
            begin = tar.offset
            for name, data in zip([f"{key}.json", *names], [record, *images], strict=True):
                tar.add(name, data)
            written = Written(key, self._shard, begin, tar.offset - begin, stored, record)
            self._ids[key] = place
            self._in_shard += 1
            self.groups += 1
            if self._in_shard >= self._max_groups or tar.offset >= self._max_bytes:
                self._close()
        except OSError as error:
            raise DataError(f"{self.path(self._shard)} cannot be written: {error.strerror or error}") from error
        return written

    def path(self, shard: int) -> Path:
        """Where a shard lies once it is complete."""
        return self.folder / f"{self.name}-{shard:06d}.tar"

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._tar is None:
            return
        if kind is None:
            self._close()
        else:
            self._tar.close()
            self._part().unlink(missing_ok=True)

    def _part(self) -> Path:
        return self.folder / f".{self.path(self._shard).name}.part-{os.getpid()}"

    def _open(self) -> TarFileWriter:
        self._tar = TarFileWriter(self._part())
        self._in_shard = 0
        return self._tar

    def _close(self) -> None:
        assert self._tar is not None
        self._tar.finish()
        os.replace(self._part(), self.path(self._shard))
        self._tar = None
        self._shard += 1
        self._in_shard = 0


def key_of(group_id: str) -> str:
    """A key without dots or slashes: the id itself where it is safe, else its letters and a hash of it."""
    if _SAFE_KEY.fullmatch(group_id):
        return group_id
    digest = hashlib.blake2b(group_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{re.sub('[^A-Za-z0-9_-]+', '_', group_id)[:48]}-{digest}"


def _suffix(data: bytes, file: str, group_id: str) -> str:
    """The file suffix by the bytes' signature, else by the file's name."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    suffix = file.rpartition(".")[2].lower()
    if suffix not in IMAGE_SUFFIXES:
        raise DataError(f"group {group_id!r}: image {file!r} is not JPEG, PNG or WebP; shards hold those only")
    return suffix


def read_sample(path: str | os.PathLike[str], offset: int, length: int) -> Sample:
    """Reads one sample by its place in a shard.

    Raises:
        BadSample: The bytes there are cut off or damaged, or the record does not fit the images.
        DataError: The shard cannot be read at all.
    """
    data = read_range(path, offset, length)
    if len(data) < length:
        raise BadSample(f"the shard is cut off: {len(data)} of the sample's {length} bytes are there")
    stored = list(_samples(io.BytesIO(data), len(data)))
    if len(stored) != 1:
        raise BadSample(f"{len(stored)} samples lie where the index says there is one; {_REINDEX}")
    return open_sample(stored[0])


_REINDEX = "if the shard was changed, run `rewardkit data index src=…`"


def read_record(path: str | os.PathLike[str], offset: int, length: int) -> Group:
    """Reads only the group record of a sample; cheap where it stands first, as in our own shards.

    Raises:
        BadSample: As ``read_sample``.
        DataError: The shard cannot be read at all.
    """
    head = read_range(path, offset, min(length, _FIRST_READ))
    if len(head) >= BLOCK:
        try:
            name, size, kind = tar_header(head[:BLOCK])
        except tarfile.HeaderError:
            pass  # read_sample tells what is wrong
        else:
            end = BLOCK + size
            if kind in (tarfile.REGTYPE, tarfile.AREGTYPE) and name.endswith(".json") and 0 <= end <= length:
                data = head if end <= len(head) else read_range(path, offset, end)
                if len(data) >= end:
                    return _record(data[BLOCK:end])
    return read_sample(path, offset, length).group


def key_at(path: str | os.PathLike[str], offset: int) -> str:
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
    if "json" not in stored.files:
        raise BadSample(f"there is no {stored.key}.json")
    group = _record(stored.files["json"])
    found = sorted(name for name in stored.files if isinstance(name, int))
    if found != list(range(len(group.candidates))):
        raise BadSample(f"the record has {len(group.candidates)} candidates, but the images are {found}")
    return Sample(stored.key, group, [stored.files[n] for n in found])


def _record(data: bytes) -> Group:
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
