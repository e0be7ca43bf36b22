"""HPD v2 (Human Preference Dataset v2; Wu et al. 2023, arXiv 2306.09341), as its publishers lay it out.

::

    HPD/train.json   [{"human_preference": [1, 0], "prompt": "…", "file_path": ["a.jpg", "b.jpg"]}, …]   1 = preferred
    HPD/test.json    [{"prompt": "…", "image_path": ["a.jpg", …], "rank": [2, …],
                       "raw_annotations": [{"rank": [1, …], "user_hash": "…"}, …]}, …]                  1 = best
    HPD/train/a.jpg  HPD/test/a.jpg

The pairs of ``train.json`` that share a prompt become one group. In ``test.json`` each annotator's ranking is kept
under its ``user_hash`` and the averaged ``rank`` as ``AGGREGATE``. The files do not say which model made an image.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.formats.format import GroupWithImages, Image
from rewardkit.data.group import AGGREGATE, Candidate, Comparison, Group, Ranking
from rewardkit.errors import UserError

DIMENSION = "overall"
SPLITS = ("train", "test")


@dataclass
class Hpdv2Options:
    """What can be asked of HPD v2."""

    split: str | None = option(None)
    """Which published split to read: train, test, or train,test; needed where the folder holds both."""


class Hpdv2Format:
    """See the module's docstring."""

    name = "hpdv2"
    summary = "HPD v2: a folder with train.json and train/, or test.json and test/"
    options = Hpdv2Options

    def matches(self, src: Path) -> bool:
        """A folder that holds ``train.json`` or ``test.json``."""
        return any((src / f"{split}.json").is_file() for split in SPLITS)

    def read(self, src: Path, options: Hpdv2Options, notes: Counter[str]) -> Iterator[GroupWithImages]:
        """See ``Format.read``. The text of the annotation file is held in memory, the images are not."""
        for split in _splits(src, options.split):
            rows = _rows(src / f"{split}.json")
            yield from _train(src, rows, notes) if split == "train" else _test(src, rows)


def _splits(src: Path, asked: str | None) -> list[str]:
    """The splits to read.

    Raises:
        UserError: A split is unknown or not there, or it is not said which of two to read.
    """
    if not src.is_dir():
        raise UserError(f"src={src} is not a folder; format=hpdv2 takes the folder that holds train.json or test.json")
    present = [split for split in SPLITS if (src / f"{split}.json").is_file()]
    if not present:
        raise UserError(f"{src} holds neither train.json nor test.json; is it the folder HPD that was published?")
    if not asked:
        if len(present) > 1:
            raise UserError(f"{src} holds train.json and test.json: say split=train or split=test (one shard set each)")
        return present
    splits = [split.strip() for split in asked.split(",")]
    for split in splits:
        if split not in SPLITS:
            raise UserError(f"split={split}: HPD v2 has the splits train and test")
        if split not in present:
            raise UserError(f"split={split}: {src / f'{split}.json'} does not exist")
    return splits


def _rows(file: Path) -> list[Any]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON (cut off while downloading?): {error}") from None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{file} must be a list of records, and is {'empty' if rows == [] else type(rows).__name__}")
    return rows


def _image_folder(src: Path, split: str, first: str) -> Path:
    """The folder that paths are relative to: ``SPLIT/``, or ``src`` where the paths begin with it themselves."""
    candidates = (src / split, src)
    for folder in candidates:
        if (folder / first).is_file():
            return folder
    raise UserError(
        f"the first image of {src / f'{split}.json'} is {first!r}, and is neither in {candidates[0]} nor in "
        f"{candidates[1]}; unpack the images there"
    )


def _generator(path: str) -> str | None:
    """The folder that holds an image, where it names a model (the benchmark's ``MODEL/STYLE/00000.jpg`` does)."""
    parts = [part for part in PurePosixPath(path).parts[:-1] if part not in SPLITS]
    return parts[0] if parts else None


@dataclass(slots=True)
class _Prompt:
    """The pairs of one prompt of ``train.json``."""

    row: int
    index: dict[str, int] = field(default_factory=dict)
    votes: dict[tuple[int, int], list[float]] = field(default_factory=dict)


