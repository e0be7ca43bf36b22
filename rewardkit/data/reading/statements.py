"""What one row of a source says: the one form into which every format turns its rows, before they become groups.

Rows that share a prompt (and ``group``, where given) become one group; equal image names in it are one candidate
(``rewardkit/data/grouping.py``). Nobody changes a statement; they are not frozen, since making a frozen one takes three
times as long and a source has millions of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rewardkit.data.group import Group

OVERALL = "overall"
"""The dimension of a row that names none."""

RAW_PROMPT = "raw_prompt"
"""The slot of a record that keeps the prompt as it was before somebody cleaned it, where a source gives both."""


@dataclass(slots=True, kw_only=True)
class Statement:
    """Images that were made for a prompt. By itself it says only that they exist; the kinds below say more.

    Attributes:
        file: The annotation file, relative to the source.
        line: Line, record or row number in it, from 1.
        prompt: The text that the images were made for.
        images: Names; equal names of one group are one candidate. A path, unless ``data`` holds the bytes.
        folder: Folder inside the source that paths are relative to, "" for the source's own folder.
        generators: One per image, None where not known; empty where none is known.
        data: One image file's bytes per image, None for an image that lies in a file; empty where all do.
        by: Who says it, "" where the row names nobody.
        group: Keeps rows of one prompt in separate groups; rows of one group must have one prompt.
        id: The group's id, where the source has one; else it follows from ``group`` and the prompt.
        tags: What evaluations group by.
        slots: More about the prompt, such as ``RAW_PROMPT``; the first row of a group that gives one decides.
    """

    line: int
    prompt: str
    images: tuple[str, ...]
    file: str = ""
    folder: str = ""
    generators: tuple[str | None, ...] = ()
    data: tuple[bytes | None, ...] = ()
    dimension: str = OVERALL
    by: str = ""
    group: str | None = None
    id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Choice(Statement):
    """One comparison of two images: votes for the first, for a tie, for the second."""

    votes: tuple[float, float, float]
    weight: float = 1.0


@dataclass(slots=True, kw_only=True)
class Rating(Statement):
    """One answer on one image: a number (higher is better) or "NA"."""

    value: float | Literal["NA"]
    rationale: str | None = None


@dataclass(slots=True, kw_only=True)
class Order(Statement):
    """One ranking of several images; rank 1 is best, equal ranks tie, None was not ranked."""

    ranks: tuple[float | None, ...]


@dataclass(slots=True, kw_only=True)
class WholeRecord:
    """A row that is a group record already; its candidates' files are paths like a statement's ``images``."""

    line: int
    record: Group
    file: str = ""
    folder: str = ""


Said: TypeAlias = Statement | WholeRecord
"""What a format yields."""
