"""Draws names below each other, each with its value and interval on one common line: a leaderboard as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rewardkit.report.drawing import WIDE, as_svg, ink, new_axes
from rewardkit.report.scales import Axis, axis_of, number

_LETTERS = 24


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One line.

    Attributes:
        label: Its name.
        value: Where its point stands; a row without one has only its name.
        low: Lower end of the interval; None for none.
        high: Upper end.
        best: Drawn in the accent colour: the best, or one that is not distinguishable from it.
        told: What is told when one points at it.
        outside: A value from elsewhere, drawn as a hollow point.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    best: bool = False
    told: str = ""
    outside: bool = False


def interval_chart(rows: Sequence[IntervalRow], *, x_label: str) -> Markup:
    """The rows from above to below in the order given; empty where none has a value."""
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None and math.isfinite(end)]
    if not ends:
        return Markup("")
    letters = min(_LETTERS, max(len(row.label) for row in rows))
    axes = new_axes(axis_of(min(ends), max(ends)), Axis(-0.6, len(rows) - 0.4, ()), x_label=x_label, y_label="",
                    width=WIDE, height=66 + 21 * len(rows), left=18 + round(6.4 * letters))  # fmt: skip
    axes.grid(axis="x", color=ink("rule"), linewidth=1, zorder=0)
    heights = [len(rows) - 1 - n for n in range(len(rows))]
    axes.set_yticks(heights, [_short(row.label) for row in rows], parse_math=False)
    titles = {}
    for n, (row, y) in enumerate(zip(rows, heights, strict=True)):
        if row.value is None:
            continue
        colour = ink("accent" if row.best else "ink-2")
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=4, alpha=0.45, solid_capstyle="round")
        face, edge = (ink("paper"), colour) if row.outside else (colour, ink("paper"))
        (dot,) = axes.plot([row.value], [y], "o", color=face, markersize=7, markeredgecolor=edge, markeredgewidth=1.4)
        dot.set_gid(f"row{n}")
        titles[f"row{n}"] = row.told or f"{row.label}: {number(row.value)}"
    return as_svg(axes, f"{x_label}, with 95 % intervals", titles=titles)


def _short(label: str) -> str:
    return label if len(label) <= _LETTERS else f"{label[: _LETTERS - 1]}…"
