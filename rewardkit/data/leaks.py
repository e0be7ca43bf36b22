"""What two shard sets have in common: an evaluation on prompts or images that were trained on flatters the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.index import ShardIndex

SHOWN = 10
"""Examples of each kind that are read from the shards."""


@dataclass(frozen=True, slots=True)
class Shared:
    """One prompt or image that is in both sets.

    Attributes:
        what: The prompt, or the image's name.
        in_a: Id of the first group of ``a`` that has it.
        in_b: Id of the first group of ``b`` that has it.
    """

    what: str
    in_a: str
    in_b: str


@dataclass(frozen=True, slots=True)
class Leaks:
    """Numbers of distinct prompts and images in both sets, and the first few of each."""

    prompts: int
    images: int
    prompt_examples: list[Shared]
    image_examples: list[Shared]

    def __bool__(self) -> bool:
        return bool(self.prompts or self.images)


def leaks(a: ShardIndex, b: ShardIndex) -> Leaks:
    """Compares prompts (their text without surrounding space; empty ones aside) and images (their bytes).

    Compared are the 64-bit hashes of the index: two different texts among a million would collide with a chance of
    about 1 in 37 million.
    """
    prompts = np.intersect1d(a.prompt_hash, b.prompt_hash)
    prompts = prompts[prompts != 0]
    images = np.intersect1d(a.each_candidate_hash, b.each_candidate_hash)
    return Leaks(
        len(prompts),
        len(images),
        [_shared_prompt(a, b, value) for value in prompts[:SHOWN]],
        [_shared_image(a, b, value) for value in images[:SHOWN]],
    )


def _first(values: NDArray[np.uint64], value: np.uint64) -> int:
    return int(np.flatnonzero(values == value)[0])


def _shared_prompt(a: ShardIndex, b: ShardIndex, value: np.uint64) -> Shared:
    in_a, in_b = a.record(_first(a.prompt_hash, value)), b.record(_first(b.prompt_hash, value))
    return Shared(in_a.prompt, in_a.id, in_b.id)


def _shared_image(a: ShardIndex, b: ShardIndex, value: np.uint64) -> Shared:
    (file, in_a), (_, in_b) = (_image(index, _first(index.each_candidate_hash, value)) for index in (a, b))
    return Shared(file, in_a, in_b)


def _image(index: ShardIndex, candidate: int) -> tuple[str, str]:
    """Name of an image and id of its group, by its row among all candidates of the set."""
    starts = index.starts(index.candidates)
    position = int(np.searchsorted(starts, candidate, side="right")) - 1
    group = index.record(position)
    return group.candidates[candidate - int(starts[position])].file, group.id
