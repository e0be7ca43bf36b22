"""Draws the report's charts as SVG that stands inside the page: no scripts, no fonts, colours from the page's CSS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from rewardkit.report.scales import Axis, Piece, axis_of, number, pieces

COLOURS = 8
"""Line colours that the page defines (classes ``c0`` to ``c7``); further lines repeat them, dashed."""

WIDE, SMALL = 440, 310
"""Widths of charts in the units of their own text, which is 12 high; the page scales them to its columns."""

_HEIGHT = 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 24, 40
_BAR, _BAR_EDGE = 26, 6


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: (step, value), steps ascending; values may be NaN or infinite."""

    label: str
    points: Sequence[tuple[float, float]]


def line_chart(
    lines: Sequence[Line],
    *,
    y_label: str,
    x_label: str = "optimiser step",
    reference: Mapping[str, float] | None = None,
    width: int = WIDE,
) -> Markup:
    """Curves over a common x axis; empty where no line has a finite value.

    Args:
        lines: Up to a dozen; long ones are drawn as mean and range.
        y_label: Above the y axis.
        x_label: Below the x axis.
        reference: Label to height of horizontal reference lines.
        width: ``WIDE`` or ``SMALL``.
    """
    drawn = [(n, line, pieces(line.points)) for n, line in enumerate(lines)]
    everything = [piece for _, _, stretches in drawn for stretch in stretches for piece in stretch]
    if not everything:
        return Markup("")
    marks = dict(reference or {})
    x = axis_of(min(p.x for p in everything), max(p.x for p in everything), grow=False)
    y = axis_of(
        min([p.mean for p in everything] + list(marks.values())),
        max([p.mean for p in everything] + list(marks.values())),
    )
    parts = [*_frame(x, y, x_label, y_label, width)]
    for label, height in marks.items():
        at = y.place(height, _HEIGHT - _BOTTOM, _TOP)
        parts.append(f'<line class="reference" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="note" x="{_LEFT + 4}" y="{at - 4:.1f}">{escape(label)}</text>')
    inside = "".join(
        _curve(stretch, x, y, n, line.label, width) for n, line, stretches in drawn for stretch in stretches
    )
    # Curves leave the plot where single values are far above the mean; dots at its edge keep their whole outline.
    box = (_LEFT - 4, _TOP - 4, width - _LEFT - _RIGHT + 8, _HEIGHT - _TOP - _BOTTOM + 8)
    shape = 'x="{0}" y="{1}" width="{2}" height="{3}" viewBox="{0} {1} {2} {3}"'.format(*box)
    parts.append(f'<svg {shape} overflow="hidden">{inside}</svg>')
    return _svg(parts, f"{y_label} over {x_label}", width)


def histogram(values: NDArray[np.float64], *, x_label: str, bins: int = 40) -> Markup:
    """How often each value occurs; empty where there is none. Values must be finite."""
    if not len(values):
        return Markup("")
    counts, edges = _bins(values, bins)
    return _bars([(counts, "c0")], edges, x_label=x_label, y_label="candidates")


def margin_histogram(margins: NDArray[np.float64], *, x_label: str, bins: int = 40) -> Markup:
    """Margins of the candidate that people preferred: right above 0 in one colour, wrong below in another."""
    if not len(margins):
        return Markup("")
    reach = float(np.abs(margins).max()) or 1.0
    edges = np.linspace(-reach, reach, bins + 1 + bins % 2)  # an even number of bars: an edge lies at 0
    right, _ = np.histogram(margins[margins > 0], edges)
    wrong, _ = np.histogram(margins[margins < 0], edges)
    equal, _ = np.histogram(margins[margins == 0], edges)
    return _bars([(right, "right"), (wrong, "wrong"), (equal, "equal")], edges, x_label=x_label, y_label="comparisons")


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


