"""Small shard sets of images with people's answers to EvalAlign's questions."""

from __future__ import annotations

import io
from pathlib import Path

from tiny_mllm import picture

from rewardkit.data.group import Answer, Candidate, Comparison, Group
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter


def answered_group(number: int) -> tuple[Group, list[bytes]]:
    """Two candidates of two generators, rated by two people; every second has a slot and a comparison."""
    answers = [
        Answer(dimension, candidate, person, value)  # type: ignore[arg-type]
        for candidate in range(2)
        for person in ("ann", "bob")
        for dimension, value in (
            ("body", "NA" if number % 3 == 0 else float((number + candidate) % 5)),
            ("object", float((2 * number + candidate + (person == "bob")) % 5)),
        )
    ]
    slots = {"Object": "elephant", "Count": "none"} if number % 2 else {}
    compared = (Comparison("common", 0, 1, (3.0, 0.0, 1.0)),) if number % 2 else ()
    images = []
    for candidate in range(2):
        file = io.BytesIO()
        picture(10 * number + candidate, 60, 56).save(file, format="PNG")
        images.append(file.getvalue())
    candidates = tuple(Candidate(f"{n}.png", generator=f"g{n}", width=60, height=56) for n in range(2))
    prompt = f"a cat, number {number}"
    made = Group(f"g{number}", prompt, candidates, comparisons=compared, answers=tuple(answers), slots=slots)
    return made, images


def write_answered(folder: Path, *, first: int, groups: int) -> Path:
    """A shard set of some groups, counted from ``first``."""
    folder.mkdir(parents=True)
    with ShardWriter(folder, folder.name, max_groups=4) as writer:
        for number in range(first, first + groups):
            writer.write(*answered_group(number))
    build_index(folder)
    return folder
