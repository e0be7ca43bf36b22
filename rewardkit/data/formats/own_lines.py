"""What one record of rewardkit's own format says: a comparison, a rating, a ranking or a whole group.

``jsonl`` writes a record as a line, ``parquet`` as a row with lists in its columns. A record is read for what it says;
nothing is guessed, and a name that is not known is a mistake, since a misspelt field would lose labels.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from rewardkit.data.group import (
    NOT_APPLICABLE,
    Answer,
    Candidate,
    Comparison,
    Group,
    Ranking,
    RecordError,
    from_record,
)
from rewardkit.data.reading.fields import different, image_path, nearest
from rewardkit.data.reading.format import Row
from rewardkit.data.reading.image_cells import image_cell
from rewardkit.data.reading.statements import RAW_PROMPT, Choice, Order, Rating, Said, WholeRecord

Kind: TypeAlias = Literal["comparison", "rating", "ranking", "record"]

COMMON = ("prompt", RAW_PROMPT, "id", "dimension", "rater", "by", "group", "tags")
KINDS: Mapping[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "comparison": (("better", "votes"), (*COMMON, "images", "generators", "weight")),
    "rating": (("rating",), (*COMMON, "image", "generator", "rationale")),
    "ranking": (("ranks",), (*COMMON, "images", "generators")),
    "record": (("candidates",), tuple(item.name for item in fields(Group))),
}
"""Kind of record -> the fields that tell it, the other fields that it may have."""

RECORD_PARTS = {"candidates": Candidate, "comparisons": Comparison, "rankings": Ranking, "answers": Answer}

EVERY_FIELD = tuple(sorted({name for telling, others in KINDS.values() for name in (*telling, *others)}))

_TOLD_BY: Mapping[str, Kind] = {name: kind for kind, (telling, _) in KINDS.items() for name in telling}

MOST_VOTES = 2.0**53
"""Votes on two images, at most; sums of more are not exact, and at last not finite."""

_TEXT = frozenset({str})
_TEXT_OR_NONE = frozenset({str, type(None)})


def is_own(names: Sequence[str]) -> bool:
    """Whether a record with these fields is one of rewardkit's own."""
    try:
        _kind(tuple(names))
    except ValueError:
        return False
    return True


def say_record(row: Row, *, cells: bool = False) -> list[Said]:
    """One record as a statement.

    Args:
        row: The record's fields and where it stands.
        cells: Images may be bytes, as a table holds them, and not only paths.

    Raises:
        ValueError: What is wrong with it.
    """
    record = row.values
    kind = _kind(tuple(record))
    if kind == "record":
        return [_whole_record(record, row)]
    images, data = _images(record, kind, cells)
    if kind == "comparison" and len(images) != 2:
        raise ValueError(f"a comparison has two images, this line has {len(images)}; several images take 'ranks'")
    said: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "prompt": _text(record, "prompt", "write the prompt that the images were made for"),
        "images": images,
    }
    if data:
        said["data"] = data
    if "generators" in record or "generator" in record:
        said["generators"] = _generators(record, len(images))
    if "dimension" in record:
        said["dimension"] = _text(record, "dimension")
    if "rater" in record or "by" in record:
        said["by"] = _rater(record)
    if "group" in record:
        said["group"] = _text(record, "group")
    if "id" in record:
        said["id"] = _text(record, "id")
    if "tags" in record:
        said["tags"] = _tags(record["tags"])
    if RAW_PROMPT in record:
        said["slots"] = {RAW_PROMPT: _text(record, RAW_PROMPT)}
    if kind == "comparison":
        if "weight" in record:
            said["weight"] = _weight(record["weight"])
        return [Choice(**said, votes=_votes(record))]
    if kind == "rating":
        rationale = _text(record, "rationale") if "rationale" in record else None
        return [Rating(**said, value=_rating(record["rating"]), rationale=rationale)]
    return [Order(**said, ranks=_ranks(record["ranks"], len(images)))]


def _whole_record(record: dict[str, Any], row: Row) -> WholeRecord:
    """A whole group record (docs/data.md), checked for misspelt fields, which reading a shard does not do."""
    for part, kind in RECORD_PARTS.items():
        items = record.get(part, [])
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict):
                _check_names(item, tuple(f.name for f in fields(kind)), f"{part} of a group record")
    try:
        group = from_record(record)
    except RecordError as error:
        raise ValueError(str(error)) from None
    different(tuple(image_path(candidate.file, "file") for candidate in group.candidates), "candidates")
    _tags(group.tags)
    named = [("generator", c.generator) for c in group.candidates] + [("rationale", a.rationale) for a in group.answers]
    for name, value in named:
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}; it must be text in quotes")
    if not all(name.strip() for name in group.dimensions):
        raise ValueError("a dimension is empty")
    for comparison in group.comparisons:
        check_votes(comparison.votes)
    return WholeRecord(line=row.line, record=group, file=row.file)


