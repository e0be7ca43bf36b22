"""What was said of one group, brought together: as the spool stores it, and as groups are built from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from rewardkit.data.packed_statements import unpack
from rewardkit.data.reading.statements import Said

Stored: TypeAlias = tuple[int, str, str | None, str | None, str]
"""A group's number, prompt, name and id, and a JSON list of texts of its statements, as they were packed."""


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Where an image's bytes lie: a file of the source, or a range of the spool's own file of bytes.

    Attributes:
        name: The image's name in its group.
        folder: Folder inside the source that the name is relative to.
        offset: First byte in the spool's file; None where it is a file of the source.
        length: Bytes there.
    """

    name: str
    folder: str = ""
    offset: int | None = None
    length: int = 0


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that was said of one group, in the order of the rows.

    Attributes:
        number: The group's place in the order in which groups first appear, from 0.
        statements: A ``WholeRecord`` stands alone.
        bytes_of: Name of each image that came as bytes, to where they are.
    """

    number: int
    prompt: str
    group: str | None
    id: str | None
    statements: list[Said]
    bytes_of: dict[str, ImagePlace]


def gathered(stored: Iterable[Stored]) -> Iterator[Gathered]:
    """Groups as they were said, of rows that stand in the order of the groups and of what was said.

    Raises:
        json.JSONDecodeError: A text is damaged.
    """
    for (number, prompt, name, id), rows in groupby(stored, itemgetter(0, 1, 2, 3)):
        shared = {"prompt": prompt, "group": name, "id": id}
        packed = (one for *_, payload in rows for one in json.loads(payload))
        yield Gathered(number, prompt, name, id, [said for one in packed for said in unpack(one, shared)], {})
