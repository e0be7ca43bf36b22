"""Small marks that stand in the lines of a table: a value with its interval, reference marks, and their legend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from markupsafe import Markup, escape

from rewardkit.report.scales import Axis, axis_of

_BAR, _BAR_EDGE = 26, 6


def interval_bar(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    axis: Axis,
    marks: Mapping[str, float | None],
    width: int,
) -> Markup:
    """A value with its 95 % interval on a line of a table, and reference marks.

    Args:
        value: The value; None leaves only the marks.
        low: Lower end of the interval.
        high: Upper end.
        axis: Common to the table's rows.
        marks: CSS class to value: ``chance`` is drawn as a line, the others as small shapes.
        width: Pixels.
    """
    middle = _BAR / 2

    def at(number_: float) -> float:
        return axis.place(min(max(number_, axis.low), axis.high), _BAR_EDGE, width - _BAR_EDGE)

    parts = [f'<line class="rule" x1="{_BAR_EDGE}" x2="{width - _BAR_EDGE}" y1="{middle}" y2="{middle}"/>']
    for kind, mark in marks.items():
        if mark is None or not math.isfinite(mark):
            continue
        title = f"<title>{escape(kind.replace('-', ' '))} {mark:.3f}</title>"
        if kind == "chance":
            parts.append(f'<line class="chance" x1="{at(mark):.1f}" x2="{at(mark):.1f}" y1="2" y2="{_BAR - 2}">')
            parts.append(f"{title}</line>")
        else:
            parts.append(f'<path class="mark {escape(kind)}" d="{_shape(kind, at(mark), middle)}">{title}</path>')
    if low is not None and high is not None:
        parts.append(
            f'<line class="interval" x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{middle}" y2="{middle}">'
            f"<title>95 % interval {low:.3f} to {high:.3f}</title></line>"
        )
    if value is not None:
        dot = f'<circle class="value" cx="{at(value):.1f}" cy="{middle}" r="4.5">'
        parts.append(f"{dot}<title>{value:.3f}</title></circle>")
    return Markup(f'<svg class="bar" width="{width}" height="{_BAR}" aria-hidden="true">{"".join(parts)}</svg>')


def interval_scale(axis: Axis, *, width: int) -> Markup:
    """The axis above a column of interval bars."""
    ticks = "".join(
        f'<text x="{axis.place(tick, _BAR_EDGE, width - _BAR_EDGE):.1f}" y="12" text-anchor="middle">{axis.label(tick)}'
        "</text>"
        for tick in axis.ticks
    )
    return Markup(f'<svg class="bar" width="{width}" height="16" aria-hidden="true">{ticks}</svg>')


def share_axis(values: Iterable[float | None]) -> Axis:
    """An axis for accuracies: holds one half and all the values."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return axis_of(min([0.5, *known]), min(1.0, max([0.75, *known])), ticks=4)


def mark_shape(kind: str) -> Markup:
    """A reference mark for a legend."""
    if kind == "chance":
        inner = '<line class="chance" x1="7" x2="7" y1="1" y2="13"/>'
    elif kind == "value":
        inner = '<line class="interval" x1="0" x2="14" y1="7" y2="7"/><circle class="value" cx="7" cy="7" r="4"/>'
    else:
        inner = f'<path class="mark {escape(kind)}" d="{_shape(kind, 7, 7)}"/>'
    return Markup(f'<svg class="key" viewBox="0 0 14 14" aria-hidden="true">{inner}</svg>')


def _shape(kind: str, x: float, y: float) -> str:
    """Outline of a reference mark: each baseline has a shape of its own, so that colour is not needed to tell them."""
    outlines = {
        "annotators": ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
        "generator": ((0, -5), (5, 4), (-5, 4)),
        "position": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "reachable": ((-1.5, -8), (1.5, -8), (1.5, 8), (-1.5, 8)),
    }
    return "M" + "L".join(f"{x + dx:.1f} {y + dy:.1f}" for dx, dy in outlines[kind]) + "Z"
