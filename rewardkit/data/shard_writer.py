"""Writes shards: webdataset tar files with one group per sample, atomically, the same groups as the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from rewardkit.data.group import Candidate, Group, to_json
from rewardkit.data.shards import IMAGE_SUFFIXES
from rewardkit.data.tar_files import TarFileWriter
from rewardkit.errors import DataError, UserError

_SAFE_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")


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
                Candidate(name, c.generator, c.width, c.height, c.sha256 or hashlib.sha256(image).hexdigest())
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
            raise self._unwritable(error) from error
        return written

    def path(self, shard: int) -> Path:
        """Where a shard lies once it is complete."""
        return self.folder / f"{self.name}-{shard:06d}.tar"

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._tar is None:
            return
        try:
            if kind is None:
                self._close()
        except OSError as failure:
            raise self._unwritable(failure) from failure
        finally:
            if self._tar is not None:  # it is not complete, and will not be
                with suppress(OSError):  # a full disk was told already
                    self._tar.close()
                self._part().unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"{self.path(self._shard)} cannot be written: {error.strerror or error}")

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
