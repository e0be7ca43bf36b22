"""Pairs in VideoAlign's CSV (KwaiVGI/VideoAlign, arXiv 2501.13918): one column per dimension, A, B or same. For images.

::

    path_A,path_B,prompt,VQ,MQ,TA[,Overall][,A_model,B_model][,fps_A,num_frames_A,fps_B,num_frames_B]

Every column that is none of the others is a dimension, under its own name. An empty cell is a missing label; ``same``
is a tie. rewardkit scores images: a row on a video is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.reading.fields import different, image_path, nearest, optional_text, text
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.rows import check_columns, columns_of
from rewardkit.data.reading.source_rows import annotation_place, source_rows
from rewardkit.data.reading.statements import Choice, Said, Statement
from rewardkit.errors import UserError

NEEDED = ("path_A", "path_B", "prompt")
MODELS = ("A_model", "B_model")
OTHER = ("fps_A", "fps_B", "num_frames_A", "num_frames_B")
"""Published columns on the videos; they are not kept."""

VIDEOS = (".mp4", ".webm", ".mov", ".avi", ".mkv", ".m4v")
FILES = ("*.csv", "*.tsv", "*.jsonl", "*.json", "*.parquet")
VOTES = {"a": (1.0, 0.0, 0.0), "same": (0.0, 1.0, 0.0), "b": (0.0, 0.0, 1.0)}


@dataclass
class VideoAlignOptions:
    """What can be asked of a VideoAlign table."""

    dimensions: list[str] = option([])  # noqa: RUF009  (option makes a dataclass field)
    """Columns that hold labels. Default: all but path_A, path_B, prompt, A_model, B_model, fps_* and num_frames_*."""
    images: str = option("")
    """Folder of the images, inside the source. Default: the source."""


class VideoAlignFormat:
    """See the module's docstring."""

    name = "videoalign"
    summary = "VideoAlign-style table: path_A, path_B, prompt and a column of A/B/same per dimension, on images"
    options = VideoAlignOptions

    def matches(self, src: Path) -> bool:
        """The columns path_A, path_B and prompt."""
        try:
            return set(NEEDED) <= set(columns_of(annotation_place(src, FILES, self.name)))
        except UserError:
            return False

    def read(self, src: Path, options: VideoAlignOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        place = annotation_place(src, FILES, self.name)
        found = columns_of(place)
        dimensions = _dimensions(found, place, options.dimensions)
        if found:  # Rows of a file that shows no fields say themselves what is wrong with it.
            check_columns(found, place, log, needed=NEEDED, known=(*MODELS, *OTHER, *dimensions))
            if not dimensions:
                raise UserError(f"{place}: there is no column of labels beside {', '.join(found)}")
        say = partial(_say, dimensions=dimensions, folder=options.images)
        yield from say_each(source_rows(place, src, log), log, say)


def _dimensions(found: Sequence[str], place: Path, asked: Sequence[str]) -> tuple[str, ...]:
    """The columns of labels.

    Raises:
        UserError: One that was asked for is not there.
    """
    for name in asked:
        if found and name not in found:
            raise UserError(f"dimensions={name}: {place} has no such column. {nearest(name, found)}")
    # A column without a name, or "Unnamed: 0", is the row number that pandas writes beside a table.
    others = (*NEEDED, *MODELS, *OTHER, "")
    return tuple(asked) or tuple(name for name in found if name not in others and not name.startswith("Unnamed:"))


def _say(row: Row, dimensions: Sequence[str], folder: str) -> list[Said]:
    images = tuple(_image(row.values.get(name), name) for name in NEEDED[:2])
    shared: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "folder": folder,
        "prompt": text(row.values, "prompt"),
        "images": different(images, "the pair"),
        "generators": tuple(optional_text(row.values, name) for name in MODELS),
    }
    said: list[Said] = []
    for name in dimensions:
        label = row.values.get(name)
        if label is None or label == "" or (isinstance(label, float) and math.isnan(label)):
            continue
        votes = VOTES.get(label.strip().lower()) if isinstance(label, str) else None
        if votes is None:
            raise ValueError(
                f"{name} is {label!r}; it must be A, B, same, or empty. A column that holds no labels is left out by "
                "naming those that do: dimensions="
            )
        said.append(Choice(**shared, dimension=name, votes=votes))
    return said or [Statement(**shared)]


def _image(value: Any, name: str) -> str:
    path = image_path(value, name)
    if path.lower().endswith(VIDEOS):
        raise ValueError(f"{name} is the video {path!r}; rewardkit scores images, take a frame of it")
    return path
