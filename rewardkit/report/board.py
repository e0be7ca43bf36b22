"""The table of a leaderboard: a row for each generator, a column for each reward, dimension and part of the prompts.

Numbers are those of ``benchmark.json``; nothing is counted again. Rows of published tables stand among the measured
ones, marked, in the columns of the rewards whose numbers they may be compared with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rewardkit.benchmark.result import ALL, BenchmarkResult
from rewardkit.benchmark.result_published import Reference
from rewardkit.benchmark.result_rows import Cell, Generator
from rewardkit.report.scales import number

PEOPLE = "people"
"""Stands for a reward in the columns that tell what people said."""

_DECIMALS = {"cosine100": 2, "cosine": 4}

CellKey = tuple[str, str, str, str, str]
"""Reward, dimension, tag, value, generator."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        judge: Label of the reward and its dimension, ``people`` and theirs: what the column is filtered by.
        part: Name of the part of the prompts.
        reward: Label of the reward; ``people``.
        dimension: Of the reward.
        tag: Of the part.
        value: Of the part.
    """

    judge: str
    part: str
    reward: str
    dimension: str
    tag: str
    value: str


@dataclass(frozen=True, slots=True)
class BoardCell:
    """One cell.

    Attributes:
        text: The mean; a dash where there is none.
        value: What it is sorted by.
        below: Rank and interval, small.
        ends: Of the interval; None where there is none.
        best: Whether it is the best of its column, or not distinguishable from it.
        behind: Number of what it opens; None where it opens nothing.
    """

    text: str = "–"
    value: float | None = None
    below: str = ""
    ends: tuple[float | None, float | None] = (None, None)
    best: bool = False
    behind: int | None = None


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One generator; ``published``: of a published table, not measured here. ``notes`` stand below its name."""

    name: str
    notes: tuple[str, ...]
    published: bool
    cells: tuple[BoardCell, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """The table, the best of its first column first.

    Attributes:
        columns: Its columns, without that of the names.
        rows: Its rows.
        opened: What the cells open, in the order of their numbers.
        published: Whether there are published rows.
    """

    columns: tuple[Column, ...]
    rows: tuple[BoardRow, ...]
    opened: tuple[Cell, ...]
    published: bool

    @property
    def judges(self) -> list[str]:
        """What columns can be filtered by: rewards with their dimensions."""
        return list(dict.fromkeys(column.judge for column in self.columns))

    @property
    def parts(self) -> list[str]:
        """What else columns can be filtered by: parts of the prompts."""
        return list(dict.fromkeys(column.part for column in self.columns))


def leaders(cells: Iterable[Cell]) -> set[str]:
    """Of the cells of one column: the generator with the highest mean, and all that are not distinguishable from it."""
    scored = [cell for cell in cells if cell.mean is not None]
    if not scored:
        return set()
    best = max(scored, key=lambda cell: cell.mean or 0.0)
    return {best.generator, *best.same_as}


def columns_of_cells(cells: Iterable[Cell]) -> dict[tuple[str, str, str, str], dict[str, Cell]]:
    """Cells by reward, dimension, tag and value, and in these by generator."""
    found: dict[tuple[str, str, str, str], dict[str, Cell]] = defaultdict(dict)
    for cell in cells:
        found[cell.reward, cell.dimension, cell.tag, cell.value][cell.generator] = cell
    return dict(found)


def part_name(tag: str, value: str) -> str:
    """``all prompts``, or ``style: anime``."""
    return "all prompts" if tag == ALL else f"{tag}: {value}"


def judge_name(reward: str, dimension: str) -> str:
    """A reward and its dimension in one name."""
    return f"{reward} · {dimension}"


def written(value: float | None, scale: str) -> str:
    """A score with as many decimals as its scale needs, the same in all of a column."""
    return "–" if value is None else f"{value:.{_DECIMALS.get(scale, 3)}f}".replace("-", "−")


def span(low: float | None, high: float | None, scale: str) -> str:
    """An interval, with thin spaces around its dash, or with "to" where a minus stands; "" where there is none."""
    if low is None or high is None:
        return ""
    ends = written(low, scale), written(high, scale)
    return (" to " if min(low, high) < 0 else "\u2009–\u2009").join(ends)


def rank_name(rank: int | None, last_rank: int | None) -> str:
    """``3``, or ``3–5`` where nothing tells which of these it is."""
    return "" if rank is None else str(rank) if last_rank in (None, rank) else f"{rank}–{last_rank}"


def make_board(result: BenchmarkResult) -> Board:
    """The table of a benchmark."""
    columns = _columns(result)
    by_column = columns_of_cells(result.cells)
    scales = {reward.label: reward.scale for reward in result.rewards}
    opened: list[Cell] = []
    cells: dict[tuple[str, int], BoardCell] = {}
    for place, column in enumerate(columns):
        found = by_column.get((column.reward, column.dimension, column.tag, column.value), {})
        best = leaders(found.values())
        for generator, cell in found.items():
            if cell.mean is None:
                continue
            cells[generator, place] = _measured(cell, scales[cell.reward], generator in best, len(opened))
            opened.append(cell)
    for value in result.human_values:
        place = columns.index(_people(value.dimension))
        cells[value.generator, place] = BoardCell(number(value.value), value.value)
    rows = [_row(one, cells, len(columns)) for one in result.generators]
    published = [_published(one, result, columns, scales) for one in result.references]
    published = [row for row in published if any(cell.value is not None for cell in row.cells)]
    ordered = sorted([*rows, *published], key=_first)
    return Board(tuple(columns), tuple(ordered), tuple(opened), bool(published))


def _columns(result: BenchmarkResult) -> list[Column]:
    judges = [(reward.label, dimension) for reward in result.rewards for dimension in reward.dimensions]
    columns = [
        Column(judge_name(*judge), part_name(part.tag, part.value), *judge, part.tag, part.value)
        for judge in judges
        for part in result.parts
    ]
    known = {(cell.reward, cell.dimension, cell.tag, cell.value) for cell in result.cells if cell.mean is not None}
    columns = [one for one in columns if (one.reward, one.dimension, one.tag, one.value) in known]
    return columns + [_people(dimension) for dimension in dict.fromkeys(one.dimension for one in result.human_values)]


def _people(dimension: str) -> Column:
    return Column(judge_name(PEOPLE, dimension), part_name(ALL, ALL), PEOPLE, dimension, ALL, ALL)


def _measured(cell: Cell, scale: str, best: bool, behind: int) -> BoardCell:
    rank = rank_name(cell.rank, cell.last_rank)
    below = " · ".join(part for part in (f"#{rank}" if rank else "", span(cell.low, cell.high, scale)) if part)
    return BoardCell(written(cell.mean, scale), cell.mean, below, (cell.low, cell.high), best, behind)


def _row(generator: Generator, cells: dict[tuple[str, int], BoardCell], columns: int) -> BoardRow:
    notes = [f"{len(generator.missing):,} missing"] if generator.missing else []
    if generator.variant_of is not None:
        notes.insert(0, f"{generator.variant_of} with appended prompts")
    row = tuple(cells.get((generator.name, place), BoardCell()) for place in range(columns))
    return BoardRow(generator.name, tuple(notes), False, row)


def _published(
    reference: Reference, result: BenchmarkResult, columns: Sequence[Column], scales: dict[str, str]
) -> BoardRow:
    """A published row; its numbers are of a reward's first dimension."""
    first = {reward.label: reward.dimensions[0] for reward in result.rewards if reward.label in reference.rewards}
    cells = []
    for column in columns:
        value = None
        if first.get(column.reward) == column.dimension:
            if column.tag == ALL:
                value = reference.average
            elif column.tag == result.main_tag:
                value = reference.styles.get(column.value)
        cells.append(BoardCell() if value is None else BoardCell(written(value, scales[column.reward]), value))
    return BoardRow(reference.generator, (reference.version,), True, tuple(cells))


def _first(row: BoardRow) -> tuple[bool, float]:
    value = row.cells[0].value if row.cells else None
    return value is None, -(value or 0.0)
