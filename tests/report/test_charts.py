"""Charts are well-formed SVG, escaped, and say what the numbers say."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from rewardkit.report.charts import (
    Line,
    histogram,
    interval_bar,
    interval_scale,
    line_chart,
    margin_histogram,
    mark_shape,
    share_axis,
)


def parse(svg: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg))


def titles(svg: Markup) -> list[str]:
    return [element.text or "" for element in parse(svg).iter("title")]


def test_line_chart_draws_each_line_and_its_axes() -> None:
    lines = [Line("a<b", [(n, n / 100) for n in range(100)]), Line("c", [(0, 0.5), (99, 0.6)])]
    chart = line_chart(lines, y_label="loss & more", reference={"chance": 0.5})
    root = parse(chart)
    assert len([e for e in root.iter("path") if (e.get("class") or "").startswith("line")]) == 2
    texts = [element.text for element in root.iter("text")]
    assert {"loss & more", "optimiser step", "chance", "0.50"} <= set(texts)
    assert "a<b: 0.99 at 99" in titles(chart)
    assert "<b:" not in str(chart)


def test_lines_that_are_not_finite_leave_a_gap_or_nothing() -> None:
    assert line_chart([Line("a", [(1, math.nan), (2, math.inf)])], y_label="y") == ""
    assert line_chart([], y_label="y") == ""
    chart = line_chart([Line("a", [(1, 1.0), (2, 2.0), (3, math.nan), (4, 1.0), (5, 2.0)])], y_label="y")
    assert len(re.findall(r'class="line', chart)) == 2
    assert "nan" not in chart.lower()


@pytest.mark.parametrize("value", [0.0, 1e-12, 1e300, -1e300])
def test_constant_and_extreme_curves(value: float) -> None:
    chart = line_chart([Line("a", [(1, value), (2, value)])], y_label="y")
    parse(chart)
    assert "nan" not in chart.lower() and "inf" not in chart.lower()


def test_chart_of_many_steps_stays_small() -> None:
    rng = np.random.default_rng(0)
    points = [(float(n), float(rng.normal())) for n in range(50_000)]
    assert len(line_chart([Line("a", points)], y_label="y")) < 30_000


def test_twelve_lines_differ() -> None:
    chart = line_chart([Line(str(n), [(0, n), (1, n + 1)]) for n in range(12)], y_label="y")
    classes = [e.get("class") for e in parse(chart).iter("path") if "line" in (e.get("class") or "")]
    assert len(set(classes)) == 12


def test_histogram_counts_everything() -> None:
    values = np.array([0.0, 0.1, 0.1, 5.0])
    counts = [int(title.rsplit(": ", 1)[1]) for title in titles(histogram(values, x_label="score"))]
    assert sum(counts) == 4
    assert histogram(np.array([]), x_label="score") == ""
    assert sum(int(t.rsplit(": ", 1)[1]) for t in titles(histogram(np.full(7, 2.5), x_label="score"))) == 7


def test_margins_keep_right_and_wrong_apart() -> None:
    chart = margin_histogram(np.array([0.001, 0.5, 2.0, -0.001, -1.0, 0.0]), x_label="margin")
    found = {"right": 0, "wrong": 0, "equal": 0}
    for bar in parse(chart).iter("rect"):
        title = bar.find("title")
        assert title is not None and title.text is not None
        found[bar.get("class") or ""] += int(title.text.rsplit(": ", 1)[1])
    assert found == {"right": 3, "wrong": 2, "equal": 1}


def test_no_margin_bar_crosses_zero() -> None:
    chart = margin_histogram(np.linspace(-3, 5, 400), x_label="margin")
    for bar in parse(chart).iter("rect"):
        title = bar.find("title")
        assert title is not None and title.text is not None
        low, high = (float(x.replace("−", "-")) for x in title.text.split(": ")[0].split(" to "))
        assert low >= -1e-9 or high <= 1e-9


def test_interval_bar_places_value_and_marks() -> None:
    axis = share_axis([0.5, 0.9, None, math.nan])
    bar = parse(interval_bar(0.7, 0.65, 0.75, axis=axis, marks={"chance": 0.5, "annotators": None}, width=200))
    circle = bar.find("circle")
    assert circle is not None
    assert float(circle.get("cx") or 0) == pytest.approx(axis.place(0.7, 6, 194), abs=0.06)
    assert bar.find("path") is None  # a baseline that is not known has no mark
    empty = parse(interval_bar(None, None, None, axis=axis, marks={}, width=200))
    assert empty.find("circle") is None
    parse(interval_scale(axis, width=200))


@pytest.mark.parametrize("kind", ["chance", "value", "annotators", "generator", "position", "reachable"])
def test_every_mark_has_a_shape(kind: str) -> None:
    drawn = list(parse(mark_shape(kind)))
    assert drawn and (drawn[0].get("d") or drawn[0].get("x1")), "the mark draws nothing"
