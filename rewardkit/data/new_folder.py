"""A folder that appears under its name only when everything in it is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rewardkit.errors import UserError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder beside ``out``; renamed to ``out`` at the end, removed if anything goes wrong.

    Raises:
        UserError: ``out`` exists and is not an empty folder.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"out={out} exists already; choose another folder, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.parent / f".{out.name}.part-{os.getpid()}"
    part.mkdir()
    try:
        yield part
        part.rename(out)
    finally:
        if part.exists():
            shutil.rmtree(part)
