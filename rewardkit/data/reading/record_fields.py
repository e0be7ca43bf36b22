"""The fields of a file's records, told from its first few: one record that lacks a field does not condemn the file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from rewardkit.data.reading.format import ReadLog
from rewardkit.data.reading.rows import columns_of, read_rows
from rewardkit.errors import RewardkitError

LOOKED_AT = 20
"""Records of a JSON file that are looked at."""


def fields_of(place: Path) -> list[str]:
    """All fields of the first records of a JSON file or folder of tables, or the columns of a table.

    [] where nothing can be read: reading then says why. Never raises.
    """
    if place.is_dir() or place.suffix not in (".json", ".jsonl"):
        return columns_of(place)
    found: dict[str, None] = {}
    try:
        for row in islice(read_rows(place, ReadLog()), LOOKED_AT):
            found.update(dict.fromkeys(row.values))
    except (RewardkitError, OSError):
        pass  # cut off behind the records that were seen, for example
    return list(found)
