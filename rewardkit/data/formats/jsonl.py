"""rewardkit's own format as JSON lines: one comparison, rating, ranking or whole group record per line.

::

    {"prompt": "a red fox", "images": ["a.jpg", "b.jpg"], "better": 0}
    {"prompt": "a red fox", "images": ["a.jpg", "b.jpg"], "votes": [7, 1, 2], "dimension": "aesthetic"}
    {"prompt": "a red fox", "image": "a.jpg", "rating": 4, "dimension": "fidelity", "rater": "ann"}
    {"prompt": "a red fox", "images": ["a.jpg", "b.jpg", "c.jpg"], "ranks": [1, 2, 2], "rater": "ann"}

Paths are relative to the file. A line is read for what it says; nothing is guessed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from rewardkit.data.formats.format import GroupWithImages, Image
from rewardkit.data.formats.lines import (
    DEFAULT_DIMENSION,
    SHOWN_MISTAKES,
    Choice,
    Order,
    Rating,
    Statement,
    gather,
    image_path,
    mistakes_in,
    nearest,
    own_file,
)
from rewardkit.data.group import NOT_APPLICABLE, Answer, Candidate, Comparison, Group, Ranking, RecordError, from_record
from rewardkit.errors import UserError

COMMON = ("prompt", "dimension", "rater", "by", "group", "tags")
KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "comparison": (("better", "votes"), (*COMMON, "images", "generators", "weight")),
    "rating": (("rating",), (*COMMON, "image", "generator", "rationale")),
    "ranking": (("ranks",), (*COMMON, "images", "generators")),
    "record": (("candidates",), tuple(item.name for item in fields(Group))),
}
"""Kind of line -> the fields that tell it, the other fields that it may have."""

RECORD_PARTS = {"candidates": Candidate, "comparisons": Comparison, "rankings": Ranking, "answers": Answer}


@dataclass
class JsonlOptions:
    """The jsonl format has no options: every line says all that there is to say."""


class JsonlFormat:
    """See the module's docstring."""

    name = "jsonl"
    summary = "your own data, one JSON line per comparison, rating, ranking or group record, beside a folder of images"
    options = JsonlOptions

    def matches(self, src: Path) -> bool:
        """A ``.jsonl`` file, or a folder with exactly one."""
        return src.suffix == ".jsonl" if src.is_file() else len(list(src.glob("*.jsonl"))) == 1

    def read(self, src: Path, options: JsonlOptions, notes: Counter[str]) -> Iterator[GroupWithImages]:
        """See ``Format.read``. The text of the file is held in memory, the images are not."""
        file = own_file(src, ".jsonl")
        statements: list[Statement] = []
        records: list[GroupWithImages] = []
        mistakes: list[str] = []
        for line, record in _records(file, mistakes):
            try:
                if "candidates" in record:
                    records.append(_whole_record(record, file))
                else:
                    statements.append(_statement(record, line))
            except (ValueError, RecordError) as error:
                mistakes.append(f"{file}:{line}: {error}")
            if len(mistakes) >= SHOWN_MISTAKES:
                raise mistakes_in(mistakes, more=True)
        if mistakes:
            raise mistakes_in(mistakes, more=False)
        if not statements and not records:
            raise UserError(f"{file} is empty: it has no line that says anything")
        yield from records
        yield from gather(statements, file, self.name, notes)


