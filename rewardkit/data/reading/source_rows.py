"""The rows of a source that is one annotation file, or a folder of parquet or arrow files from ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rewardkit.data.reading.fields import source_folder, the_file
from rewardkit.data.reading.format import ReadLog, Row
from rewardkit.data.reading.rows import read_rows, table_files
from rewardkit.errors import UserError


def annotation_place(src: Path, patterns: Sequence[str], format_name: str) -> Path:
    """What to read: the file itself, the one file of the folder that fits a pattern, or a folder of tables.

    Raises:
        UserError: There is neither.
    """
    try:
        return the_file(src, patterns, format_name)
    except UserError:
        if not src.is_dir() or any(path for name in patterns for path in src.glob(name) if path.suffix != ".parquet"):
            raise
        try:
            table_files(src)
        except UserError:
            pass
        else:
            return src
        raise


def source_rows(place: Path, src: Path, log: ReadLog) -> Iterator[Row]:
    """Its rows, which call the file as it lies in the source."""
    name = None if place.is_dir() else place.relative_to(source_folder(src)).as_posix()
    return read_rows(place, log, name=name)
