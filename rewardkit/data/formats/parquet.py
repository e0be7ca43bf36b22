"""rewardkit's own format in parquet or arrow files: the columns of ``csv``, or the fields of ``jsonl`` with lists.

::

    prompt, image_a, image_b, better                 one comparison per row, and all other tables of csv
    prompt, images, votes                            images and votes are lists, as in a line of jsonl

An image is a path, or the image file's bytes: a binary column, or the struct ``{bytes, path}`` of the Image feature of
Hugging Face ``datasets``. A source is one file, or a folder of files as ``datasets`` saves one or the hub holds one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.formats.own_lines import EVERY_FIELD, say_record
from rewardkit.data.formats.own_table import say_row, table_kind
from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.reading.fields import as_number, nearest, source_folder
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.image_columns import rows_with_images
from rewardkit.data.reading.rows import arrow_schema, columns_of, read_rows, table_files
from rewardkit.data.reading.statements import Said
from rewardkit.errors import UserError

ENDINGS = (".parquet", ".arrow")
LISTS = frozenset({"images", "ranks", "votes", "candidates"})
"""Fields of ``jsonl`` that tables of ``csv`` do not have."""

TEXTS = ("id", "group", "rater", "by", "dimension", "generator")
"""Fields of ``jsonl`` that are texts and may be numbers in a column."""

NUMBERED = re.compile(r"(.+?)-\d{5}-of-\d{5}")
"""Names of the files of a split on the hub: train-00000-of-00004.parquet; ``datasets`` saves data-00000-of-00004."""

ROW_NUMBERS = re.compile(r"__index_level_\d+__")
"""Columns that pandas writes beside a table; they say nothing."""


@dataclass
class ParquetOptions:
    """What can be asked of one's own parquet files."""

    split: str = option("")
    """Reads one split of a folder alone: the files in a folder of this name, or whose names begin with it, as
    train-00000-of-00004.parquet. Default: all files."""


class ParquetFormat:
    """See the module's docstring."""

    name = "parquet"
    summary = "your own data in parquet or arrow files or a folder of Hugging Face datasets, images as paths or bytes"
    options = ParquetOptions

    def matches(self, src: Path) -> bool:
        """Files with columns of this format alone."""
        try:
            file = _files(src, "")[0]
            _holds_lists(_columns(file), file)
        except UserError:
            return False
        return True

    def read(self, src: Path, options: ParquetOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        files = _files(src, options.split)
        splits = sorted({split for file in files if (split := _split(file, src))})
        if len(splits) > 1:
            log.notes[f"the splits {', '.join(splits)} were read together; split={splits[0]} reads one"] += 1
        before = log.rows
        for file in files:
            name = file.relative_to(source_folder(src)).as_posix()
            found = _columns(file)
            if not found:
                next(read_rows(file, log, name=name), None)  # says what is wrong with the file
            if _holds_lists(found, file):
                rows = read_rows(file, log, name=name)
                yield from say_each(rows, log, lambda row: say_record(_as_line(row), cells=True))
            else:
                images = _columns_of_bytes(file)
                others = [column for column in found if column not in images]
                rows = rows_with_images(file, log, columns=others, images=images, name=name)
                yield from say_each(rows, log, partial(say_row, kind=table_kind(found, file)))
        if log.rows == before:
            raise UserError(f"{src} has no rows")


def _files(src: Path, split: str) -> list[Path]:
    """The file, or those of the folder that are of the split.

    Raises:
        UserError: There are none.
    """
    if not src.exists():
        raise UserError(f"src={src} does not exist")
    if src.is_file():
        if src.suffix not in ENDINGS:
            raise UserError(f"{src}: format=parquet reads files whose names end in {' or '.join(ENDINGS)}")
        return [src]
    files = table_files(src)
    found = [file for file in files if not split or split in (_split(file, src), file.stem)]
    if not found:
        splits = sorted({_split(file, src) or file.stem for file in files})
        raise UserError(f"split={split}: {src} has no such split. {nearest(split, splits)}")
    return found


def _split(file: Path, src: Path) -> str:
    """The split that a file's place in the source names, "" where it names none."""
    named = NUMBERED.match(file.name)
    folder = file.parent.relative_to(source_folder(src)).name
    return named[1] if named and named[1] != "data" else "" if folder == "data" else folder


def _columns(file: Path) -> list[str]:
    return [name for name in columns_of(file) if not ROW_NUMBERS.fullmatch(name)]


def _columns_of_bytes(file: Path) -> list[str]:
    """The columns of a file that hold images themselves, and not only their paths."""
    import pyarrow as pa

    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_struct)
    return [column.name for column in arrow_schema(file) if any(kind(column.type) for kind in kinds)]


def _holds_lists(found: Sequence[str], file: Path) -> bool:
    """Whether the columns are the fields of ``jsonl``; else they are those of ``csv``.

    Raises:
        UserError: They are neither, with what is wrong.
    """
    if not LISTS & set(found):
        table_kind(found, file)
        return False
    doubled = [name for name in found if found.count(name) > 1]
    if doubled:
        raise UserError(f"{file}: the column {doubled[0]!r} stands twice")
    strange = [name for name in found if name not in EVERY_FIELD]
    if strange:
        raise UserError(
            "\n".join(
                f"{file}: {name!r} is not a column of a preference table. {nearest(name, EVERY_FIELD)}"
                for name in strange
            )
        )
    return True


def _as_line(row: Row) -> Row:
    """A row as a line of ``jsonl`` would have it: a field that is null is not there, numbers are not texts."""
    values = {name: _given(value) for name, value in row.values.items() if value is not None}
    for name, value in values.items():
        if name in TEXTS and isinstance(value, int) and not isinstance(value, bool):
            values[name] = str(value)
    # A column has one type: beside "tie" or "NA", numbers are texts too.
    if values.get("better") in ("0", "1"):
        values["better"] = int(values["better"])
    rating = values.get("rating")
    if isinstance(rating, str) and rating != NOT_APPLICABLE:
        values["rating"] = as_number(rating, "rating")
    if isinstance(values.get("tags"), list):
        values["tags"] = dict(values["tags"])  # a column of maps
    return Row(row.file, row.line, {name: value for name, value in values.items() if not ROW_NUMBERS.fullmatch(name)})


def _given(value: Any) -> Any:
    """A value without the fields of objects that are null, since a column's objects all have the same fields."""
    if isinstance(value, dict):
        return {name: _given(item) for name, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value
