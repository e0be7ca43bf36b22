"""Writes several shard sets as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rewardkit.data.index import Scale, ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.new_folder import new_folder
from rewardkit.data.shards import ShardWriter
from rewardkit.errors import BadSample, DataError, UserError


def merge_shards(
    indexes: Sequence[ShardIndex],
    out: Path,
    *,
    prefix: bool = False,
    progress: Callable[[int], None] = lambda groups: None,
) -> ShardIndex:
    """Copies the groups of several sets, one set after another, and indexes them.

    Args:
        indexes: The sets.
        out: Folder to make.
        prefix: Put the name of each set's folder before its groups' ids.
        progress: Called with the number of groups written, after each.

    Returns:
        The index of the new set; a dimension's scale is the smallest that holds the scales of all sets.

    Raises:
        UserError: Fewer than two sets, two groups with one id, or ``out`` exists.
        DataError: A sample cannot be read.
    """
    if len(indexes) < 2:
        raise UserError(f"merge needs two or more shard sets, separated by commas: src=A,B; {len(indexes)} given")
    scales: dict[str, Scale] = {}
    owner: dict[str, Path] = {}
    with new_folder(out) as folder:
        with ShardWriter(folder, "merged") as writer:
            for index in indexes:
                for dimension, scale in index.scales.items():
                    scales[dimension] = scales[dimension].union(scale) if dimension in scales else scale
                for position in range(len(index)):
                    try:
                        sample = index.sample(position)
                    except BadSample as error:
                        where = f"{index.path(position)}, sample at byte {index.offset[position]}"
                        raise DataError(f"{where}: {error.reason}; see `data verify src={index.folder}`") from error
                    group = sample.group
                    if prefix:
                        group = replace(group, id=f"{index.folder.resolve().name}-{group.id}")
                    if group.id in owner:
                        raise UserError(
                            f"{owner[group.id]} and {index.folder} both have a group {group.id!r}; leave one out "
                            f"(`data leaks` tells what they share), or give prefix=true to keep both"
                        )
                    owner[group.id] = index.folder
                    writer.write(group, sample.images)
                    progress(writer.groups)
        build_index(folder, scales=scales, made={"action": "merge", "src": [str(index.folder) for index in indexes]})
    return ShardIndex.open(out)
