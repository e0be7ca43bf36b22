"""The report's charts, drawn with matplotlib: curves, histograms, reliability, spreads of scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rewardkit.report.drawing import SMALL, WIDE, as_svg, ink, new_axes
from rewardkit.report.scales import Axis, Piece, axis_of, number, pieces

COLOURS = 8
"""Line colours that the page defines (classes ``c0`` to ``c7``); further lines repeat them, dashed."""

_FEW_POINTS = 12
"""A curve of so few points shows each as a dot."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve.

    Attributes:
        label: Its name.
        points: (x, value), x ascending; values may be NaN or infinite.
        ends: Lower and upper end of an interval around each value; empty for none.
        quiet: Drawn thin and grey, as something to read the others against.
    """

    label: str
    points: Sequence[tuple[float, float]]
    ends: Sequence[tuple[float, float]] = ()
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """How the scores of some candidates are spread; the quantiles 0.05, 0.25, 0.5, 0.75, 0.95."""

    label: str
    count: int
    quantiles: tuple[float, float, float, float, float]


def line_chart(
    lines: Sequence[Line],
    *,
    y_label: str,
    x_label: str = "optimiser step",
    reference: Mapping[str, float] | None = None,
    width: int = WIDE,
    y_axis: Axis | None = None,
) -> Markup:
    """Curves over a common x axis; empty where no line has a finite value.

    Args:
        lines: Up to a dozen; long ones are drawn as mean and range.
        y_label: Above the y axis.
        x_label: Below the x axis.
        reference: Label to height of horizontal reference lines.
        width: ``WIDE`` or ``SMALL``.
        y_axis: Where it is not to follow from the values.
    """
    drawn = [(n, line, pieces(line.points)) for n, line in enumerate(lines)]
    everything = [piece for _, _, stretches in drawn for stretch in stretches for piece in stretch]
    if not everything:
        return Markup("")
    marks = dict(reference or {})
    heights = [p.mean for p in everything] + list(marks.values())
    heights += [end for line in lines for ends in line.ends for end in ends if math.isfinite(end)]
    x = axis_of(min(p.x for p in everything), max(p.x for p in everything), grow=False)
    axes = new_axes(x, y_axis or axis_of(min(heights), max(heights)), x_label=x_label, y_label=y_label, width=width)
    for label, height in marks.items():
        axes.axhline(height, color=ink("ink-3"), linewidth=1.2, linestyle=(0, (2, 4)))
        axes.annotate(label, (0, height), (4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                      color=ink("ink-3"), fontsize=11)  # fmt: skip
    titles: dict[str, str] = {}
    for n, line, stretches in drawn:
        if line.ends:
            places = [point[0] for point in line.points]
            low, high = zip(*line.ends, strict=True)
            axes.fill_between(places, low, high, color=_colour(n, line), alpha=0.16, linewidth=0)
        for stretch in stretches:
            _draw(axes, stretch, n, line, titles)
    return as_svg(axes, f"{y_label} over {x_label}", titles=titles)


def histogram(values: NDArray[np.float64], *, x_label: str, bins: int = 40) -> Markup:
    """How often each value occurs; empty where there is none. Values must be finite."""
    if not len(values):
        return Markup("")
    edges = _edges(values, bins)
    counts, _ = np.histogram(values, edges)
    return _bars([(counts, "c0")], edges, x_label=x_label, y_label="candidates")


def outlines(parts: Mapping[str, NDArray[np.float64]], *, x_label: str, bins: int = 30) -> Markup:
    """Histograms of several sets of values over the same bins, each as an outline and as a share of its own set.

    Args:
        parts: Label to values, none empty, all finite; the n-th is drawn in the n-th colour.
        x_label: Below.
        bins: Number of bins.
    """
    edges = _edges(np.concatenate(list(parts.values())), bins)
    shares = {name: np.histogram(values, edges)[0] / len(values) for name, values in parts.items()}
    axes = new_axes(
        axis_of(float(edges[0]), float(edges[-1]), grow=False),
        axis_of(0, float(max(share.max() for share in shares.values())), ticks=4),
        x_label=x_label,
        y_label="share of its candidates",
        width=SMALL,
    )
    titles = {}
    for n, (name, share) in enumerate(shares.items()):
        drawn = axes.stairs(share, edges, color=ink(f"c{n % COLOURS}"), linewidth=1.7, linestyle=_dashes(n))
        drawn.set_gid(f"set{n}")
        titles[f"set{n}"] = f"{name}: {len(parts[name]):,} candidates"
        axes.stairs(share, edges, fill=True, color=ink(f"c{n % COLOURS}"), alpha=0.10, linewidth=0)
    return as_svg(axes, f"share of candidates by {x_label}", titles=titles)


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


def reliability_chart(kinds: Mapping[str, NDArray[np.float64]], *, width: int = SMALL) -> Markup:
    """How often people agree with the model where it is so sure; on the diagonal it is as sure as it is right.

    Args:
        kinds: Label to ``metrics.calibration.reliability``: for each bin number, sum of confidences, sum of labels.
        width: ``WIDE`` or ``SMALL``.
    """
    if not any(sums[:, 0].any() for sums in kinds.values()):
        return Markup("")
    points: dict[str, NDArray[np.float64]] = {}
    for name, sums in kinds.items():
        filled = sums[sums[:, 0] > 0]
        points[name] = np.stack([filled[:, 0], *(filled[:, 1:] / filled[:, :1]).T], axis=1)
    low = min(0.5, *(float(found[:, 2].min()) for found in points.values() if len(found)))
    axes = new_axes(
        axis_of(0.5, 1.0), axis_of(low, 1.0), x_label="how sure the model is", y_label="people agree", width=width
    )
    axes.plot([0.5, 1.0], [0.5, 1.0], color=ink("ink-3"), linewidth=1.2, linestyle=(0, (2, 4)))
    largest = max(float(found[:, 0].max()) for found in points.values() if len(found))
    titles = {}
    for n, (name, found) in enumerate(points.items()):
        colour = ink(f"c{n}")
        axes.plot(found[:, 1], found[:, 2], color=colour, linewidth=1.6, alpha=0.7)
        for k, (count, sure, right) in enumerate(found):
            size = 3.5 + 7 * math.sqrt(count / largest)
            (dot,) = axes.plot([sure], [right], "o", color=colour, markersize=size, markeredgecolor=ink("paper"))
            dot.set_gid(f"{n}-{k}")
            titles[f"{n}-{k}"] = f"{name}: {sure:.3f} sure, {right:.3f} agree, {int(count):,} comparisons"
    return as_svg(axes, "how often people agree, by how sure the model is", titles=titles)


def spread_chart(spreads: Sequence[Spread], *, x_label: str) -> Markup:
    """One line for each part: 5 to 95 % thin, 25 to 75 % thick, the median as a dot."""
    if not spreads:
        return Markup("")
    ends = [value for spread in spreads for value in (spread.quantiles[0], spread.quantiles[4])]
    letters = min(22, max(len(spread.label) for spread in spreads))
    rows = Axis(-0.6, len(spreads) - 0.4, ())
    axes = new_axes(axis_of(min(ends), max(ends)), rows, x_label=x_label, y_label="", width=WIDE,
                    height=66 + 21 * len(spreads), left=18 + round(6.4 * letters))  # fmt: skip
    axes.grid(axis="x", color=ink("rule"), linewidth=1, zorder=0)
    names = [name if len(name) <= 22 else f"{name[:21]}…" for name in (spread.label for spread in spreads)]
    heights = [len(spreads) - 1 - n for n in range(len(spreads))]
    axes.set_yticks(heights, names, parse_math=False)
    titles = {}
    for n, (spread, y) in enumerate(zip(spreads, heights, strict=True)):
        q = spread.quantiles
        axes.plot([q[0], q[4]], [y, y], color=ink("c0"), linewidth=1.4, alpha=0.55)
        axes.plot([q[1], q[3]], [y, y], color=ink("c0"), linewidth=6, alpha=0.45, solid_capstyle="round")
        (dot,) = axes.plot([q[2]], [y], "o", color=ink("c0"), markersize=7, markeredgecolor=ink("paper"))
        dot.set_gid(f"row{n}")
        told = ", ".join(number(value) for value in q)
        titles[f"row{n}"] = f"{spread.label}: 5, 25, 50, 75, 95 % at {told}; {spread.count:,} candidates"
    return as_svg(axes, f"spread of {x_label}", titles=titles)


def _draw(axes: Axes, stretch: Sequence[Piece], n: int, line: Line, titles: dict[str, str]) -> None:
    """One unbroken stretch: the range as a band where there is one, the mean as a line, few points as dots."""
    colour = _colour(n, line)
    x, y = [piece.x for piece in stretch], [piece.mean for piece in stretch]
    if any(piece.high > piece.low for piece in stretch):
        low, high = axes.get_ylim()
        reach = high - low  # far beyond the frame there is nothing to see, and huge numbers overflow
        lows = [max(piece.low, low - reach) for piece in stretch]
        axes.fill_between(x, lows, [min(piece.high, high + reach) for piece in stretch], color=colour, alpha=0.2, lw=0)
    if len(stretch) > 1:
        drawn = axes.plot(x, y, color=colour, linewidth=1.3 if line.quiet else 1.9, linestyle=_dashes(n))[0]
        drawn.set_gid(f"line{n}-{x[0]:g}")
        titles[f"line{n}-{x[0]:g}"] = f"{line.label}: {number(y[-1])} at {number(x[-1])}"
    if len(stretch) <= _FEW_POINTS and not line.quiet:
        for k, (px, py) in enumerate(zip(x, y, strict=True)):
            (dot,) = axes.plot([px], [py], "o", color=colour, markersize=4.6, clip_on=False)
            dot.set_gid(f"dot{n}-{x[0]:g}-{k}")
            titles[f"dot{n}-{x[0]:g}-{k}"] = f"{line.label}: {number(py)} at {number(px)}"


def _bars(
    layers: Sequence[tuple[NDArray[np.int64], str]], edges: NDArray[np.float64], *, x_label: str, y_label: str
) -> Markup:
    """Stacked bars; every layer has a count for each bar and a colour of the page."""
    height = float(sum(counts for counts, _ in layers).max())  # type: ignore[union-attr]
    axes = new_axes(
        axis_of(float(edges[0]), float(edges[-1]), grow=False),
        axis_of(0, height, ticks=4),
        x_label=x_label,
        y_label=y_label,
        width=SMALL,
    )
    below = np.zeros(len(edges) - 1)
    titles = {}
    for counts, colour in layers:
        filled = np.flatnonzero(counts)
        size = np.diff(edges)[filled]
        drawn = axes.bar(edges[filled] + size / 2, counts[filled], size * 0.88, below[filled], color=ink(colour))
        for n, bar in zip(filled, drawn, strict=True):
            bar.set_gid(f"{colour}-{n}")
            titles[f"{colour}-{n}"] = f"{number(edges[n])} to {number(edges[n + 1])}: {int(counts[n]):,}"
        below = below + counts
    return as_svg(axes, f"{y_label} by {x_label}", titles=titles)


def _edges(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    if not high - low > 1e-12 * max(1.0, abs(low)):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _colour(n: int, line: Line) -> str:
    return ink("ink-3") if line.quiet else ink(f"c{n % COLOURS}")


def _dashes(n: int) -> str | tuple[int, tuple[int, int]]:
    return "solid" if n < COLOURS else (0, (6, 4))
