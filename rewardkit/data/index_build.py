"""Makes the index of a shard set: reads every sample once and writes ``index.json`` and its arrays."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rewardkit.data.comparisons import all_comparisons, rankings_of
from rewardkit.data.group import NOT_APPLICABLE, Group
from rewardkit.data.images import image_size
from rewardkit.data.index import ARRAYS, FORMAT_VERSION, INDEX_FILE, Scale, ShardIndex
from rewardkit.data.shards import Sample, StoredSample, open_sample, scan_shard, shard_paths
from rewardkit.errors import BadSample, DataError, UserError

MAX_PROMPT_LETTERS = 4096
"""Prompts are cut to this before their tokens are counted: the tokeniser's time grows faster than a word's length."""


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
    rows = _Rows()
    paths = shard_paths(folder)
    for number, path in enumerate(paths):
        rows.digest.update(f"shard {number}\n".encode())
        try:
            for stored in scan_shard(path):
                _add(rows, number, path.name, stored)
        except DataError as error:
            rows.problems.append({"shard": path.name, "key": "", "reason": str(error)})
        if progress is not None:
            progress(len(rows.shard))
    if rows.problems and not leave_out_bad:
        told = "\n".join(f"  {p['shard']} {p['key']}: {p['reason']}" for p in rows.problems[:10])
        more = f"\n  and {len(rows.problems) - 10} more" if len(rows.problems) > 10 else ""
        raise DataError(
            f"{folder}: {len(rows.problems)} samples cannot be indexed:\n{told}{more}\n"
            "Mend the shards, or index the others with `rewardkit data index src=… leave_out_bad=true`."
        )
    for name, seen in rows.scales.items():
        given = (scales or {}).get(name, seen)
        if given.union(seen) != given:
            raise DataError(f"{folder}: dimension {name!r} has answers of {seen}, outside the scale given, {given}")
    if not rows.shard:
        raise DataError(f"{folder}: the shards hold no group; a group is KEY.json with KEY.0.jpg, KEY.1.jpg, …")
    try:
        _write(folder, rows, paths, dict(scales or {}), dict(made or {}))
    except OSError as error:
        raise UserError(f"{folder}: the index cannot be written: {error.strerror or error}") from error
    return ShardIndex.open(folder)


@dataclass
class _Rows:
    """What has been read so far."""

    digest: Any = field(default_factory=hashlib.sha256)
    problems: list[dict[str, str]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    dimensions: set[str] = field(default_factory=set)
    scales: dict[str, Scale] = field(default_factory=dict)
    shard: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    captions: list[int] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    prompt_hash: list[int] = field(default_factory=list)
    each_candidate_hash: list[int] = field(default_factory=list)
    comparisons: list[tuple[str, float]] = field(default_factory=list)
    comparisons_in: list[int] = field(default_factory=list)
    rankings: list[tuple[int, str]] = field(default_factory=list)
    rated: list[tuple[int, str]] = field(default_factory=list)


def _add(rows: _Rows, shard: int, name: str, stored: StoredSample) -> None:
    """Adds one sample, or what is wrong with it."""
    where = rows.keys.get(stored.key)
    if where is not None:
        reason = f"the key is there twice: in {where} and in {name}"
        rows.problems.append({"shard": name, "key": stored.key, "reason": reason})
        return
    rows.keys[stored.key] = name
    try:
        sample = open_sample(stored)
    except BadSample as error:
        rows.problems.append({"shard": name, "key": stored.key, "reason": error.reason})
        return
    rows.shard.append(shard)
    rows.offset.append(stored.offset)
    rows.length.append(stored.length)
    _add_contents(rows, sample, stored)
    _add_labels(rows, sample.group)


def _add_contents(rows: _Rows, sample: Sample, stored: StoredSample) -> None:
    group = sample.group
    hashes = [hashlib.sha256(image).digest() for image in sample.images]
    record = hashlib.sha256(stored.files["json"]).digest()
    rows.digest.update(b"\0".join([sample.key.encode("utf-8", "surrogateescape"), record, *hashes]))
    rows.each_candidate_hash += [int.from_bytes(digest[:8], "little") for digest in hashes]
    rows.candidates.append(len(group.candidates))
    rows.captions.append(len(captions_of(group)))
    rows.prompt_tokens.append(prompt_tokens(group.prompt))
    rows.pixels.append(sum(map(_pixels, group.candidates, sample.images)))
    text = group.prompt.strip().encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, digest_size=8).digest()
    rows.prompt_hash.append(int.from_bytes(digest, "little") if text else 0)
    source = group.provenance.get("source")
    if isinstance(source, str):
        rows.sources[source] += 1


def _add_labels(rows: _Rows, group: Group) -> None:
    row = len(rows.shard) - 1
    first = len(rows.each_candidate_hash) - len(group.candidates)
    comparisons = all_comparisons(group)
    rows.comparisons += [(c.dimension, c.weight) for c in comparisons]
    rows.comparisons_in.append(len(comparisons))
    rows.dimensions.update(group.dimensions)
    rows.rankings += [(row, r.dimension) for dimension in group.dimensions for r in rankings_of(group, dimension)]
    for answer in group.answers:
        if answer.value != NOT_APPLICABLE:
            value = float(answer.value)
            seen = Scale(value, value, value.is_integer())
            known = rows.scales.get(answer.dimension)
            rows.scales[answer.dimension] = known.union(seen) if known else seen
            rows.rated.append((first + answer.candidate, answer.dimension))


def captions_of(group: Group) -> list[str]:
    """What each candidate really shows (``slots["captions"]``), one text each; empty where not known for all."""
    captions = group.slots.get("captions")
    if not isinstance(captions, list) or len(captions) != len(group.candidates):
        return []
    return captions if all(isinstance(caption, str) and caption.strip() for caption in captions) else []


def prompt_tokens(prompt: str) -> int:
    """CLIP BPE tokens of a text with start and end, not cut to a context length."""
    return len(_clip_tokenizer().encode(prompt[:MAX_PROMPT_LETTERS])) + 2


@lru_cache(maxsize=1)
def _clip_tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def _pixels(candidate: Any, image: bytes) -> int:
    width, height = candidate.width, candidate.height
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        try:
            width, height = image_size(image)
        except BadSample:
            return 0  # training meets it again, counts it and names it
    return width * height


def _arrays(rows: _Rows, dimensions: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The rows as the arrays of ``ShardIndex``."""
    n, d, column = len(rows.shard), len(dimensions), {name: i for i, name in enumerate(dimensions)}
    each_row = np.repeat(np.arange(n), rows.comparisons_in)
    each_dimension = np.array([column[name] for name, _ in rows.comparisons], np.int64)
    each_weight = np.array([weight for _, weight in rows.comparisons], np.float64)
    comparisons, rankings = np.zeros((n, d), np.int64), np.zeros((n, d), np.int64)
    weights = np.zeros((n, d))
    np.add.at(comparisons, (each_row, each_dimension), 1)
    np.add.at(weights, (each_row, each_dimension), each_weight)
    for row, name in rows.rankings:
        rankings[row, column[name]] += 1
    rated = np.zeros((len(rows.each_candidate_hash), d), bool)
    for candidate, name in rows.rated:
        rated[candidate, column[name]] = True
    ratings = np.zeros((n, d), np.int64)
    np.add.at(ratings, np.repeat(np.arange(n), rows.candidates), rated)
    made = {
        "comparisons": comparisons,
        "comparison_weight": weights,
        "rankings": rankings,
        "ratings": ratings,
        "each_comparison_dimension": each_dimension,
        "each_comparison_weight": each_weight,
        "each_candidate_rated": rated,
    }
    return {
        name: np.ascontiguousarray(made[name] if name in made else np.array(getattr(rows, name), kind), dtype=kind)
        for name, kind in ARRAYS.items()
    }


def _write(folder: Path, rows: _Rows, paths: list[Path], scales: dict[str, Scale], made: dict[str, Any]) -> None:
    """Writes the arrays to a new folder, then index.json in one step, then removes what an older index left."""
    dimensions = tuple(sorted(rows.dimensions))
    arrays = _arrays(rows, dimensions)
    digest = rows.digest.hexdigest()
    target = folder / f"index-{digest[:16]}"
    temporary = Path(tempfile.mkdtemp(prefix=".index-", dir=folder))
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
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
        "dimensions": dimensions,
        "scales": {name: asdict(scale) for name, scale in sorted({**rows.scales, **scales}.items())},
        "sources": dict(rows.sources),
        "counts": {
            "groups": len(rows.shard),
            "candidates": len(rows.each_candidate_hash),
            "comparisons": len(rows.comparisons),
            "rankings": len(rows.rankings),
        },
        "made": made,
        "left_out": rows.problems,
        "shards": [{"name": path.name, "bytes": path.stat().st_size} for path in paths],
    }
    part = folder / f".{INDEX_FILE}.part-{os.getpid()}"
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, folder / INDEX_FILE)
    for old in folder.glob("index-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
