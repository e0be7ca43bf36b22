"""Splits a shard set into training and validation sets by a hash: by prompt, or by generator, once or in folds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from rewardkit.data.comparisons import all_comparisons
from rewardkit.data.group import Group
from rewardkit.data.index import ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.new_folder import new_folder
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.data.shards import Sample
from rewardkit.data.subset import subset
from rewardkit.errors import BadSample, DataError, UserError

SIDES = ("train", "val")


@dataclass(frozen=True, slots=True)
class Part:
    """One training and validation set that was written.

    Attributes:
        path: ``""`` or ``fold-K`` within the folder.
        held_out: Sets of groups that belong together, or generators, in the validation set.
        train: Groups written.
        val: Groups written.
    """

    path: str
    held_out: int
    train: int
    val: int


def split_shards(
    index: ShardIndex,
    out: Path,
    *,
    by: Literal["prompt", "generator"] = "prompt",
    fraction: float = 0.1,
    folds: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda groups: None,
) -> list[Part]:
    """Writes ``train/`` and ``val/`` below ``out``, or below ``out/fold-0`` and so on.

    By prompt, groups that share a prompt or an image always stay together. By generator, the images of held-out
    generators leave the training groups, and the validation groups keep the comparisons that such an image is in.
    What is held out is a function of (content, seed) alone, not of the order of the shards: units are sorted by a hash
    and the first ``round(fraction × units)``, at least one, are held out; fold k holds out every ``folds``-th from k.

    Args:
        index: The shard set.
        out: Folder to make.
        by: What is held out.
        fraction: Share of the prompts or generators, between 0 and 1; unused with ``folds``.
        folds: Number of splits in which each unit is held out once.
        seed: Another seed gives another split.
        progress: Called with the number of groups read, after each.

    Raises:
        UserError: There are too few units, or ``out`` exists.
        DataError: A sample cannot be read, or one side would be empty.
    """
    units = _prompt_units(index) if by == "prompt" else _generators(index)
    held_out = _held_out(sorted(set(units)), fraction, folds, seed, by)
    names = [""] if folds is None else [f"fold-{k}" for k in range(folds)]
    places = [Path(name) / side for name in names for side in SIDES]
    with new_folder(out) as folder:
        with ExitStack() as stack:
            writers = [stack.enter_context(ShardWriter(folder / place, place.name)) for place in places]
            for position in range(len(index)):
                sample = _read(index, position)
                unit = units[position] if by == "prompt" else None
                groups = (group for held in held_out for group in _sides(sample.group, unit, held))
                for writer, group in zip(writers, groups, strict=True):
                    if group is not None:
                        writer.write(group, _images(sample, group))
                progress(position + 1)
        for place, writer in zip(places, writers, strict=True):
            if not writer.groups:
                raise DataError(f"{place} would hold no group; choose another fraction, folds or seed")
            how = {"action": "split", "src": str(index.place), "by": by, "seed": seed, "of": index.digest}
            build_index(folder / place, scales=index.scales, made=how)
    written = [writer.groups for writer in writers]
    return [
        Part(name, len(held), train, val)
        for name, held, train, val in zip(names, held_out, written[::2], written[1::2], strict=True)
    ]


def _sides(group: Group, unit: str | None, held: set[str]) -> tuple[Group | None, Group | None]:
    """What of a group goes to train and to val; ``unit`` is None where generators are held out."""
    if unit is not None:
        return (None, group) if unit in held else (group, None)
    return without_generators(group, held), against_generators(group, held)


def _held_out(units: Sequence[str], fraction: float, folds: int | None, seed: int, by: str) -> list[set[str]]:
    """The units of each split's validation set."""
    needed = max(2, folds or 0)
    if len(units) < needed:
        what = "sets of prompts without a common image" if by == "prompt" else "named generators"
        raise UserError(
            f"a split {f'in folds={folds} ' if folds else ''}needs at least {needed} {what}; {len(units)} found"
        )
    ordered = sorted(units, key=lambda unit: hashlib.sha256(f"{seed}:{unit}".encode()).digest())
    if folds is not None:
        return [set(ordered[k::folds]) for k in range(folds)]
    count = min(max(1, round(fraction * len(ordered))), len(ordered) - 1)
    return [set(ordered[:count])]


def _prompt_units(index: ShardIndex) -> list[str]:
    """For each group the name of the set that must stay together: groups linked by a prompt or an image."""
    starts = index.starts(index.candidates)
    root: dict[str, str] = {}

    def find(name: str) -> str:
        root.setdefault(name, name)
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    def join(one: str, other: str) -> None:
        # The smaller name is the root, so that the result does not depend on the order of the groups.
        a, b = find(one), find(other)
        root[max(a, b)] = min(a, b)

    first_links: list[str] = []
    for position, prompt in enumerate(index.prompt_hash):
        images = [f"image {value}" for value in index.each_candidate_hash[starts[position] : starts[position + 1]]]
        # An empty prompt (hash 0) links nothing.
        links = [f"prompt {prompt}", *images] if prompt != np.uint64(0) else images
        for link in links:
            join(links[0], link)
        first_links.append(links[0])
    return [find(link) for link in first_links]


def _generators(index: ShardIndex) -> list[str]:
    """Every generator's name."""
    names = {candidate.generator for position in range(len(index)) for candidate in _record(index, position).candidates}
    if names == {None}:
        raise UserError(f"{index.place}: no candidate names its generator, so by=generator cannot hold any out")
    return sorted(name for name in names if name is not None)


def without_generators(group: Group, held: Iterable[str]) -> Group | None:
    """The group without the images of some generators; None where nothing that anybody said is left."""
    held = set(held)
    members = [n for n, candidate in enumerate(group.candidates) if candidate.generator not in held]
    if not members:
        return None
    left = subset(group, members)
    return left if left.comparisons or left.rankings or left.answers else None


def against_generators(group: Group, held: Iterable[str]) -> Group | None:
    """The group's comparisons in which an image of some generators is; None where there are none."""
    held = set(held)
    new = {n for n, candidate in enumerate(group.candidates) if candidate.generator in held}
    kept = tuple(c for c in all_comparisons(group) if c.first in new or c.second in new)
    members = sorted({n for c in kept for n in (c.first, c.second)})
    return subset(replace(group, comparisons=kept, rankings=(), answers=()), members) if kept else None


def _images(sample: Sample, group: Group) -> list[bytes]:
    """The images of those candidates that are in the group."""
    data = {candidate.file: image for candidate, image in zip(sample.group.candidates, sample.images, strict=True)}
    return [data[candidate.file] for candidate in group.candidates]


def _read(index: ShardIndex, position: int) -> Sample:
    try:
        return index.sample(position)
    except BadSample as error:
        raise _unreadable(index, position, error) from error


def _record(index: ShardIndex, position: int) -> Group:
    try:
        return index.record(position)
    except BadSample as error:
        raise _unreadable(index, position, error) from error


def _unreadable(index: ShardIndex, position: int, error: BadSample) -> DataError:
    return DataError(
        f"{index.path(position)}, sample at byte {index.offset[position]}: {error.reason}; "
        f"`rewardkit data verify src={index.place}` lists all such samples"
    )
