"""Charts are well-formed SVG, escaped, and say what the numbers say."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from rewardkit.metrics.calibration import reliability
from rewardkit.report.charts import (
    Line,
    Spread,
    histogram,
    line_chart,
    margin_histogram,
    outlines,
    reliability_chart,
    spread_chart,
)
from rewardkit.report.interval_bars import interval_bar, interval_scale, mark_shape, share_axis


def parse(svg: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg))


def strokes(root: ElementTree.Element) -> list[tuple[str, str]]:
    """Colour and dashes of each line in one of the page's line colours."""
    found = []
    for element in root.iter("path"):
        style = dict(part.split(": ", 1) for part in (element.get("style") or "").split("; ") if ": " in part)
        if style.get("fill") == "none" and re.fullmatch(r"var\(--c\d\)", style.get("stroke", "")):
            found.append((style["stroke"], style.get("stroke-dasharray", "")))
    return found


def bars(svg: Markup) -> list[tuple[str, str]]:
    """Colour and words of each bar."""
    found = []
    for group in parse(svg).iter("g"):
        title, path = group.find("title"), group.find("path")
        if title is not None and path is not None:
            colour = re.search(r"fill: var\(--([a-z0-9-]+)\)", path.get("style") or "")
            found.append((colour[1] if colour else "", title.text or ""))
    return found


def titles(svg: Markup) -> list[str]:
    return [element.text or "" for element in parse(svg).iter("title")]


def test_line_chart_draws_each_line_and_its_axes() -> None:
    lines = [Line("a<b", [(n, n / 100) for n in range(100)]), Line("c", [(0, 0.5), (99, 0.6)])]
    chart = line_chart(lines, y_label="loss & more", reference={"chance": 0.5})
    root = parse(chart)
    assert len(strokes(root)) == 2
    texts = [element.text for element in root.iter("text")]
    assert {"loss & more", "optimiser step", "chance", "0.50"} <= set(texts)
    assert "a<b: 0.99 at 99" in titles(chart)
    assert "<b:" not in str(chart)


def test_lines_that_are_not_finite_leave_a_gap_or_nothing() -> None:
    assert line_chart([Line("a", [(1, math.nan), (2, math.inf)])], y_label="y") == ""
    assert line_chart([], y_label="y") == ""
    chart = line_chart([Line("a", [(1, 1.0), (2, 2.0), (3, math.nan), (4, 1.0), (5, 2.0)])], y_label="y")
    assert [title.split(":")[0] for title in titles(chart)].count("a") == 2 + 4  # two stretches, their four dots
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
    assert len(set(strokes(parse(chart)))) == 12


def test_histogram_counts_everything() -> None:
    values = np.array([0.0, 0.1, 0.1, 5.0])
    counts = [int(title.rsplit(": ", 1)[1]) for title in titles(histogram(values, x_label="score"))]
    assert sum(counts) == 4
    assert histogram(np.array([]), x_label="score") == ""
    assert sum(int(t.rsplit(": ", 1)[1]) for t in titles(histogram(np.full(7, 2.5), x_label="score"))) == 7


def test_margins_keep_right_and_wrong_apart() -> None:
    chart = margin_histogram(np.array([0.001, 0.5, 2.0, -0.001, -1.0, 0.0]), x_label="margin")
    found = {"right": 0, "wrong": 0, "equal": 0}
    for colour, words in bars(chart):
        found[colour] += int(words.rsplit(": ", 1)[1])
    assert found == {"right": 3, "wrong": 2, "equal": 1}


def test_no_margin_bar_crosses_zero() -> None:
    for _, words in bars(margin_histogram(np.linspace(-3, 5, 400), x_label="margin")):
        low, high = (float(x.replace("−", "-")) for x in words.split(": ")[0].split(" to "))
        assert low >= -1e-9 or high <= 1e-9


def test_charts_take_their_colours_from_the_page_and_share_no_ids() -> None:
    first = line_chart([Line("a", [(1, 1.0), (2, 2.0)])], y_label="y")
    second = line_chart([Line("a", [(1, 1.0), (2, 3.0)])], y_label="y")
    assert not re.search(r"#[0-9a-f]{6}\b", first + second), "a colour that dark pages cannot change"
    ids = [re.findall(r' id="([^"]+)"', chart) for chart in (first, second)]
    assert ids[0] and not set(ids[0]) & set(ids[1])
    assert first == line_chart([Line("a", [(1, 1.0), (2, 2.0)])], y_label="y"), "the same run gives the same page"


def test_sources_are_told_apart_and_each_is_whole() -> None:
    parts = {"photos <1>": np.array([0.0, 0.1, 0.2]), "art": np.array([5.0] * 7)}
    chart = outlines(parts, x_label="score")
    assert {"photos <1>: 3 candidates", "art: 7 candidates"} <= set(titles(chart))
    assert "<1>" not in chart


def test_reliability_tells_each_bin_before_and_after() -> None:
    sums = reliability([0.9, 0.9, 0.6, 0.55], [1.0, 0.0, 1.0, 0.0])
    told = titles(reliability_chart({"as scored": sums, "after temperature": sums}))
    assert "as scored: 0.900 sure, 0.500 agree, 2 comparisons" in told
    assert reliability_chart({"as scored": np.zeros((5, 3))}) == ""


def test_spreads_name_their_generators_and_quantiles() -> None:
    chart = spread_chart([Spread("g$1$ & co", 9, (0.0, 1.0, 2.0, 3.0, 4.0))], x_label="score")
    assert titles(chart) == ["g$1$ & co: 5, 25, 50, 75, 95 % at 0, 1, 2, 3, 4; 9 candidates"]
    assert "g$1$ & co" in [element.text for element in parse(chart).iter("text")]
    assert spread_chart([], x_label="score") == ""


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
