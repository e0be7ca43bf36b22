"""rewardkit's own format as a table: what its columns mean, and what one row says.

``csv`` and ``parquet`` tables have the same columns; a parquet table may hold numbers as numbers and images as bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rewardkit.data.formats.own_lines import check_votes
from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.reading.fields import different, nearest, number, optional_text, text
from rewardkit.data.reading.format import Row
from rewardkit.data.reading.image_cells import image_cell
from rewardkit.data.reading.statements import OVERALL, RAW_PROMPT, Choice, Order, Rating, Said
from rewardkit.errors import UserError

Kind: TypeAlias = Literal["comparison", "rating", "ranking"]

COMMON = (RAW_PROMPT, "dimension", "rater", "group")
KINDS: Mapping[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "comparison": (
        ("prompt", "image_a", "image_b"),
        ("better", "votes_a", "votes_tie", "votes_b", "weight", "generator_a", "generator_b", *COMMON),
    ),
    "rating": (("prompt", "image", "rating"), ("generator", "rationale", *COMMON)),
    "ranking": (("prompt", "image", "rank"), ("generator", *COMMON)),
}
"""Kind of table -> the columns it must have, the columns it may have (and any ``tags.NAME``)."""

TELLS: Mapping[Kind, frozenset[str]] = {
    "comparison": frozenset({"image_a", "image_b", "better", "votes_a"}),
    "rating": frozenset({"rating"}),
    "ranking": frozenset({"rank"}),
}
"""Kind of table -> the columns that only it has."""

_CHOICES = {"a": (1.0, 0.0, 0.0), "tie": (0.0, 1.0, 0.0), "b": (0.0, 0.0, 1.0)}
_UNANSWERED = "; leave the row out where nobody answered, write NA where the question does not apply"


def table_kind(header: Sequence[str], file: Path) -> Kind:
    """Which kind of table the columns make.

    Raises:
        UserError: A column is unknown, doubled or missing.
    """
    if len(header) == 1 and any(mark in header[0] for mark in ",;\t|"):
        raise UserError(
            f"{file}: the columns are not separated as the file's ending says: {header[0]!r}. A .csv file has commas, "
            "a .tsv file tabs"
        )
    doubled = [name for name, times in Counter(header).items() if times > 1]
    if doubled:
        raise UserError(f"{file}: the column {doubled[0]!r} stands twice")
    every = sorted({name for needed, others in KINDS.values() for name in (*needed, *others)})
    strange = [name for name in header if name not in every and not _is_tag(name)]
    if strange:
        raise UserError(
            "\n".join(
                f"{file}: {name!r} is not a column of a preference table. {nearest(name, [*every, 'tags.NAME'])}"
                for name in strange
            )
        )
    found = [kind for kind, columns in TELLS.items() if columns & set(header)]
    if len(found) != 1:
        kinds = "; ".join(f"{kind}s need {', '.join(needed)}" for kind, (needed, _) in KINDS.items())
        said = f"the columns say at once {' and '.join(found)}" if found else "the columns say nothing about the images"
        raise UserError(f"{file}: {said}. {kinds}")
    problems = _problems(found[0], header)
    if problems:
        raise UserError("\n".join(f"{file}: {problem}" for problem in problems))
    return found[0]


def _problems(kind: Kind, header: Sequence[str]) -> list[str]:
    needed, others = KINDS[kind]
    problems = [f"the column {name!r} is missing" for name in needed if name not in header]
    problems += [
        f"the column {name!r} does not go with a table of {kind}s"
        for name in header
        if name not in (*needed, *others) and not _is_tag(name)
    ]
    if kind == "comparison":
        by_choice, by_votes = "better" in header, {"votes_a", "votes_b"} <= set(header)
        if by_choice == by_votes:
            problems.append("a comparison needs either the column 'better' or the columns 'votes_a' and 'votes_b'")
    return problems


def _is_tag(name: str) -> bool:
    return name.startswith("tags.") and len(name) > len("tags.")


def say_row(row: Row, kind: Kind) -> list[Said]:
    """One row as a statement. A row of a ranking gives one rank; a group's ranks of one rater are joined later.

    Raises:
        ValueError: What is wrong with it.
    """
    values = row.values
    sides = ("image_a", "image_b") if kind == "comparison" else ("image",)
    makers = ("generator_a", "generator_b") if kind == "comparison" else ("generator",)
    prompt = text(values, "prompt", "write the prompt that the images were made for")
    cells = [image_cell(values[side], side) for side in sides]
    raw_prompt = optional_text(values, RAW_PROMPT)
    tags = {name.removeprefix("tags."): optional_text(values, name) for name in values if _is_tag(name)}
    shared: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "prompt": prompt,
        "images": different(tuple([name for name, _ in cells]), " and ".join(sides)),
        "data": tuple([data for _, data in cells]) if any(data is not None for _, data in cells) else (),
        "generators": tuple([optional_text(values, name) for name in makers]),
        "dimension": optional_text(values, "dimension") or OVERALL,
        "by": optional_text(values, "rater") or "",
        "group": optional_text(values, "group"),
        "tags": {name: value for name, value in tags.items() if value is not None},
        "slots": {} if raw_prompt is None else {RAW_PROMPT: raw_prompt},
    }
    if kind == "comparison":
        weight = 1.0 if optional_text(values, "weight") is None else number(values, "weight")
        if weight < 0:
            raise ValueError(f"weight is {weight}; it must not be negative")
        return [Choice(**shared, votes=_votes(values), weight=weight)]
    if kind == "rating":
        return [Rating(**shared, value=_rating(values), rationale=optional_text(values, "rationale"))]
    rank = number(values, "rank")
    if rank < 1:
        raise ValueError(f"rank is {values['rank']!r}; 1 is best, and an image that was not ranked has no row")
    return [Order(**shared, ranks=(rank,))]


def _rating(values: Mapping[str, Any]) -> float | Literal["NA"]:
    if values["rating"] == NOT_APPLICABLE:
        return NOT_APPLICABLE
    try:
        return number(values, "rating")
    except ValueError as error:
        raise ValueError(f"{error}{_UNANSWERED}") from None


def _votes(values: Mapping[str, Any]) -> tuple[float, float, float]:
    if "better" in values:
        choice = values["better"]
        if not isinstance(choice, str) or choice not in _CHOICES:
            raise ValueError(f"better is {choice!r}; it must be a, b or tie")
        return _CHOICES[choice]
    if optional_text(values, "rater"):
        raise ValueError("votes are several people's, so the row cannot have a rater; leave rater empty")
    first, second = number(values, "votes_a"), number(values, "votes_b")
    tie = number(values, "votes_tie") if "votes_tie" in values else 0.0
    return check_votes((first, tie, second))
