"""rewardkit's own format as a table: one comparison, rating or rank per row, the kind told by the columns.

::

    prompt,image_a,image_b,better            better is a, b or tie; or votes_a,votes_tie,votes_b
    prompt,image,rating                      rating is a number or NA
    prompt,image,rank,rater                  the ranks of one rater and prompt are one ranking, 1 is best

Every kind may have the columns dimension, rater, group and tags.NAME; generator (or generator_a, generator_b) says
which model made an image. Paths are relative to the file.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rewardkit.data.formats.format import GroupWithImages
from rewardkit.data.formats.lines import (
    DEFAULT_DIMENSION,
    SHOWN_MISTAKES,
    Choice,
    LineError,
    Order,
    Rating,
    Statement,
    gather,
    image_path,
    mistakes_in,
    nearest,
    own_file,
)
from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.errors import UserError

COMMON = ("dimension", "rater", "group")
KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "comparison": (
        ("prompt", "image_a", "image_b"),
        ("better", "votes_a", "votes_tie", "votes_b", "weight", "generator_a", "generator_b", *COMMON),
    ),
    "rating": (("prompt", "image", "rating"), ("generator", "rationale", *COMMON)),
    "ranking": (("prompt", "image", "rank"), ("generator", *COMMON)),
}
"""Kind of table -> the columns it must have, the columns it may have (and any ``tags.NAME``)."""

MAX_CELL = 1 << 20
"""Characters of the longest cell that is read; a longer one comes from a quote that is never closed."""


@dataclass
class CsvOptions:
    """The csv format has no options: the columns say all that there is to say."""


class CsvFormat:
    """See the module's docstring."""

    name = "csv"
    summary = "your own data as a table, one comparison, rating or rank per row, beside a folder of images"
    options = CsvOptions

    def matches(self, src: Path) -> bool:
        """A ``.csv`` file, or a folder with exactly one and none of AVT's."""
        return src.suffix == ".csv" if src.is_file() else len(list(src.glob("*.csv"))) == 1

    def read(self, src: Path, options: CsvOptions, notes: Counter[str]) -> Iterator[GroupWithImages]:
        """See ``Format.read``. The text of the file is held in memory, the images are not."""
        file = own_file(src, ".csv")
        statements: list[Statement] = []
        mistakes: list[str] = []
        rows = read_table(file)
        _, header = next(rows)
        kind = _kind(header, file)
        for line, cells in rows:
            try:
                if len(cells) != len(header):
                    raise ValueError(
                        f"the row has {len(cells)} cells, the header has {len(header)}; a comma inside a text needs "
                        'the text in "quotes"'
                    )
                statements.append(_statement(kind, dict(zip(header, cells, strict=True)), line))
            except ValueError as error:
                mistakes.append(f"{file}:{line}: {error}")
            if len(mistakes) >= SHOWN_MISTAKES:
                raise mistakes_in(mistakes, more=True)
        if mistakes:
            raise mistakes_in(mistakes, more=False)
        if not statements:
            raise UserError(f"{file} has a header and no rows")
        if kind == "ranking":
            statements = list(_orders(statements, file))
        yield from gather(statements, file, self.name, notes)


