"""Where one's own annotation file lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rewardkit.data.reading.fields import the_file
from rewardkit.errors import UserError


def own_file(src: Path, endings: Sequence[str], format_name: str) -> Path:
    """The annotation file: the path itself, or the one file of the folder, whose name has one of the endings.

    Raises:
        UserError: There is none, there are several, or the file's name has another ending.
    """
    file = the_file(src, [f"*{ending}" for ending in endings], format_name)
    if file.suffix not in endings:
        raise UserError(f"{file}: format={format_name} reads files whose names end in {' or '.join(endings)}")
    return file
