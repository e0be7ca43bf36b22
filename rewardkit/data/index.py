"""The index of a shard set: where each sample lies and what labels it has, opened without reading a shard.

``index.json`` beside the shards holds names, scales, counts and the digest; the arrays lie in a folder next to it and
are memory-mapped, so that a million groups open at once. ``build_index`` (``index_build.py``) makes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.group import Group
from rewardkit.data.remote import RemoteFolder, ShardPlace
from rewardkit.data.shards import Sample, read_record, read_sample, shard_paths
from rewardkit.errors import DataError, UserError

if TYPE_CHECKING:
    from rewardkit.data.remote_samples import RemoteSamples

FORMAT_VERSION = 4
WITHOUT_ANSWERS = 3
"""The format before: without the answers one by one, which only an evaluator needs, and without what a reader over a
network checks. It is still read."""
INDEX_FILE = "index.json"
MAX_LEVELS = 32
"""An integer scale with more levels than this is treated as continuous: ratings, but no answers over levels."""

ARRAYS: Mapping[str, str] = {
    "shard": "int32",
    "offset": "int64",
    "length": "int64",
    "candidates": "int32",
    "comparisons": "int32",
    "comparison_weight": "float32",
    "decided": "int32",
    "decided_weight": "float32",
    "rankings": "int32",
    "ratings": "int32",
    "captions": "int32",
    "answers": "int32",
    "prompt_tokens": "int32",
    "pixels": "int64",
    "prompt_hash": "uint64",
    "key_hash": "uint64",
    "record_hash": "uint64",
    "each_comparison_dimension": "int16",
    "each_comparison_weight": "float32",
    "each_comparison_decided": "bool",
    "each_candidate_rated": "bool",
    "each_candidate_hash": "uint64",
    "each_answer_candidate": "int16",
    "each_answer_dimension": "int16",
    "each_answer_value": "float64",
}
WIDE = (
    "comparisons",
    "comparison_weight",
    "decided",
    "decided_weight",
    "rankings",
    "ratings",
    "each_candidate_rated",
)
"""Arrays with a column for each dimension."""
EACH = ("candidate", "comparison", "answer")
"""Of these an array ``each_…`` has a row for each one; the others have a row for each group."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a dimension's numeric answers; higher is better."""

    low: float
    high: float
    integer: bool

    @property
    def levels(self) -> int:
        """The number of levels of an integer scale, 0 for a continuous one."""
        count = int(self.high - self.low) + 1 if self.integer else 0
        return count if count <= MAX_LEVELS else 0

    def union(self, other: Scale) -> Scale:
        """The smallest scale that holds both."""
        return Scale(min(self.low, other.low), max(self.high, other.high), self.integer and other.integer)


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """An opened index. n groups, D dimensions, C candidates, M comparisons, A answers in all.

    Attributes:
        folder: Where the index lies: beside the shards, or its copy where these are on a server (``place``).
        shards: Their file names, in order.
        shard_bytes: Size of each.
        shard_digests: Hex, of the samples in each.
        dimensions: Every dimension that the data speak to, sorted; the columns of the ``[n, D]`` arrays.
        scales: Dimension to scale, for those with numeric answers.
        sources: Name of a data set to its groups, where the records say so.
        left_out: Samples that could not be indexed: shard, key, reason.
        made: How it was made.
        lists_answers: Whether its answers are listed one by one; not in an index of the format before.
        digest: Hex; the same for the same samples in the same order and shards of the same sizes.
        shard: int32 ``[n]``, ascending. offset, length: int64 ``[n]``, the sample's bytes in its shard.
        candidates: int32 ``[n]``.
        comparisons: int32 ``[n, D]``, as ``comparisons.py`` derives them.
        comparison_weight: float32 ``[n, D]``, sum of their weights.
        decided: int32 ``[n, D]``, comparisons that prefer one candidate (``comparisons.is_decided``).
        decided_weight: float32 ``[n, D]``, sum of their weights.
        rankings: int32 ``[n, D]``, as ``comparisons.rankings_to_learn`` gives them.
        ratings: int32 ``[n, D]``, candidates with at least one numeric answer.
        captions: int32 ``[n]``, candidates with a caption of their own (``slots["captions"]``).
        answers: int32 ``[n]``, all that anybody answered, N/A too.
        prompt_tokens: int32 ``[n]``, CLIP BPE tokens with start and end; texts are cut to 4096 letters first.
        pixels: int64 ``[n]``, of all candidates together; unreadable images count 0.
        prompt_hash: uint64 ``[n]``, of the prompt's text; 0 for an empty prompt.
        key_hash: uint64 ``[n]``, of the sample's key.
        record_hash: uint64 ``[n]``, first bytes of the sha256 of its ``KEY.json``.
        each_comparison_dimension: int16 ``[M]``, column of each comparison, group after group, in the order of
            ``all_comparisons``.
        each_comparison_weight: float32 ``[M]``.
        each_comparison_decided: bool ``[M]``.
        each_candidate_rated: bool ``[C, D]``, whether the candidate has a numeric answer.
        each_candidate_hash: uint64 ``[C]``, first bytes of the image files' sha256.
        each_answer_candidate: int16 ``[A]``, the candidate's place in its group, group after group, in the order of
            ``Group.answers``.
        each_answer_dimension: int16 ``[A]``, its column.
        each_answer_value: float64 ``[A]``, NaN is N/A.
        remote: Reads the samples of shards on a server; None where they lie in ``folder``.
    """

    folder: Path
    shards: tuple[str, ...]
    shard_bytes: tuple[int, ...]
    shard_digests: tuple[str, ...]
    dimensions: tuple[str, ...]
    scales: Mapping[str, Scale]
    sources: Mapping[str, int]
    left_out: tuple[Mapping[str, str], ...]
    made: Mapping[str, Any]
    digest: str
    lists_answers: bool
    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    candidates: NDArray[np.int32]
    comparisons: NDArray[np.int32]
    comparison_weight: NDArray[np.float32]
    decided: NDArray[np.int32]
    decided_weight: NDArray[np.float32]
    rankings: NDArray[np.int32]
    ratings: NDArray[np.int32]
    captions: NDArray[np.int32]
    answers: NDArray[np.int32]
    prompt_tokens: NDArray[np.int32]
    pixels: NDArray[np.int64]
    prompt_hash: NDArray[np.uint64]
    key_hash: NDArray[np.uint64]
    record_hash: NDArray[np.uint64]
    each_comparison_dimension: NDArray[np.int16]
    each_comparison_weight: NDArray[np.float32]
    each_comparison_decided: NDArray[np.bool_]
    each_candidate_rated: NDArray[np.bool_]
    each_candidate_hash: NDArray[np.uint64]
    each_answer_candidate: NDArray[np.int16]
    each_answer_dimension: NDArray[np.int16]
    each_answer_value: NDArray[np.float64]
    remote: RemoteSamples | None = None

    @classmethod
    def open(cls, folder: str | Path) -> ShardIndex:
        """Opens the index of a folder of shards; ``open_index`` also opens that of a shard set on a server.

        Raises:
            UserError: There are no shards, there is no index, or the shards have changed since it was made.
            DataError: The index is damaged.
        """
        folder = Path(folder)
        paths = shard_paths(folder)
        index = cls.read(folder)
        then = dict(zip(index.shards, index.shard_bytes, strict=True))
        changed = _changes(then, {path.name: path.stat().st_size for path in paths})
        if changed:
            remedy = f"run `rewardkit data index src={folder}`"
            raise UserError(f"{folder}: the shards have changed since they were indexed ({changed}); {remedy}")
        return index

    @classmethod
    def read(cls, folder: Path) -> ShardIndex:
        """Opens the index in a folder, without a look at the shards; raises as ``open``."""
        remedy = f"run `rewardkit data index src={folder}`"
        file = folder / INDEX_FILE
        if not file.is_file():
            raise UserError(f"{folder}: the shards have no index yet; {remedy}")
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            if record["version"] not in (WITHOUT_ANSWERS, FORMAT_VERSION):
                raise UserError(f"{file}: its format is {record['version']}, not {FORMAT_VERSION}; {remedy}")
            then = {shard["name"]: shard["bytes"] for shard in record["shards"]}
            index = cls(
                folder=folder,
                shards=tuple(then),
                shard_bytes=tuple(then.values()),
                shard_digests=tuple(shard["digest"] for shard in record["shards"]),
                dimensions=tuple(record["dimensions"]),
                scales={name: Scale(**scale) for name, scale in record["scales"].items()},
                sources=record["sources"],
                left_out=tuple(record["left_out"]),
                made=record["made"],
                digest=record["digest"],
                lists_answers=record["version"] == FORMAT_VERSION,
                **_open_arrays(folder / record["arrays"], record["version"]),
                remote=None,
            )
            index._check_lengths({"answers": 0, **record["counts"]})
            return index
        except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
            raise DataError(f"{file} is damaged ({type(error).__name__}: {error}); {remedy}") from error

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def place(self) -> Path | RemoteFolder:
        """Where the shards lie, as messages say it."""
        return self.folder if self.remote is None else self.remote.folder

    @property
    def shards_at(self) -> Path | RemoteSamples:
        """The folder of the shards, or what reads them where they are on a server."""
        return self.folder if self.remote is None else self.remote

    @property
    def name(self) -> str:
        """Name of the folder of the shards."""
        return self.folder.resolve().name if self.remote is None else self.remote.folder.name

    def __reduce__(self) -> tuple[Any, ...]:
        # Loader workers that are spawned open it again; maps are never copied.
        return (ShardIndex.open, (self.folder,)) if self.remote is None else self.remote.reopen()

    def path(self, position: int) -> ShardPlace:
        """The shard of a group."""
        if self.remote is not None:
            return self.remote.path(position)
        return _shard_path(self.folder, self.shards[self.shard[position]])

    def sample(self, position: int) -> Sample:
        """Reads a group with its images; see ``read_sample``."""
        if self.remote is not None:
            return self.remote.sample(position)
        return read_sample(self.path(position), int(self.offset[position]), int(self.length[position]))

    def record(self, position: int) -> Group:
        """Reads a group without its images; see ``read_record``."""
        if self.remote is not None:
            return self.remote.record(position)
        return read_record(self.path(position), int(self.offset[position]), int(self.length[position]))

    def starts(self, counts: NDArray[Any]) -> NDArray[np.int64]:
        """Where each group's rows begin in an ``each_…`` array, and its end: int64 ``[n + 1]``."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])

    def _check_lengths(self, counts: Mapping[str, int]) -> None:
        """Whether the arrays belong together; raises ValueError."""
        n, d = counts["groups"], len(self.dimensions)
        each = {f"each_{what}": counts[f"{what}s"] for what in EACH}
        for name in ARRAYS:
            array = getattr(self, name)
            first = next((count for start, count in each.items() if name.startswith(start)), n)
            if array.shape != ((first, d) if name in WIDE else (first,)):
                raise ValueError(f"{name} has shape {array.shape}")


@lru_cache(maxsize=4096)
def _shard_path(folder: Path, name: str) -> Path:
    """Where a shard lies; asked for with every sample, and joining paths takes longer than reading a header."""
    return folder / name


def _open_arrays(folder: Path, version: int) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind in ARRAYS.items():
        if version == WITHOUT_ANSWERS and ("answer" in name or name == "record_hash"):
            rows = 0 if name.startswith("each_") else len(arrays["shard"])
            arrays[name] = np.broadcast_to(np.zeros((), kind), (rows,))
            continue
        path = folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:
            array = np.load(path, allow_pickle=False)  # an array without elements cannot be mapped
        if array.dtype != np.dtype(kind):
            raise ValueError(f"{name} is {array.dtype}, not {kind}")
        arrays[name] = array
    return arrays


def _changes(then: Mapping[str, int], now: Mapping[str, int]) -> str:
    """What differs between the shards indexed and those there are, in words; empty if nothing."""
    told = [f"{name} is gone" for name in then if name not in now]
    told += [f"{name} is new" for name in now if name not in then]
    told += [
        f"{name} had {size} bytes and has {now[name]}" for name, size in then.items() if now.get(name, size) != size
    ]
    return ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")
