"""Pick-a-Pic v1 and v2 (Kirstain et al. 2023, arXiv 2305.01569): pairs with both images inside parquet files.

::

    data/train-00000-of-00645-….parquet, validation_unique-….parquet, test_unique-….parquet, …
    caption, jpg_0, jpg_1 (bytes), label_0, label_1 (0, 0.5 or 1), image_0_uid, image_1_uid, model_0, model_1, user_id,
    ranking_id, best_image_uid, are_different, has_label, num_example_per_prompt, image_0_url, image_1_url, created_at

Also one such file, and the folder that Hugging Face ``datasets`` saves. An image is called by its uid, so that equal
uids of one prompt are one candidate.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.reading.fields import as_number, different, nearest, number, optional_text, source_folder, text
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.image_cells import image_cell
from rewardkit.data.reading.image_columns import rows_with_images
from rewardkit.data.reading.rows import check_columns, columns_of, table_files
from rewardkit.data.reading.statements import Choice, Said, Statement
from rewardkit.errors import UserError

SPLITS = ("train", "validation", "test", "validation_unique", "test_unique")
NEEDED = ("caption", "label_0", "label_1")
IMAGES = ("jpg_0", "jpg_1")
READ = (
    *NEEDED, "image_0_uid", "image_1_uid", "model_0", "model_1", "user_id", "are_different", "has_label",
    "num_example_per_prompt",
)  # fmt: skip
PRESENT = ("image_0_url", "image_1_url", "ranking_id", "best_image_uid", "created_at", "__index_level_0__")
"""Published columns that are not kept."""

EXAMPLES = "num_example_per_prompt"
VOTES = {(1.0, 0.0): (1.0, 0.0, 0.0), (0.5, 0.5): (0.0, 1.0, 0.0), (0.0, 1.0): (0.0, 0.0, 1.0)}


@dataclass
class PickaPicOptions:
    """What can be asked of Pick-a-Pic."""

    split: str | None = option(None)
    """Which published split to read: train, validation, test, validation_unique or test_unique, or several separated
    by commas; needed where the folder holds more than one."""
    only_different: bool = option(False)
    """Leave out pairs whose two images are the same (are_different is false)."""
    keep_unlabelled: bool = option(False)
    """Keep the images of pairs without a label (has_label is false); else such pairs are left out."""
    limit_examples_per_prompt: int | None = option(None, at_least=1)
    """Keep only the first so many pairs of each prompt."""
    weigh_examples: bool = option(False)
    """Give each pair the weight 1 / num_example_per_prompt, as PickScore is trained. The pairs of a group then become
    votes, without the names of the people. The number itself is always kept, in the slot num_example_per_prompt."""


class PickaPicFormat:
    """See the module's docstring."""

    name = "pickapic"
    summary = "Pick-a-Pic v1 and v2: parquet files with caption, jpg_0, jpg_1, label_0 and label_1"
    options = PickaPicOptions

    def matches(self, src: Path) -> bool:
        """The columns of the first file."""
        found = set(columns_of(src))
        return set(NEEDED) <= found and bool(found & {*IMAGES, "image_0_uid", "image_0_url"})

    def read(self, src: Path, options: PickaPicOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        files = _files(src, options.split)
        reader = _Reader(options, log)
        for number_of_file, (split, file) in enumerate(files):
            _check(file, log if number_of_file == 0 else ReadLog())
            reader.group = split if len({split for split, _ in files}) > 1 else None
            name = file.relative_to(source_folder(src)).as_posix()
            rows = rows_with_images(file, log, columns=READ, images=IMAGES, name=name)
            yield from say_each(rows, log, reader.say)


def _files(src: Path, asked: str | None) -> list[tuple[str, Path]]:
    """Split ("" where its name tells none) and path of each file to read.

    Raises:
        UserError: There is none, a split is not there, or it is not said which of several to read.
    """
    if not src.exists():
        raise UserError(f"src={src} does not exist")
    files = [(_split_of(file), file) for file in ([src] if src.is_file() else table_files(src))]
    present = list(dict.fromkeys(split for split, _ in files))
    if not asked:
        if len(present) > 1:
            ways = " or ".join(f"split={split}" for split in present if split)
            raise UserError(f"{src} holds several splits: say {ways} (one shard set each)")
        return files
    splits = [split.strip() for split in asked.split(",")]
    for split in splits:
        if split not in SPLITS:
            raise UserError(f"split={split} is not a split of Pick-a-Pic. {nearest(split, SPLITS)}")
        if split not in present:
            held = ", ".join(split or "files whose names tell no split" for split in present)
            raise UserError(f"split={split}: {src} has no file {split}-*; there are {held}")
    return [(split, file) for split, file in files if split in splits]


def _split_of(file: Path) -> str:
    """The split that a file's name begins with (``train-00000-of-00645.parquet``), or that its folder is called by."""
    start = file.name.partition("-")[0].removesuffix(file.suffix)
    return next((name for name in (start, file.parent.name) if name in SPLITS), "")


def _check(file: Path, log: ReadLog) -> None:
    """Whether a file has the columns.

    Raises:
        UserError: A column is missing; the images may be given by URL only.
    """
    found = columns_of(file)
    if not found:
        return  # Reading says why.
    check_columns(found, file, log, needed=NEEDED, known=(*READ, *IMAGES, *PRESENT))
    missing = [name for name in IMAGES if name not in found]
    if missing and any(f"image_{side}_url" in found for side in (0, 1)):
        raise UserError(
            f"{file} gives the images by URL only (no column {' and '.join(missing)}): it is the set without images. "
            "Take the one with images (pickapic_v1, pickapic_v2), or download them and use format=csv"
        )
    if missing:
        check_columns(found, file, log, needed=IMAGES)


@dataclass(slots=True)
class _Reader:
    """Rows to statements, with the count of pairs per prompt where these are limited."""

    options: PickaPicOptions
    log: ReadLog
    group: str | None = None
    seen: Counter[bytes] = field(default_factory=Counter)

    def say(self, row: Row) -> list[Said]:
        values = row.values
        cells = [_image(values, side) for side in (0, 1)]
        prompt = text(values, "caption")
        same = _flag(values, "are_different") is False
        if same and (self.options.only_different or cells[0][0] == cells[1][0]):
            self.log.notes["pairs of two equal images (are_different is false): left out"] += 1
            return []
        examples = self._examples(values)
        shared: dict[str, Any] = {
            "file": row.file,
            "line": row.line,
            "prompt": prompt,
            "images": different(tuple(name for name, _ in cells), "the pair"),
            "data": tuple(data for _, data in cells),
            "generators": tuple(optional_text(values, f"model_{side}") for side in (0, 1)),
            "by": optional_text(values, "user_id") or "",
            "group": self.group,
            "slots": {} if examples is None else {EXAMPLES: examples},
        }
        votes = _votes(values)
        if votes is None and not self.options.keep_unlabelled:
            self.log.notes["pairs without a label (has_label is false): left out, keep_unlabelled=true keeps them"] += 1
            return []
        if self._beyond_limit(prompt):
            self.log.notes["pairs beyond limit_examples_per_prompt: left out"] += 1
            return []
        if votes is None:
            return [Statement(**shared)]
        weight = 1.0 / examples if self.options.weigh_examples and examples else 1.0
        return [Choice(**shared, votes=votes, weight=weight)]

    def _examples(self, values: dict[str, Any]) -> int | None:
        if values.get(EXAMPLES) is None:
            if self.options.weigh_examples:
                raise ValueError(f"{EXAMPLES} is missing, by which weigh_examples=true weighs")
            return None
        found = number(values, EXAMPLES, low=1)
        if found != int(found):
            raise ValueError(f"{EXAMPLES} is {values[EXAMPLES]!r}; it must be a whole number")
        return int(found)

    def _beyond_limit(self, prompt: str) -> bool:
        limit = self.options.limit_examples_per_prompt
        if limit is None:
            return False
        key = hashlib.blake2b(f"{self.group}\0{prompt}".encode(), digest_size=8).digest()
        self.seen[key] += 1
        return self.seen[key] > limit


def _image(values: dict[str, Any], side: int) -> tuple[str, bytes]:
    """Name and bytes of an image of the pair: its uid, or else a digest of the bytes."""
    column = f"jpg_{side}"
    name, data = image_cell(values.get(column), column)
    if data is None:
        raise ValueError(f"{column} is {name!r}; it must hold the image file's bytes")
    return optional_text(values, f"image_{side}_uid") or name, data


def _flag(values: dict[str, Any], name: str) -> bool | None:
    """A truth value; 0 and 1 count as such, None is not known."""
    value = values.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if value not in (0, 1):
        raise ValueError(f"{name} is {value!r}; it must be true or false")
    return bool(value)


def _votes(values: dict[str, Any]) -> tuple[float, float, float] | None:
    """Votes for the first, for a tie, for the second; None where the pair has no label."""
    labelled = _flag(values, "has_label")
    labels = [values.get(name) for name in ("label_0", "label_1")]
    missing = [label is None or (isinstance(label, float) and math.isnan(label)) for label in labels]
    if labelled is False or (labelled is None and all(missing)):
        return None
    first, second = (as_number(value, name) for value, name in zip(labels, ("label_0", "label_1"), strict=True))
    votes = VOTES.get((first, second))
    if votes is None:
        raise ValueError(
            f"label_0 and label_1 are {labels[0]!r} and {labels[1]!r}; they must be 1 and 0, 0 and 1, or 0.5 and 0.5"
        )
    return votes
