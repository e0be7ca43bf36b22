"""The last step of a conversion: the units' shards under their final names, with the index, as one folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rewardkit.data.convert_errors import ERRORS_FILE
from rewardkit.data.convert_unit import UnitSettings
from rewardkit.data.index_build import Part, write_index
from rewardkit.data.index_rows import IndexRows
from rewardkit.data.merge import link_or_copy
from rewardkit.errors import RewardkitError


def shards_of(settings: UnitSettings, units: int) -> list[Path]:
    """The shards of all units, in order."""
    return [shard for unit in range(units) for shard in sorted(settings.folder(unit).glob("*.tar"))]


def put_together(settings: UnitSettings, shards: list[Path], out: Path, errors: str, made: Mapping[str, Any]) -> None:
    """Makes ``out`` of shards that stay where they are: a kill at any moment leaves either nothing or all of it.

    Args:
        settings: Of the conversion.
        shards: From ``shards_of``, each with its rows beside it.
        out: Must not exist, or be an empty folder.
        errors: What ``convert_errors.jsonl`` holds; "" writes none.
        made: How the set was made, for its index.

    Raises:
        RewardkitError: The disk is full, or the like.
    """
    result = settings.work / "result"
    shutil.rmtree(result, ignore_errors=True)
    try:
        result.mkdir()
        parts: list[Part] = []
        for number, shard in enumerate(shards):
            name = f"{settings.name}-{number:06d}.tar"
            link_or_copy(shard, result / name)
            parts.append(_renamed(shard.with_suffix(".npz"), name))
        if errors:
            (result / ERRORS_FILE).write_text(errors, encoding="utf-8", errors="backslashreplace")
        write_index(result, parts, made=made)
        if out.exists():
            out.rmdir()
        result.rename(out)
    except OSError as error:
        raise RewardkitError(
            f"{error.filename or result}: {error.strerror or error}; the same command goes on"
        ) from None
    shutil.rmtree(settings.work, ignore_errors=True)


def _renamed(rows: Path, name: str) -> Part:
    def load() -> IndexRows:
        found = IndexRows.load(rows)
        return replace(found, shards=[{**shard, "name": name} for shard in found.shards])

    return load