def read_table(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows that are not blank, each with the line number at which it begins.

    Raises:
        LineError: The file is empty, not UTF-8, or its quotes do not match.
    """
    csv.field_size_limit(MAX_CELL)
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        begins = 1
        try:
            for cells in reader:
                if cells:
                    yield begins, cells
                elif begins == 1:
                    raise LineError(f"{file}:1: the first line is empty; it must hold the names of the columns")
                begins = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise LineError(
                f"{file}: behind line {reader.line_num} a byte ({error.object[error.start]:#04x}) is not UTF-8; save "
                "the file as UTF-8"
            ) from None
        except csv.Error as error:
            raise LineError(
                f"{file}:{begins}: the row cannot be read: {error}. A quote inside a quoted text is written twice"
            ) from None
        if reader.line_num == 0:
            raise LineError(f"{file} is empty: the first line must hold the names of the columns")


def _kind(header: list[str], file: Path) -> str:
    """Which kind of table the columns make.

    Raises:
        LineError: A column is unknown, doubled or missing.
    """
    where = f"{file}:1"
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise LineError(f"{where}: the columns are not separated by commas: {header[0]!r}; save the table with commas")
    doubled = [name for name, times in Counter(header).items() if times > 1]
    if doubled:
        raise LineError(f"{where}: the column {doubled[0]!r} stands twice")
    every = sorted({name for needed, others in KINDS.values() for name in (*needed, *others)})
    strange = [name for name in header if name not in every and not _is_tag(name)]
    if strange:
        raise LineError(
            "\n".join(
                f"{where}: {name!r} is not a column of a preference table. {nearest(name, [*every, 'tags.NAME'])}"
                for name in strange
            )
        )
    # The column that only one kind has tells the kind.
    tells = {"comparison": {"image_a", "image_b", "better", "votes_a"}, "rating": {"rating"}, "ranking": {"rank"}}
    found = [kind for kind, columns in tells.items() if columns & set(header)]
    if len(found) != 1:
        kinds = "; ".join(f"{kind}s need {', '.join(needed)}" for kind, (needed, _) in KINDS.items())
        said = f"the columns say at once {' and '.join(found)}" if found else "the columns say nothing about the images"
        raise LineError(f"{where}: {said}. {kinds}")
    needed, others = KINDS[found[0]]
    problems = [f"the column {name!r} is missing" for name in needed if name not in header]
    problems += [
        f"the column {name!r} does not go with a table of {found[0]}s"
        for name in header
        if name not in (*needed, *others) and not _is_tag(name)
    ]
    if found[0] == "comparison":
        by_choice, by_votes = "better" in header, {"votes_a", "votes_b"} <= set(header)
        if by_choice == by_votes:
            problems.append("a comparison needs either the column 'better' or the columns 'votes_a' and 'votes_b'")
    if problems:
        raise LineError("\n".join(f"{where}: {problem}" for problem in problems))
    return found[0]


def _is_tag(name: str) -> bool:
    return name.startswith("tags.") and len(name) > len("tags.")


def _statement(kind: str, row: dict[str, str], line: int) -> Statement:
    """One row as a statement.

    Raises:
        ValueError: What is wrong with it, without file and line.
    """
    sides = ("image_a", "image_b") if kind == "comparison" else ("image",)
    makers = ("generator_a", "generator_b") if kind == "comparison" else ("generator",)
    if not row["prompt"].strip():
        raise ValueError("prompt is empty; write the prompt that the images were made for")
    images = tuple(_image(row, side) for side in sides)
    if len(set(images)) < len(images):
        raise ValueError(f"image_a and image_b are the same image {images[0]!r}")
    shared: dict[str, Any] = {
        "line": line,
        "prompt": row["prompt"],
        "images": images,
        "generators": tuple(row.get(name) or None for name in makers),
        "dimension": row.get("dimension") or DEFAULT_DIMENSION,
        "by": row.get("rater", ""),
        "group": row.get("group") or None,
        "tags": {name.removeprefix("tags."): value for name, value in row.items() if _is_tag(name) and value},
    }
    if kind == "comparison":
        weight = _number(row, "weight") if row.get("weight") else 1.0
        if weight < 0:
            raise ValueError(f"weight is {weight}; it must not be negative")
        return Choice(**shared, votes=_votes(row), weight=weight)
    if kind == "rating":
        value: float | Literal["NA"] = NOT_APPLICABLE if row["rating"] == "NA" else _number(row, "rating")
        return Rating(**shared, value=value, rationale=row.get("rationale") or None)
    return Order(**shared, ranks=(_number(row, "rank"),))


def _image(row: Mapping[str, str], name: str) -> str:
    if not row[name].strip():
        raise ValueError(f"{name} is empty")
    return image_path(row[name])


def _number(row: Mapping[str, str], name: str) -> float:
    text = row[name].strip()
    advice = "; leave the row out where nobody answered, write NA where the question does not apply"
    if not text:
        raise ValueError(f"{name} is empty" + (advice if name == "rating" else ""))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} is {text!r}; it must be a number" + (advice if name == "rating" else ""))
    return value


def _votes(row: Mapping[str, str]) -> tuple[float, float, float]:
    if "better" in row:
        choices = {"a": (1.0, 0.0, 0.0), "tie": (0.0, 1.0, 0.0), "b": (0.0, 0.0, 1.0)}
        if row["better"] not in choices:
            raise ValueError(f"better is {row['better']!r}; it must be a, b or tie")
        return choices[row["better"]]
    if row.get("rater"):
        raise ValueError("votes are several people's, so the row cannot have a rater; leave rater empty")
    first, second = _number(row, "votes_a"), _number(row, "votes_b")
    tie = _number(row, "votes_tie") if "votes_tie" in row else 0.0
    if min(first, tie, second) < 0 or first + tie + second <= 0:
        raise ValueError(f"votes are {first:g}, {tie:g}, {second:g}; none may be negative, one must be positive")
    return (first, tie, second)


def _orders(rows: list[Statement], file: Path) -> Iterator[Order]:
    """Rows of single ranks as one ranking per prompt, group, dimension and rater.

    Raises:
        LineError: A rater ranks an image twice, or only one image of a prompt.
    """
    together: dict[tuple[str | None, str, str, str], list[Order]] = {}
    for said in rows:
        assert isinstance(said, Order)
        together.setdefault((said.group, said.prompt, said.dimension, said.by), []).append(said)
    for orders in together.values():
        first = orders[0]
        who = f"rater {first.by!r}" if first.by else "the ranking without a rater"
        if len(orders) == 1:
            raise LineError(f"{file}:{first.line}: {who} ranks only one image of this prompt; a ranking needs two")
        seen: dict[str, int] = {}
        for said in orders:
            if said.images[0] in seen:
                raise LineError(
                    f"{file}:{said.line}: {who} ranked {said.images[0]!r} already in line {seen[said.images[0]]}; "
                    "several people's rankings need the column 'rater'"
                )
            seen[said.images[0]] = said.line
            if said.tags != first.tags:
                raise LineError(f"{file}:{said.line}: the tags differ from those of line {first.line} of this ranking")
        yield replace(
            first,
            images=tuple(said.images[0] for said in orders),
            generators=tuple(said.generators[0] for said in orders),
            ranks=tuple(said.ranks[0] for said in orders),
        )