def _records(file: Path, mistakes: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and parsed objects; a line that is no object goes to the mistakes."""
    with file.open("rb") as lines:
        for line, raw in enumerate(lines, start=1):
            try:
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()
                if not text:
                    continue
                record = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_double)
                if "\\ud" in text.lower():
                    json.dumps(record, ensure_ascii=False).encode()  # refuses half a pair of surrogates
            except UnicodeEncodeError:
                mistakes.append(f"{file}:{line}: a \\ud… escape is half of a character; the text was cut in two")
            except UnicodeDecodeError as error:
                mistakes.append(f"{file}:{line}: byte {error.start + 1} is not UTF-8; save the file as UTF-8")
            except (ValueError, RecursionError) as error:
                mistakes.append(f"{file}:{line}: not a line of JSON: {error}")
            else:
                if isinstance(record, dict):
                    yield line, record
                else:
                    mistakes.append(f"{file}:{line}: a line must be an object {{…}}, not a {type(record).__name__}")
            if len(mistakes) >= SHOWN_MISTAKES:
                return


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that can be used")


def _no_double(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = Counter(name for name, _ in pairs)
    doubled = [name for name, times in names.items() if times > 1]
    if doubled:
        raise ValueError(f"the field {doubled[0]!r} stands twice in one line")
    return dict(pairs)


def _whole_record(record: dict[str, Any], file: Path) -> GroupWithImages:
    """A whole group record (docs/data.md), checked for misspelt fields, which reading a shard does not do."""
    known = tuple(item.name for item in fields(Group))
    _check_names(record, known, "a group record")
    for part, kind in RECORD_PARTS.items():
        items = record.get(part, [])
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict):
                _check_names(item, tuple(f.name for f in fields(kind)), f"{part} of a group record")
    group = from_record(record)
    images: list[Image] = [file.parent / image_path(candidate.file) for candidate in group.candidates]
    return group, images


def _check_names(record: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in record:
        if name not in known:
            raise ValueError(f"{name!r} is not a field of {where}. {nearest(name, known)}")


def _statement(record: dict[str, Any], line: int) -> Statement:
    """One line as a statement.

    Raises:
        ValueError: What is wrong with it, without file and line.
    """
    kind = _kind(record)
    telling, others = KINDS[kind]
    _check_names(record, (*telling, *others), f"a {kind} line")
    named = [_text(record, "image")] if kind == "rating" else _texts(record, "images")
    images = tuple(image_path(name) for name in named)
    if len(set(images)) < len(images):
        raise ValueError("images names the same image twice")
    if kind == "comparison" and len(images) != 2:
        raise ValueError(f"a comparison has two images, this line has {len(images)}; several images take 'ranks'")
    shared: dict[str, Any] = {
        "line": line,
        "prompt": _text(record, "prompt", "write the prompt that the images were made for"),
        "images": images,
        "generators": _generators(record, len(images)),
        "dimension": _text(record, "dimension") if "dimension" in record else DEFAULT_DIMENSION,
        "by": _rater(record),
        "group": _text(record, "group") if "group" in record else None,
        "tags": _tags(record.get("tags", {})),
    }
    if kind == "comparison":
        weight = _number(record["weight"], "weight") if "weight" in record else 1.0
        if weight < 0:
            raise ValueError(f"weight is {weight}; it must not be negative")
        return Choice(**shared, votes=_votes(record), weight=weight)
    if kind == "rating":
        value = record["rating"]
        rationale = _text(record, "rationale") if "rationale" in record else None
        return Rating(
            **shared, value=NOT_APPLICABLE if value == "NA" else _number(value, "rating"), rationale=rationale
        )
    return Order(**shared, ranks=_ranks(record["ranks"], len(images)))


def _kind(record: Mapping[str, Any]) -> Literal["comparison", "rating", "ranking"]:
    found: list[Any] = [kind for kind, (telling, _) in KINDS.items() if any(name in record for name in telling)]
    if len(found) == 1:
        return found[0]  # type: ignore[no-any-return]
    if found:
        raise ValueError(f"one line says one thing, this one is at once a {' and a '.join(found)}; write two lines")
    every = sorted({name for telling, others in KINDS.values() for name in (*telling, *others)})
    strange = [f"{name!r}: {nearest(name, every)}" for name in record if name not in every]
    raise ValueError(
        "the line says nothing about its images: it needs 'better' or 'votes' (two images), 'rating' (one image), "
        "'ranks' (several images) or 'candidates' (a group record)" + ("; " + "; ".join(strange) if strange else "")
    )


def _text(record: Mapping[str, Any], name: str, advice: str = "") -> str:
    if name not in record:
        raise ValueError(f"the field {name!r} is missing")
    value = record[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}; it must be text in quotes")
    if not value.strip():
        raise ValueError(f"{name} is empty" + (f"; {advice}" if advice else ""))
    return value


def _texts(record: Mapping[str, Any], name: str) -> list[str]:
    if name not in record:
        raise ValueError(f"the field {name!r} is missing")
    value = record[name]
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError(f'{name} is {value!r}; it must be a list like ["a.jpg", "b.jpg"]')
    return value


def _rater(record: Mapping[str, Any]) -> str:
    if "rater" in record and "by" in record:
        raise ValueError("'rater' and 'by' are the same thing; write one of them")
    if "votes" in record and ("rater" in record or "by" in record):
        raise ValueError("'votes' are several people's; one rater's choice is written as 'better'")
    name = "by" if "by" in record else "rater"
    return _text(record, name) if name in record else ""


def _generators(record: Mapping[str, Any], count: int) -> tuple[str | None, ...]:
    if "generator" in record:
        return (_text(record, "generator"),)
    value = record.get("generators", [None] * count)
    if not isinstance(value, list) or not all(item is None or isinstance(item, str) for item in value):
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


def _number(value: Any, name: str) -> float:
    # Whole numbers beyond float's range count as not finite.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        advice = ' (or "NA" where the question does not apply)' if name == "rating" else ""
        raise ValueError(f"{name} is {value!r}; it must be a number{advice}")
    return float(value)


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
    if min(first, tie, second) < 0 or first + tie + second <= 0:
        raise ValueError(f"votes is {value!r}; none may be negative and at least one must be positive")
    return (first, tie, second)


def _ranks(value: Any, count: int) -> tuple[float | None, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"ranks is {value!r}; it must be a list with one rank (1 is best) or null per image ({count})")
    if count < 2:
        raise ValueError("a ranking needs at least two images")
    return tuple(None if rank is None else _number(rank, "a rank") for rank in value)
