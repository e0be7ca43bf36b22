"""ImageRewardDB (Xu et al. 2023, arXiv 2304.05977; THUDM/ImageReward): images of a prompt in order, ties allowed.

Two layouts, told apart by their fields::

    train.json, valid.json, test.json
        [{"id": "005658-0040", "prompt": "…", "generations": ["a.webp", …], "ranking": [1, 2, 5, 3]}, …]
    metadata-train.parquet, metadata-validation.parquet, metadata-test.parquet   (or CSV, JSON, JSON lines)
        image_path,prompt_id,prompt,classification,image_amount_in_total,rank,overall_rating,
        image_text_alignment_rating,fidelity_rating                              one row per image
    images/train/train_1/ or images/train/train_1.zip

Rank 1 is best; ranks leave gaps and may exceed the number of images (``[1, 2, 5, 3]``). The set gives one order per
prompt, and nothing says that it was averaged: it is kept as that of one person without a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.reading.fields import as_number, image_path, image_paths, number, optional_text, text
from rewardkit.data.reading.fields import ranks as ranks_field
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.image_cells import image_cell
from rewardkit.data.reading.record_fields import fields_of
from rewardkit.data.reading.rows import check_columns
from rewardkit.data.reading.source_rows import source_rows
from rewardkit.data.reading.split_files import split_files
from rewardkit.data.reading.statements import Order, Rating, Said, Statement
from rewardkit.errors import UserError

SPLITS = {
    "train": ("train.json", "metadata-train.*"),
    "valid": ("valid.json", "metadata-valid*.*"),
    "test": ("test.json", "metadata-test.*"),
}
FILES = ("*.json", "*.jsonl", "*.parquet", "*.csv")
RANKED = ("id", "prompt", "generations", "ranking")
ROWS = ("prompt_id", "prompt")
"""Fields that a row of the hub's table must have, beside the image."""

RATINGS: Mapping[str, str] = {
    "overall_rating": "overall",
    "image_text_alignment_rating": "prompt_following",
    "fidelity_rating": "fidelity",
}
"""Column of a rating to its dimension."""

LOW, HIGH = 1, 7
PLACES = 5
"""Ranks of test.json go from 1 to 5, whatever the number of images."""


@dataclass
class ImageRewardOptions:
    """What can be asked of ImageRewardDB."""

    split: str | None = option(None)
    """Which published split to read: train, valid or test; needed where the folder holds more than one."""
    images: str = option("")
    """Folder that the paths are relative to, inside the source. Default: the source."""


class ImageRewardFormat:
    """See the module's docstring."""

    name = "imagereward"
    summary = "ImageRewardDB: train/valid/test.json with rankings, or the hub's metadata table with ratings"
    options = ImageRewardOptions

    def matches(self, src: Path) -> bool:
        """The first records have the fields of one of the layouts."""
        try:
            places = (
                [src]
                if src.is_file()
                else sorted(path for names in SPLITS.values() for name in names for path in src.glob(name))
            )
            found = set(fields_of(places[0] if places else split_files(src, None, SPLITS, FILES, self.name)[0][1]))
        except Exception:
            return False
        return {"generations", "ranking"} <= found or ("prompt_id" in found and bool(found & {*RATINGS, "rank"}))

    def read(self, src: Path, options: ImageRewardOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        for _, place in split_files(src, options.split, SPLITS, FILES, self.name):
            found = fields_of(place)
            if "generations" in found or "ranking" in found or not found:
                if found:  # Rows of a file that shows no fields say themselves what is wrong with it.
                    check_columns(found, place, log, needed=RANKED)
                say = partial(_record, folder=options.images)
            else:
                image = "image_path" if "image_path" in found else "image"
                labels = (*RATINGS, "rank")
                known = (image, *labels, "classification", "image_amount_in_total")
                check_columns(found, place, log, needed=ROWS, known=known)
                if image not in found:
                    raise UserError(f"{place}: there is no column image_path; there are {', '.join(found)}")
                if not set(labels) & set(found):
                    raise UserError(f"{place}: there is none of the columns {', '.join(labels)}")
                say = partial(_table_row, image=image, folder=options.images)
            yield from say_each(source_rows(place, src, log), log, say)


def _record(row: Row, folder: str) -> list[Said]:
    """The ranking of a record of ``train.json``, ``valid.json`` or ``test.json``."""
    images = image_paths(row.values, "generations")
    ranking = row.values.get("ranking")
    ranks_field(ranking, len(images), "ranking")
    assert isinstance(ranking, list)
    high = max(len(images), PLACES)
    said = Order(
        file=row.file,
        line=row.line,
        folder=folder,
        prompt=text(row.values, "prompt"),
        images=images,
        # Two records with one id are refused by their id, not joined: the place keeps them apart.
        group=f"{row.file}:{row.line}",
        id=text(row.values, "id"),
        ranks=tuple(as_number(rank, "ranking", low=1, high=high) for rank in ranking),
    )
    return [said]


def _table_row(row: Row, image: str, folder: str) -> list[Said]:
    """The rank and the ratings of one image, a row of the hub's table."""
    values = row.values
    name, data = (
        image_cell(values.get(image), image) if image == "image" else (image_path(values.get(image), image), None)
    )
    category = optional_text(values, "classification")
    id = text(values, "prompt_id")
    shared: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "folder": folder,
        "prompt": text(values, "prompt"),
        "images": (name,),
        "data": () if data is None else (data,),
        "group": id,
        "id": id,
        "tags": {} if category is None else {"classification": category},
    }
    said: list[Said] = []
    if not _missing(values.get("rank")):
        said.append(Order(**shared, ranks=(number(values, "rank", low=1, high=_most(values)),)))
    for column, dimension in RATINGS.items():
        if not _missing(values.get(column)):
            said.append(Rating(**shared, dimension=dimension, value=number(values, column, low=LOW, high=HIGH)))
    return said or [Statement(**shared)]


def _most(values: dict[str, Any]) -> float:
    """The last rank that an image of the row's prompt can have."""
    if _missing(values.get("image_amount_in_total")):
        return PLACES
    return max(number(values, "image_amount_in_total", low=1), PLACES)


def _missing(value: Any) -> bool:
    blank = isinstance(value, str) and not value.strip()
    return (
        value is None or blank or (isinstance(value, float) and value != value)
    )  # NaN, as pandas writes a missing one
