"""How often each generator beats each other one: a heat map that is a table, to be read, heard and copied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rewardkit.benchmark.result import ALL, BenchmarkResult
from rewardkit.benchmark.result_rows import WinRate
from rewardkit.report.board import judge_name, part_name

MAX_MATRICES = 12
"""Matrices of a page."""

_STRONGEST = 46
"""Per cent of colour at a win rate of 0 or 1."""


@dataclass(frozen=True, slots=True)
class WinCell:
    """The row's generator against the column's.

    Attributes:
        text: Per cent; "" on the diagonal and where they have no prompt in common.
        kind: ``ahead``, ``behind``, or ``even`` where the interval holds one half.
        strength: Of its colour, per cent.
        told: What is told when one points at it.
    """

    text: str = ""
    kind: str = "even"
    strength: int = 0
    told: str = ""


@dataclass(frozen=True, slots=True)
class WinMatrix:
    """One reward, dimension and part: rows and columns are the same generators, the first the best."""

    title: str
    names: tuple[str, ...]
    rows: tuple[tuple[WinCell, ...], ...]


def win_matrices(result: BenchmarkResult) -> tuple[list[WinMatrix], int]:
    """The matrices over all prompts, then those of parts; and how many there are besides."""
    groups: dict[tuple[str, str, str, str], list[WinRate]] = defaultdict(list)
    for one in result.win_rates:
        groups[one.reward, one.dimension, one.tag, one.value].append(one)
    means = {(c.reward, c.dimension, c.tag, c.value, c.generator): c.mean for c in result.cells}
    ordered = sorted(groups, key=lambda key: key[2] != ALL)
    made = []
    for key in ordered[:MAX_MATRICES]:
        names = dict.fromkeys(name for pair in groups[key] for name in (pair.first, pair.second))
        scored = sorted(names, key=lambda name: -_mean(means.get((*key, name))))
        title = judge_name(*key[:2]) + ("" if key[2] == ALL else f", {part_name(*key[2:])}")
        made.append(_matrix(title, scored, groups[key]))
    return made, max(0, len(ordered) - MAX_MATRICES)


def _mean(value: float | None) -> float:
    return float("-inf") if value is None else value


def _matrix(title: str, names: Sequence[str], pairs: Sequence[WinRate]) -> WinMatrix:
    place = {name: n for n, name in enumerate(names)}
    rows = [[WinCell() for _ in names] for _ in names]
    for pair in pairs:
        if pair.win_rate is None:
            continue
        ends = (pair.win_low, pair.win_high)
        turned = tuple(None if end is None else 1 - end for end in reversed(ends))
        i, j = place[pair.first], place[pair.second]
        rows[i][j] = _cell(pair.first, pair.second, pair.win_rate, ends, pair.prompts)
        rows[j][i] = _cell(pair.second, pair.first, 1 - pair.win_rate, turned, pair.prompts)
    return WinMatrix(title, tuple(names), tuple(tuple(row) for row in rows))


def _cell(first: str, second: str, rate: float, ends: tuple[float | None, ...], prompts: int) -> WinCell:
    low, high = ends
    told = f"{first} scores higher than {second} on {rate:.1%} of {prompts:,} prompts"
    kind = "even"
    if low is not None and high is not None:
        told += f", 95 % interval {low:.1%} to {high:.1%}"
        kind = "ahead" if low > 0.5 else "behind" if high < 0.5 else "even"
    return WinCell(f"{100 * rate:.0f}", kind, round(_STRONGEST * abs(2 * rate - 1)), told)