def _curve(stretch: Sequence[Piece], x: Axis, y: Axis, n: int, label: str, width: int) -> str:
    """One unbroken stretch: the range as a band where there is one, the mean as a line, a single point as a dot."""
    colour = f"c{n % COLOURS}" + (" dashed" if n >= COLOURS else "")

    def at(px: float, py: float) -> str:
        bottom = _HEIGHT - _BOTTOM
        # Far beyond the frame there is nothing to see, and huge coordinates would only make the page longer.
        height = min(max(y.place(py, bottom, _TOP), -1e3), 1e3)
        return f"{x.place(px, _LEFT, width - _RIGHT):.1f} {height:.1f}"

    title = f"<title>{escape(label)}: {number(stretch[-1].mean)} at {number(stretch[-1].x)}</title>"
    if len(stretch) == 1:
        px, py = at(stretch[0].x, stretch[0].mean).split()
        return f'<circle class="dot {colour}" cx="{px}" cy="{py}" r="3.5">{title}</circle>'
    band = ""
    if any(piece.high > piece.low for piece in stretch):
        outline = [at(p.x, p.high) for p in stretch] + [at(p.x, p.low) for p in reversed(stretch)]
        band = f'<path class="band {colour}" d="M{"L".join(outline)}Z"/>'
    path = f'<path class="line {colour}" d="M{"L".join(at(p.x, p.mean) for p in stretch)}">{title}</path>'
    dots = ""
    if len(stretch) <= 12:
        dots = "".join(
            '<circle class="dot {}" cx="{}" cy="{}" r="2.6"><title>{}: {} at {}</title></circle>'.format(
                colour, *at(p.x, p.mean).split(), escape(label), number(p.mean), number(p.x)
            )
            for p in stretch
        )
    return band + path + dots


def _bins(values: NDArray[np.float64], bins: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    low, high = float(values.min()), float(values.max())
    if not high - low > 1e-12 * max(1.0, abs(low)):
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(values, bins, (low, high))
    return counts, edges


def _bars(
    layers: Sequence[tuple[NDArray[np.int64], str]], edges: NDArray[np.float64], *, x_label: str, y_label: str
) -> Markup:
    """Stacked bars; every layer has a count for each bar and a CSS class."""
    x = axis_of(float(edges[0]), float(edges[-1]), grow=False)
    y = axis_of(0, float(sum(counts for counts, _ in layers).max()), ticks=4)  # type: ignore[union-attr]
    parts = [*_frame(x, y, x_label, y_label, SMALL)]
    below = np.zeros(len(edges) - 1)
    for counts, colour in layers:
        for n in np.flatnonzero(counts):
            left, right = (x.place(float(edge), _LEFT, SMALL - _RIGHT) for edge in edges[n : n + 2])
            top = y.place(float(below[n] + counts[n]), _HEIGHT - _BOTTOM, _TOP)
            bottom = y.place(float(below[n]), _HEIGHT - _BOTTOM, _TOP)
            parts.append(
                f'<rect class="{colour}" x="{left + 0.4:.1f}" y="{top:.1f}" width="{max(0.5, right - left - 0.8):.1f}" '
                f'height="{bottom - top:.1f}"><title>{number(edges[n])} to {number(edges[n + 1])}: {int(counts[n]):,}'
                "</title></rect>"
            )
        below = below + counts
    return _svg(parts, f"{y_label} by {x_label}", SMALL)


def _frame(x: Axis, y: Axis, x_label: str, y_label: str, width: int) -> Iterable[str]:
    """Grid, tick marks and labels."""
    bottom, right = _HEIGHT - _BOTTOM, width - _RIGHT
    for tick in y.ticks:
        at = y.place(tick, bottom, _TOP)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y.label(tick)}</text>'
    for tick in x.ticks:
        at = x.place(tick, _LEFT, right)
        yield f'<line class="tick" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{x.label(tick)}</text>'
    yield f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
    middle = (_LEFT + right) / 2
    yield f'<text class="label" x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    yield f'<text class="label" x="{_LEFT}" y="12">{escape(y_label)}</text>'


def _svg(parts: Sequence[str], description: str, width: int) -> Markup:
    shape = f'viewBox="0 0 {width} {_HEIGHT}" role="img" aria-label="{escape(description)}"'
    return Markup(f'<svg class="chart" {shape}>{"".join(parts)}</svg>')
