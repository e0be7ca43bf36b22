"""MHP, the multi-dimensional human preferences behind MPS (CVPR 2024, arXiv 2405.14705): pairs with four labels each.

The set has not been released and the repository holds no reader of it, so how its files look is unknown. This is the
layout in which rewardkit takes such data; the dimensions are the project's, the names of the columns are ours::

    prompt,image_0,image_1,aesthetics,detail,alignment,overall[,model_0,model_1,rater]   (or JSON, parquet)

A label is the share of people who prefer ``image_0``: 1, 0, 0.5 for a tie, or a number between; or a list
``[image_0, image_1]`` or ``[image_0, tie, image_1]`` of shares; or two columns ``NAME_label_0`` and ``NAME_label_1``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.reading.fields import as_number, different, optional_text, text
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.image_cells import image_cell
from rewardkit.data.reading.rows import check_columns, columns_of
from rewardkit.data.reading.source_rows import annotation_place, source_rows
from rewardkit.data.reading.statements import Choice, Said, Statement
from rewardkit.errors import UserError

DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "aesthetics": ("aesthetics", "aesthetic"),
    "detail": ("detail", "detail_quality"),
    "alignment": ("alignment", "semantic_alignment"),
    "overall": ("overall",),
}
"""Dimension to the names that its column may have."""

FILES = ("*.csv", "*.json", "*.jsonl", "*.parquet")
KNOWN = ("model_0", "model_1", "rater")
NEEDED = ("prompt", "image_0", "image_1")


@dataclass
class MpsOptions:
    """What can be asked of MHP."""

    images: str = option("")
    """Folder of the images, inside the source. Default: the source."""


class MpsFormat:
    """See the module's docstring."""

    name = "mps"
    summary = "MHP (MPS): pairs with labels on aesthetics, detail, alignment and overall"
    options = MpsOptions

    def matches(self, src: Path) -> bool:
        """The columns are a pair and one of the dimensions."""
        try:
            found = columns_of(annotation_place(src, FILES, self.name))
        except UserError:
            return False
        return set(NEEDED) <= set(found) and bool(_labels(found))

    def read(self, src: Path, options: MpsOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        place = annotation_place(src, FILES, self.name)
        found = columns_of(place)
        labels = _labels(found)
        if found:  # Rows of a file that shows no fields say themselves what is wrong with it.
            every = [column for columns in labels.values() for column in columns]
            check_columns(found, place, log, needed=NEEDED, known=(*KNOWN, *every))
            if not labels:
                raise UserError(
                    f"{place}: there is no column with labels on {', '.join(DIMENSIONS)}; there are {', '.join(found)}"
                )
        yield from say_each(source_rows(place, src, log), log, partial(_say, labels=labels, folder=options.images))


def _labels(found: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Dimension to its one column or its two."""
    made: dict[str, tuple[str, ...]] = {}
    for dimension, names in DIMENSIONS.items():
        for name in names:
            for columns in ((name,), (f"{name}_label_0", f"{name}_label_1")):
                if set(columns) <= set(found):
                    made.setdefault(dimension, columns)
    return made


def _say(row: Row, labels: Mapping[str, tuple[str, ...]], folder: str) -> list[Said]:
    values = row.values
    cells = [image_cell(values.get(column), column) for column in ("image_0", "image_1")]
    shared: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "folder": folder,
        "prompt": text(values, "prompt"),
        "images": different(tuple(name for name, _ in cells), "the pair"),
        "data": tuple(data for _, data in cells),
        "generators": (optional_text(values, "model_0"), optional_text(values, "model_1")),
        "by": optional_text(values, "rater") or "",
    }
    said: list[Said] = []
    for dimension, columns in labels.items():
        votes = _votes([values.get(column) for column in columns], " and ".join(columns))
        if votes is not None:
            said.append(Choice(**shared, dimension=dimension, votes=votes))
    return said or [Statement(**shared)]


def _votes(cells: list[Any], name: str) -> tuple[float, float, float] | None:
    """Votes for the first, for a tie, for the second; None where the label is missing."""
    value: Any = cells[0] if len(cells) == 1 else cells
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"{name} is {value!r}; it must be a number or a list of shares") from None
    if isinstance(value, list) and not all(_missing(item) for item in value):
        shares = [as_number(item, name, low=0, high=1) for item in value]
        if len(shares) not in (2, 3) or not math.isclose(sum(shares), 1.0, abs_tol=1e-3):
            raise ValueError(f"{name} is {value!r}; it must be two or three shares whose sum is 1")
        if len(shares) == 3:
            return (shares[0], shares[1], shares[2])
        first, second = shares
    elif isinstance(value, list) or _missing(value):
        return None
    else:
        first = as_number(value, name, low=0, high=1)
        second = 1.0 - first
    return (0.0, 1.0, 0.0) if first == second else (first, 0.0, second)


def _missing(value: Any) -> bool:
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, float) and math.isnan(value))
