"""The rows of an index, shard by shard: made while a shard is written or scanned, kept small, joined at the end."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.comparisons import all_comparisons, is_decided, ranked_dimensions
from rewardkit.data.group import NOT_APPLICABLE, Group
from rewardkit.data.index import ARRAYS, INDEX_FILE, WIDE, Scale, ShardIndex
from rewardkit.data.prompt_tokens import prompt_tokens
from rewardkit.data.shard_writer import Written
from rewardkit.errors import UserError


@dataclass(frozen=True, slots=True)
class IndexRows:
    """What the index says of one shard, or of several.

    Attributes:
        shards: Name, bytes and digest of each.
        dimensions: Sorted; columns of the wide arrays.
        scales: Range of the answers of each dimension that has numeric ones.
        sources: Name of a data set to its groups.
        left_out: Samples that could not be indexed: shard, key, reason.
        arrays: As ``ShardIndex`` has them; ``shard`` counts from 0 here.
    """

    shards: Sequence[Mapping[str, Any]]
    dimensions: tuple[str, ...]
    scales: Mapping[str, Scale]
    sources: Mapping[str, int]
    left_out: Sequence[Mapping[str, str]]
    arrays: Mapping[str, NDArray[Any]]

    def save(self, file: Path) -> None:
        """Writes them to one ``.npz``."""
        about = {
            "shards": list(self.shards),
            "dimensions": self.dimensions,
            "scales": {name: asdict(scale) for name, scale in self.scales.items()},
            "sources": dict(self.sources),
            "left_out": list(self.left_out),
        }
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez(file, about=text, **self.arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, file: Path) -> IndexRows:
        """Reads what ``save`` wrote."""
        with np.load(file, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            arrays = {name: stored[name] for name in ARRAYS}
        scales = {name: Scale(**scale) for name, scale in about["scales"].items()}
        dimensions = tuple(about["dimensions"])
        return cls(about["shards"], dimensions, scales, about["sources"], about["left_out"], arrays)

    @classmethod
    def of_index(cls, index: ShardIndex) -> IndexRows:
        """The rows of a whole shard set; its arrays stay mapped.

        Raises:
            UserError: The index is of a format that does not list the answers.
        """
        if not index.lists_answers:
            raise UserError(
                f"{index.folder / INDEX_FILE}: its format does not list the answers one by one; run "
                f"`rewardkit data index src={index.folder}`"
            )
        shards = [
            {"name": name, "bytes": size, "digest": digest}
            for name, size, digest in zip(index.shards, index.shard_bytes, index.shard_digests, strict=True)
        ]
        arrays = {name: getattr(index, name) for name in ARRAYS}
        return cls(shards, index.dimensions, index.scales, index.sources, index.left_out, arrays)


@dataclass(slots=True)
class ShardRows:
    """The rows of one shard while its samples come in."""

    digest: Any = field(default_factory=hashlib.sha256)
    left_out: list[dict[str, str]] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    dimensions: set[str] = field(default_factory=set)
    scales: dict[str, Scale] = field(default_factory=dict)
    offset: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    captions: list[int] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    prompt_hash: list[int] = field(default_factory=list)
    key_hash: list[int] = field(default_factory=list)
    record_hash: list[int] = field(default_factory=list)
    each_candidate_hash: list[int] = field(default_factory=list)
    comparisons: list[tuple[str, float, bool]] = field(default_factory=list)
    comparisons_in: list[int] = field(default_factory=list)
    rankings: list[tuple[int, str]] = field(default_factory=list)
    rated: list[tuple[int, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    each_answer_candidate: list[int] = field(default_factory=list)
    each_answer_value: list[float] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)

    def add(self, sample: Written) -> None:
        """Adds one sample; its record names the sha256 and size of every image."""
        group = sample.group
        hashes = [bytes.fromhex(candidate.sha256 or "") for candidate in group.candidates]
        name = sample.key.encode("utf-8", "surrogateescape")
        record = hashlib.sha256(sample.record).digest()
        self.digest.update(b"\0".join([name, record, *hashes]))
        self.record_hash.append(int.from_bytes(record[:8], "little"))
        self.offset.append(sample.offset)
        self.length.append(sample.length)
        self.key_hash.append(hash_of(name))
        self.each_candidate_hash += [int.from_bytes(digest[:8], "little") for digest in hashes]
        self.candidates.append(len(group.candidates))
        self.captions.append(len(captions_of(group)))
        self.prompt_tokens.append(prompt_tokens(group.prompt))
        self.pixels.append(sum((c.width or 0) * (c.height or 0) for c in group.candidates))
        text = group.prompt.strip().encode("utf-8", "surrogatepass")
        self.prompt_hash.append(hash_of(text) if text else 0)
        source = group.provenance.get("source")
        if isinstance(source, str):
            self.sources[source] += 1
        self._add_labels(group)

    def _add_labels(self, group: Group) -> None:
        row = len(self.offset) - 1
        first = len(self.each_candidate_hash) - len(group.candidates)
        comparisons = all_comparisons(group)
        self.comparisons += [(c.dimension, c.weight, is_decided(*c.votes)) for c in comparisons]
        self.comparisons_in.append(len(comparisons))
        self.dimensions.update(group.dimensions)
        if group.rankings or group.answers:
            self.rankings += [(row, dimension) for dimension in ranked_dimensions(group)]
        self.answers.append(len(group.answers))
        for answer in group.answers:
            self.answered.append(answer.dimension)
            self.each_answer_candidate.append(answer.candidate)
            self.each_answer_value.append(math.nan if answer.value == NOT_APPLICABLE else float(answer.value))
            if answer.value != NOT_APPLICABLE:
                value = float(answer.value)
                seen = Scale(value, value, value.is_integer())
                known = self.scales.get(answer.dimension)
                self.scales[answer.dimension] = known.union(seen) if known else seen
                self.rated.append((first + answer.candidate, answer.dimension))

    def rows(self, name: str, size: int) -> IndexRows:
        """All that was added, as the rows of a shard of that name and size in bytes."""
        dimensions = tuple(sorted(self.dimensions))
        shard = {"name": name, "bytes": size, "digest": self.digest.hexdigest()}
        return IndexRows([shard], dimensions, self.scales, self.sources, self.left_out, self._arrays(dimensions))

    def _arrays(self, dimensions: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        n, d, column = len(self.offset), len(dimensions), {name: i for i, name in enumerate(dimensions)}
        each_row = np.repeat(np.arange(n), self.comparisons_in)
        each_dimension = np.array([column[name] for name, _, _ in self.comparisons], np.int64)
        each_weight = np.array([weight for _, weight, _ in self.comparisons], np.float64)
        each_decided = np.array([decided for _, _, decided in self.comparisons], bool)
        comparisons, rankings = np.zeros((n, d), np.int64), np.zeros((n, d), np.int64)
        decided = np.zeros((n, d), np.int64)
        weights, decided_weights = np.zeros((n, d)), np.zeros((n, d))
        np.add.at(comparisons, (each_row, each_dimension), 1)
        np.add.at(weights, (each_row, each_dimension), each_weight)
        np.add.at(decided, (each_row, each_dimension), each_decided)
        np.add.at(decided_weights, (each_row, each_dimension), each_weight * each_decided)
        for row, name in self.rankings:
            rankings[row, column[name]] += 1
        rated = np.zeros((len(self.each_candidate_hash), d), bool)
        for candidate, name in self.rated:
            rated[candidate, column[name]] = True
        ratings = np.zeros((n, d), np.int64)
        np.add.at(ratings, np.repeat(np.arange(n), self.candidates), rated)
        made: dict[str, NDArray[Any]] = {
            "shard": np.zeros(n, np.int32),
            "comparisons": comparisons,
            "comparison_weight": weights,
            "decided": decided,
            "decided_weight": decided_weights,
            "rankings": rankings,
            "ratings": ratings,
            "each_comparison_dimension": each_dimension,
            "each_comparison_weight": each_weight,
            "each_comparison_decided": each_decided,
            "each_candidate_rated": rated,
            "each_answer_dimension": np.array([column[name] for name in self.answered], np.int64),
        }
        return {
            name: np.ascontiguousarray(made[name] if name in made else np.array(getattr(self, name), kind), dtype=kind)
            for name, kind in ARRAYS.items()
        }


def spread(array: NDArray[Any], columns: Sequence[int], width: int) -> NDArray[Any]:
    """A wide array ``[n, d]`` in the columns of a set with more dimensions: ``[n, width]``."""
    made = np.zeros((len(array), width), array.dtype)
    made[:, list(columns)] = array
    return made


def aligned(name: str, array: NDArray[Any], columns: Sequence[int], width: int, first_shard: int) -> NDArray[Any]:
    """An array of one part as it stands in the joined index.

    Args:
        name: Which.
        array: Of the part.
        columns: Column of each of the part's dimensions in the joined index.
        width: Dimensions of the joined index.
        first_shard: Number of the part's first shard there.
    """
    if name == "shard":
        return array + np.int32(first_shard)
    if name in ("each_comparison_dimension", "each_answer_dimension"):
        return np.asarray(columns, array.dtype)[array] if len(array) else array
    return spread(array, columns, width) if name in WIDE else array


def hash_of(text: bytes) -> int:
    """64-bit hash of a text, as the index keeps them."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def captions_of(group: Group) -> list[str]:
    """What each candidate really shows (``slots["captions"]``), one text each; empty where not known for all."""
    captions = group.slots.get("captions")
    if not isinstance(captions, list) or len(captions) != len(group.candidates):
        return []
    return captions if all(isinstance(caption, str) and caption.strip() for caption in captions) else []
