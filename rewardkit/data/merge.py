"""Several shard sets as one: the shards under new names, their index rows joined. Nothing is read or written again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from rewardkit.data.index import Scale, ShardIndex
from rewardkit.data.index_build import Part, build_index, write_index
from rewardkit.data.index_rows import IndexRows
from rewardkit.data.new_folder import new_folder
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.data.shards import key_at
from rewardkit.errors import BadSample, DataError, UserError

NAME = "merged"


def merge_shards(
    indexes: Sequence[ShardIndex],
    out: Path,
    *,
    prefix: bool = False,
    progress: Callable[[int], None] = lambda groups: None,
) -> ShardIndex:
    """Joins several sets, one after another.

    Shards become hard links, which take no room on the disk, or copies where the file system has none. With
    ``prefix`` every record changes, so the samples are written anew.

    Args:
        indexes: The sets.
        out: Folder to make.
        prefix: Put the name of each set's folder before its groups' ids.
        progress: Called with the number of groups so far.

    Returns:
        The index of the new set; a dimension's scale is the smallest that holds the scales of all sets.

    Raises:
        UserError: Fewer than two sets, two groups with one id, or ``out`` exists.
        DataError: A sample cannot be read.
    """
    if len(indexes) < 2:
        raise UserError(f"merge needs two or more shard sets, separated by commas: src=A,B; {len(indexes)} given")
    scales: dict[str, Scale] = {}
    for index in indexes:
        for dimension, scale in index.scales.items():
            scales[dimension] = scales[dimension].union(scale) if dimension in scales else scale
    made = {"action": "merge", "src": [str(index.folder) for index in indexes]}
    if not prefix:
        _refuse_doubles(indexes)
    with new_folder(out) as folder:
        if prefix:
            _write_anew(indexes, folder, progress)
            build_index(folder, scales=scales, made=made)
        else:
            write_index(folder, _link_all(indexes, folder, progress), scales=scales, made=made)
    return ShardIndex.open(out)


def _refuse_doubles(indexes: Sequence[ShardIndex]) -> None:
    """Raises UserError where two sets have a group of one key, by the keys' hashes."""
    for n, index in enumerate(indexes):
        for other in indexes[:n]:
            shared, here, _ = np.intersect1d(index.key_hash, other.key_hash, return_indices=True)
            if len(shared):
                key = key_at(index.path(int(here[0])), int(index.offset[here[0]]))
                raise UserError(
                    f"{other.folder} and {index.folder} both have a group {key!r}; leave one out (`data leaks` tells "
                    "what they share), or give prefix=true to keep both"
                )


def _link_all(indexes: Sequence[ShardIndex], folder: Path, progress: Callable[[int], None]) -> list[Part]:
    """The shards of all sets under new names; their rows, with these names."""
    parts: list[Part] = []
    count = groups = 0
    for index in indexes:
        names = {}
        for old in index.shards:
            names[old] = f"{NAME}-{count:06d}.tar"
            link_or_copy(index.folder / old, folder / names[old])
            count += 1
        parts.append(_renamed(index, names))
        groups += len(index)
        progress(groups)
    return parts


def link_or_copy(file: Path, target: Path) -> None:
    """The file under a second name, on the disk once; a copy where the file system has no hard links."""
    with suppress(OSError):
        os.link(file, target)
        return
    shutil.copyfile(file, target)


def _renamed(index: ShardIndex, names: dict[str, str]) -> Part:
    def rows() -> IndexRows:
        found = IndexRows.of_index(index)
        return replace(
            found,
            shards=[{**shard, "name": names[shard["name"]]} for shard in found.shards],
            left_out=[{**bad, "shard": names[bad["shard"]]} for bad in found.left_out],
        )

    return rows


def _write_anew(indexes: Sequence[ShardIndex], folder: Path, progress: Callable[[int], None]) -> None:
    """Every sample with its set's name before its id."""
    with ShardWriter(folder, NAME) as writer:
        for index in indexes:
            for position in range(len(index)):
                try:
                    sample = index.sample(position)
                except BadSample as error:
                    where = f"{index.path(position)}, sample at byte {index.offset[position]}"
                    raise DataError(f"{where}: {error.reason}; see `data verify src={index.folder}`") from error
                group = replace(sample.group, id=f"{index.folder.resolve().name}-{sample.group.id}")
                writer.write(group, sample.images)
                progress(writer.groups)