def _train(src: Path, rows: list[Any], notes: Counter[str]) -> Iterator[GroupWithImages]:
    """Groups of ``train.json``, in the order in which their prompts first stand."""
    file = src / "train.json"
    prompts: dict[str, _Prompt] = {}
    first = ""
    for number, row in enumerate(rows):
        prompt, paths, preference = _train_row(row, f"{file}, record {number}")
        first = first or paths[0]
        group = prompts.setdefault(prompt, _Prompt(number))
        if preference == (0, 0):
            notes["pairs of train.json with human_preference [0, 0], which prefers nobody: left out"] += 1
            continue
        i, j = (group.index.setdefault(path, len(group.index)) for path in paths)
        if preference == (1, 1):
            notes["pairs of train.json with human_preference [1, 1]: kept as ties"] += 1
        votes = group.votes.setdefault((min(i, j), max(i, j)), [0.0, 0.0, 0.0])
        better_is_lower_index = (preference == (1, 0)) == (i < j)
        votes[1 if preference == (1, 1) else 0 if better_is_lower_index else 2] += 1.0
    rows.clear()  # Only the gathered prompts are needed from here on.
    folder = _image_folder(src, "train", first)
    for number, (prompt, group) in enumerate(prompts.items()):
        if not group.index:
            continue
        record = Group(
            id=f"train-{number:06d}",
            prompt=prompt,
            candidates=tuple(Candidate(path, _generator(path)) for path in group.index),
            comparisons=tuple(
                Comparison(DIMENSION, i, j, (v[0], v[1], v[2])) for (i, j), v in sorted(group.votes.items())
            ),
            provenance={"format": "hpdv2", "file": "train.json", "record": group.row},
        )
        yield record, [folder / path for path in group.index]


def _train_row(row: Any, where: str) -> tuple[str, list[str], tuple[int, int]]:
    """Prompt, the two paths and the preference of a record of ``train.json``."""
    prompt, paths = _prompt_and_paths(row, "file_path", where)
    preference = row.get("human_preference")
    if not isinstance(preference, list) or len(preference) != 2 or any(value not in (0, 1) for value in preference):
        raise UserError(f"{where}: human_preference is {preference!r}; it must be two numbers, 1 for the preferred")
    if len(paths) != 2:
        raise UserError(f"{where}: file_path names {len(paths)} images; a record of train.json has two")
    return prompt, paths, (int(preference[0]), int(preference[1]))


def _prompt_and_paths(row: Any, name: str, where: str) -> tuple[str, list[str]]:
    if not isinstance(row, dict):
        raise UserError(f"{where}: it is a {type(row).__name__}, not an object")
    prompt, paths = row.get("prompt"), row.get(name)
    if not isinstance(prompt, str):
        raise UserError(f"{where}: prompt is {prompt!r}, not text")
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise UserError(f"{where}: prompt {prompt!r} holds half of a character; the text was cut in two")
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise UserError(f"{where}: {name} is {paths!r}; it must be a list of file names")
    if len(set(paths)) < len(paths):
        raise UserError(f"{where}: {name} names an image twice")
    return prompt, paths


def _test(src: Path, rows: list[Any]) -> Iterator[GroupWithImages]:
    """Groups of ``test.json``, one per record."""
    file = src / "test.json"
    folder: Path | None = None
    for number, row in enumerate(rows):
        where = f"{file}, record {number}"
        prompt, paths = _prompt_and_paths(row, "image_path", where)
        folder = folder or _image_folder(src, "test", paths[0])
        raw = row.get("raw_annotations", [])
        if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
            raise UserError(f"{where}: raw_annotations must be a list of objects with rank and user_hash")
        rankings = [
            Ranking(DIMENSION, str(item.get("user_hash", "")), _ranks(item.get("rank"), len(paths), where))
            for item in raw
        ]
        if "rank" in row:
            rankings.append(Ranking(DIMENSION, AGGREGATE, _ranks(row["rank"], len(paths), where)))
        if not rankings:
            raise UserError(f"{where}: there is neither rank nor raw_annotations")
        record = Group(
            id=f"test-{number:06d}",
            prompt=prompt,
            candidates=tuple(Candidate(path, _generator(path)) for path in paths),
            rankings=tuple(rankings),
            provenance={"format": "hpdv2", "file": "test.json", "record": number},
        )
        images: list[Image] = [folder / path for path in paths]
        yield record, images


def _ranks(value: Any, count: int, where: str) -> tuple[float, ...]:
    """One annotator's ranks; 1 is best.

    Raises:
        UserError: They are not one finite number per image.
    """
    if not isinstance(value, list) or len(value) != count:
        raise UserError(f"{where}: rank is {value!r}; it must be a list of {count} numbers, one per image")
    if not all(isinstance(rank, int | float) and math.isfinite(rank) and not isinstance(rank, bool) for rank in value):
        raise UserError(f"{where}: rank holds something that is not a number: {value!r}")
    return tuple(float(rank) for rank in value)
