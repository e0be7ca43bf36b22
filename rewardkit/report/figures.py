"""A chart with its title, legend and note; and the curves of a run, sorted into charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from rewardkit.metrics.answer_measures import PROTOCOL
from rewardkit.report.charts import COLOURS, Line, line_chart
from rewardkit.report.drawing import SMALL, WIDE

MAIN_MEASURES = ("option_accuracy", "srcc")
"""Measures of answers whose curves stand in the page's first rank."""

MAX_OTHER_CURVES = 24
"""Curves of other metrics that a page shows."""

MAX_COMPARED_CURVES = 6
"""Curves of two runs that a page shows side by side."""

_LOSS = "train/loss"

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart.

    Attributes:
        svg: Empty where there is nothing to draw.
        legend: (CSS classes of the line, label); empty for a single line.
        note: What the chart does not show.
        main: Whether it stands in the page's first rank.
    """

    title: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""
    main: bool = True


def curve_figures(curves: Mapping[str, Curve]) -> list[Figure]:
    """Loss, validation accuracies, learning rate, throughput, and every other metric that was logged."""
    left = dict(curves)
    loss, *by_dimension = _loss_figures(left)
    figures = [loss]
    # val/PROTOCOL/DIMENSION, or val/SET/PROTOCOL/DIMENSION where there are several sets.
    families = dict.fromkeys(
        name.rpartition("/")[0] for name in left if name.startswith("val/") and name.count("/") > 1
    )
    figures += [_held_out(family, _take(left, "", f"{family}/")) for family in families]
    figures.append(_figure("Learning rate", "learning rate", _take(left, "train/lr", ""), {}, "train/"))
    labels = {"train/throughput/images_per_s": "images", "train/throughput/comparisons_per_s": "comparisons"}
    speed: dict[str, Curve] = {name: left.pop(name) for name in labels if name in left}
    figures.append(_figure("Throughput", "per second", speed, labels, ""))
    figures += by_dimension
    for name in sorted(left)[:MAX_OTHER_CURVES]:
        figures.append(_figure(name, name.rsplit("/", 1)[-1].replace("_", " "), {name: left[name]}, {}, "", main=False))
    return [figure for figure in figures if figure.svg or figure.note]


def both_curves(ours: Mapping[str, Curve], theirs: Mapping[str, Curve], *, names: tuple[str, str]) -> list[Figure]:
    """The loss and the held-out accuracies that both runs logged, one chart for each with both runs in it."""
    shown = [name for name in ours if name in theirs and (name == _LOSS or name.startswith("val/"))]
    found = []
    for name in [name for name in shown if PROTOCOL not in name.split("/")][:MAX_COMPARED_CURVES]:
        what = "loss" if name == _LOSS else name.rpartition("/")[2]
        title = "Loss" if name == _LOSS else f"Held-out accuracy, {name.removeprefix('val/').replace('/', ', ')}"
        curves = {names[0]: ours[name], names[1]: theirs[name]}
        found.append(_figure(title, what if name == _LOSS else "accuracy", curves, {}, ""))
    return [figure for figure in found if figure.svg]


def _held_out(family: str, taken: Mapping[str, Curve]) -> Figure:
    """Curves of one protocol by dimension, or of one measure of answers by question (``val/[SET/]answers/MEASURE``)."""
    *around, last = family.split("/")[1:]
    if PROTOCOL in around:
        place = "".join(f" ({name})" for name in around if name != PROTOCOL)
        measure = last.replace("_", " ")
        return _figure(
            f"Held-out answers: {measure}{place}", measure, taken, {}, f"{family}/", main=last in MAIN_MEASURES
        )
    title = f"Held-out accuracy ({', '.join((*around, last))})"
    main = last != "accuracy"  # PROTOCOL/accuracy: of pairs of an evaluator's answers
    return _figure(title, "accuracy", taken, {}, f"{family}/", reference={"chance": 0.5}, main=main)


def _loss_figures(left: dict[str, Curve]) -> list[Figure]:
    """The loss with its terms (``train/loss/TERM``), and the parts of each term (``train/loss/TERM/PART``)."""
    taken = _take(left, _LOSS, f"{_LOSS}/")
    terms = [name for name in taken if name.count("/") == 2]
    # A single term is the loss itself, but for its coefficient.
    shown = [name for name in taken if name == _LOSS or (name in terms and len(terms) > 1)] or terms
    figures = [_figure("Loss", "loss", {name: taken[name] for name in shown}, {_LOSS: "total"}, f"{_LOSS}/")]
    for family in dict.fromkeys(name.rpartition("/")[0] for name in taken if name.count("/") > 2):
        members = {name: points for name, points in taken.items() if name.rpartition("/")[0] == family}
        term = family.removeprefix(f"{_LOSS}/")
        figures.append(_figure(f"Parts of {term}", "", members, {}, f"{family}/"))
    return figures


def _take(curves: dict[str, Curve], name: str, prefix: str) -> dict[str, Curve]:
    """Removes the curves of that name or prefix, and gives them in the order in which they were first logged."""
    names = [n for n in curves if n == name or (prefix and n.startswith(prefix))]
    return {n: curves.pop(n) for n in names}


def _figure(
    title: str,
    y_label: str,
    curves: Mapping[str, Curve],
    labels: Mapping[str, str],
    prefix: str,
    *,
    reference: Mapping[str, float] | None = None,
    main: bool = True,
) -> Figure:
    lines = [Line(labels.get(name, name.removeprefix(prefix)), points) for name, points in curves.items()]
    legend = tuple((line_classes(n), line.label) for n, line in enumerate(lines)) if len(lines) > 1 else ()
    note = "; ".join(text for text in (_not_finite(line) for line in lines) if text)
    return Figure(
        title,
        line_chart(lines, y_label=y_label, reference=reference, width=WIDE if main else SMALL),
        legend,
        note,
        main,
    )


def line_classes(n: int) -> str:
    """CSS classes of the n-th line of a chart."""
    return f"c{n % COLOURS}" + (" dashed" if n >= COLOURS else "")


def _not_finite(line: Line) -> str:
    """Which values a curve cannot show."""
    steps = [step for step, value in line.points if not math.isfinite(value)]
    if not steps:
        return ""
    times = "once" if len(steps) == 1 else f"at {len(steps):,} logged steps"
    return f"{line.label} was not finite {times}, first at step {int(np.min(steps)):,}"