def _check_names(names: Iterable[str], known: Sequence[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is not a field of {where}. {nearest(name, known)}")


@lru_cache(maxsize=1024)  # the records of a file mostly have the same fields
def _kind(names: tuple[str, ...]) -> Kind:
    """The kind of a record with these fields, all of which it may have."""
    found = sorted({_TOLD_BY[name] for name in names if name in _TOLD_BY})
    if len(found) == 1:
        kind = found[0]
        where = "a group record" if kind == "record" else f"a {kind} line"
        _check_names(names, (*KINDS[kind][0], *KINDS[kind][1]), where)
        return kind
    if found:
        raise ValueError(f"one line says one thing, this one is at once a {' and a '.join(found)}; write two lines")
    strange = [f"{name!r}: {nearest(name, EVERY_FIELD)}" for name in names if name not in EVERY_FIELD]
    raise ValueError(
        "the line says nothing about its images: it needs 'better' or 'votes' (two images), 'rating' (one image), "
        "'ranks' (several images) or 'candidates' (a group record)" + ("; " + "; ".join(strange) if strange else "")
    )


def _images(record: Mapping[str, Any], kind: str, cells: bool) -> tuple[tuple[str, ...], tuple[bytes | None, ...]]:
    """Names of the images, and their bytes where they come in the record (else nothing)."""
    field = "image" if kind == "rating" else "images"
    if field not in record:
        raise ValueError(f"the field {field!r} is missing")
    value = record[field]
    items = [value] if kind == "rating" else value
    if cells and isinstance(items, list) and items:
        found = [image_cell(item, field) for item in items]
        return different(tuple(name for name, _ in found), "images"), tuple(data for _, data in found)
    if kind == "rating":
        return (image_path(_text(record, field), field),), ()
    if not isinstance(items, list) or not items or not _TEXT.issuperset(map(type, items)):
        raise ValueError(f'{field} is {value!r}; it must be a list like ["a.jpg", "b.jpg"]')
    return _paths(tuple(items)), ()


@lru_cache(maxsize=4096)  # many rows in a row are about the same images
def _paths(names: tuple[str, ...]) -> tuple[str, ...]:
    return different(tuple(image_path(name, "images") for name in names), "images")


def _text(record: Mapping[str, Any], name: str, advice: str = "") -> str:
    if name not in record:
        raise ValueError(f"the field {name!r} is missing")
    value = record[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}; it must be text in quotes")
    if not value or value.isspace():
        raise ValueError(f"{name} is empty" + (f"; {advice}" if advice else ""))
    return value


def _rater(record: Mapping[str, Any]) -> str:
    if "rater" in record and "by" in record:
        raise ValueError("'rater' and 'by' are the same thing; write one of them")
    if "votes" in record:
        raise ValueError("'votes' are several people's; one rater's choice is written as 'better'")
    return _text(record, "by" if "by" in record else "rater")


def _generators(record: Mapping[str, Any], count: int) -> tuple[str | None, ...]:
    if "generator" in record:
        return (_text(record, "generator"),)
    value = record["generators"]
    if not isinstance(value, list) or not _TEXT_OR_NONE.issuperset(map(type, value)):
        raise ValueError(
            f'generators is {value!r}; it must be a list of names (or null), one per image: ["sdxl", null]'
        )
    if len(value) != count:
        raise ValueError(f"generators has {len(value)} names for {count} images")
    return tuple(value)


def _tags(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError(f'tags is {value!r}; it must be an object of texts like {{"style": "anime"}}')
    return value


def _weight(value: Any) -> float:
    weight = _number(value, "weight")
    if weight < 0:
        raise ValueError(f"weight is {weight}; it must not be negative")
    return weight


def _number(value: Any, name: str) -> float:
    # Whole numbers beyond float's range count as not finite.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        advice = ' (or "NA" where the question does not apply)' if name == "rating" else ""
        raise ValueError(f"{name} is {value!r}; it must be a number{advice}")
    return float(value)


def _rating(value: Any) -> float | Literal["NA"]:
    return NOT_APPLICABLE if value == NOT_APPLICABLE else _number(value, "rating")


def _votes(record: Mapping[str, Any]) -> tuple[float, float, float]:
    if "better" in record and "votes" in record:
        raise ValueError("'better' is one person's choice and 'votes' are many; write one of them")
    if "better" in record:
        value = record["better"]
        if value == "tie":
            return (0.0, 1.0, 0.0)
        if isinstance(value, bool) or value not in (0, 1):
            raise ValueError(f'better is {value!r}; it must be 0 (the first image), 1 (the second) or "tie"')
        return (1.0, 0.0, 0.0) if value == 0 else (0.0, 0.0, 1.0)
    value = record["votes"]
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"votes is {value!r}; it must be [for the first, for a tie, for the second]")
    first, tie, second = (_number(item, "a vote") for item in value)
    return check_votes((first, tie, second))


def check_votes(votes: tuple[float, float, float]) -> tuple[float, float, float]:
    """Votes for the first image, for a tie and for the second, as they are.

    Raises:
        ValueError: They cannot be votes.
    """
    if min(votes) < 0 or not 0 < sum(votes) <= MOST_VOTES:
        raise ValueError(
            f"votes are {votes[0]:g}, {votes[1]:g}, {votes[2]:g}; none may be negative, at least one must be positive, "
            f"and together they may be {MOST_VOTES:.0g} at most"
        )
    return votes


def _ranks(value: Any, count: int) -> tuple[float | None, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"ranks is {value!r}; it must be a list with one rank (1 is best) or null per image ({count})")
    if count < 2:
        raise ValueError("a ranking needs at least two images")
    ranks = tuple(None if rank is None else _number(rank, "a rank") for rank in value)
    if any(rank is not None and rank < 1 for rank in ranks):
        raise ValueError(f"ranks is {value!r}; 1 is best, and an image that was not ranked has null")
    return ranks
