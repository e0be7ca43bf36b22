"""Features of the images and prompts of a shard set: encoded once by frozen towers, read by byte range ever after.

::

    CACHE/features/DIGEST/
      features.json        what they were made of, for people
      00000.image.npy      [candidates of shard 0, E], in the order of the index
      00000.text.npy       [groups of shard 0, E]
      00000.json           written last: the shard is whole; its samples that could not be used
      .locks               one byte for each shard, locked by the process that encodes it

A shard's features appear whole or not at all, so encoding goes on where it was killed, and any number of processes
(ranks, runs of a sweep) share the work by taking one shard at a time.
"""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.cache import prune
from rewardkit.data.index import ShardIndex
from rewardkit.errors import DataError, UserError

KIND = "features"
"""Folder inside the cache."""

DTYPES = ("float32", "float16")
"""Number types that features may be stored in."""

OPEN_SHARDS = 256
"""Shards that are mapped at once; an epoch's order stays within 64 at a time."""

_TOUCHED_SECONDS = 3600.0
"""A folder in use says so this often, so that the cache keeps it."""


class FeatureMaker(Protocol):
    """Finds the features of a source, and encodes what is missing."""

    digest: str
    """Identifies the towers and all else that features follow from, but the data."""

    def __call__(self, index: ShardIndex, *, name: str, rank: int, ranks: int, device: Any) -> FeatureShards:
        """The features of one source, whole.

        Args:
            index: The source.
            name: What to call it.
            rank: This process among those that share the work.
            ranks: How many there are.
            device: Where to encode.
        """
        ...


@dataclass(frozen=True, slots=True)
class BadFeature:
    """What could not be encoded.

    Attributes:
        position: The group, in the index.
        candidate: Its candidate; None where the whole sample cannot be read.
        reason: What is wrong, in a few words.
    """

    position: int
    candidate: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class GroupFeatures:
    """Features of one group.

    Attributes:
        image: ``[K, E]``; rows of candidates that could not be decoded are 0.
        text: ``[1, E]``.
        bad: Candidate (None: the whole sample) to what is wrong.
    """

    image: NDArray[np.floating]
    text: NDArray[np.floating]
    bad: Mapping[int | None, str]


class FeatureShards:
    """Reads the features of one source.

    Args:
        folder: Where they lie, all shards whole.
        index: The source.

    Raises:
        DataError: A shard's features are missing or damaged.
    """

    def __init__(self, folder: Path, index: ShardIndex) -> None:
        self.folder = folder
        self.index = index
        self._rows = index.starts(index.candidates)
        self._first = np.searchsorted(index.shard, np.arange(len(index.shards) + 1))
        self._shard: list[int] = index.shard.tolist()
        self._mapped: OrderedDict[int, tuple[NDArray[np.floating], NDArray[np.floating]]] = OrderedDict()
        self._bad: dict[int, dict[int | None, str]] = {}
        for shard in range(len(index.shards)):
            for bad in read_done(folder, shard) or _lost(folder, shard):
                self._bad.setdefault(bad.position, {})[bad.candidate] = bad.reason
        self._touched = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureShards, (self.folder, self.index)

    @property
    def width(self) -> int:
        """E."""
        return int(self._open(0)[1].shape[1])

    def group(self, position: int) -> GroupFeatures:
        """The features of a group by its position in the index."""
        shard = self._shard[position]
        image, text = self._open(shard)
        first = int(self._first[shard])
        start = int(self._rows[first])
        rows = slice(int(self._rows[position]) - start, int(self._rows[position + 1]) - start)
        at = position - first
        return GroupFeatures(image[rows], text[at : at + 1], self._bad.get(position, {}))

    def _open(self, shard: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        found = self._mapped.get(shard)
        if found is None:
            self._touch()
            found = (_map(self.folder, shard, "image"), _map(self.folder, shard, "text"))
            self._mapped[shard] = found
            if len(self._mapped) > OPEN_SHARDS:
                self._mapped.popitem(last=False)
        else:
            self._mapped.move_to_end(shard)
        return found

    def _touch(self) -> None:
        if time.monotonic() - self._touched > _TOUCHED_SECONDS or not self._touched:
            self._touched = time.monotonic()
            with suppress(OSError):  # somebody else's cache, which may be read only
                os.utime(self.folder)


def feature_folder(root: Path, digest: str, *, max_bytes: int, about: Mapping[str, Any]) -> Path:
    """The folder of one source's features in the cache; made where it is not there, and older ones are removed.

    Args:
        root: See ``cache_root``.
        digest: Identifies all that the features follow from.
        max_bytes: Bound of all features in the cache.
        about: What they are made of, for ``features.json``.

    Raises:
        UserError: The cache cannot be written.
    """
    folder = root / KIND / digest
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "features.json").is_file():
            _write_whole(folder / "features.json", (json.dumps(about, indent=1) + "\n").encode())
        os.utime(folder)
        prune(folder.parent, max_bytes=max_bytes, now=time.time())
    except OSError as error:
        raise UserError(
            f"the cache {root} cannot be written ({error.strerror or error}); name another folder with cache.dir=…"
        ) from error
    return folder


def feature_bytes(index: ShardIndex, *, width: int, dtype: str) -> int:
    """Bytes that the features of a source take."""
    return (len(index.each_candidate_hash) + len(index)) * width * np.dtype(dtype).itemsize


def write_shard(
    folder: Path, shard: int, *, image: NDArray[np.floating], text: NDArray[np.floating], bad: Sequence[BadFeature]
) -> None:
    """Writes the features of one shard; it counts as done when all of it is on the disk."""
    sizes = {}
    for name, array in (("image", image), ("text", text)):
        path = _path(folder, shard, name)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        with open(scratch, "wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        sizes[name] = scratch.stat().st_size
        os.replace(scratch, path)
    record = {"bytes": sizes, "bad": [[b.position, b.candidate, b.reason] for b in bad]}
    _write_whole(folder / f"{shard:05d}.json", json.dumps(record, ensure_ascii=False).encode())


def read_done(folder: Path, shard: int) -> list[BadFeature] | None:
    """What of a shard could not be encoded; None where its features are not (wholly) there."""
    try:
        record = json.loads((folder / f"{shard:05d}.json").read_text(encoding="utf-8"))
        whole = all(_path(folder, shard, name).stat().st_size == size for name, size in record["bytes"].items())
        return [BadFeature(*row) for row in record["bad"]] if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(folder: Path, shard: int, name: str) -> Path:
    return folder / f"{shard:05d}.{name}.npy"


def _map(folder: Path, shard: int, name: str) -> NDArray[np.floating]:
    """One array, mapped, as a plain view: ``memmap``'s own slicing takes ten times as long."""
    try:
        return np.load(_path(folder, shard, name), mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except (OSError, ValueError) as error:
        raise DataError(f"{_path(folder, shard, name)} cannot be read ({error}); {_AGAIN}") from error


def _lost(folder: Path, shard: int) -> list[BadFeature]:
    if read_done(folder, shard) is None:
        raise DataError(f"{folder}: the features of shard {shard} are not there or damaged; {_AGAIN}")
    return []


_AGAIN = "run the command again, which encodes what is missing"


def _write_whole(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    os.replace(scratch, path)
