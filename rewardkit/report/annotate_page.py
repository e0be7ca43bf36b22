"""The page of an annotation: how far its labels can be relied upon, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardkit.annotate.fold_figures import FoldFigures
from rewardkit.annotate.fold_tables import (
    consistency_table,
    correlations_table,
    flips_table,
    groups_table,
    pairs_table,
    people_table,
    position_table,
    reliability_table,
    requests_table,
    scores_table,
)
from rewardkit.annotate.position_bias import PositionBias
from rewardkit.data.inspect import Table
from rewardkit.report.charts import Line, line_chart
from rewardkit.report.drawing import SMALL
from rewardkit.report.figures import Figure, line_classes
from rewardkit.report.inspect_charts import column_chart
from rewardkit.report.results_page import Results, ResultsSection, ResultsTable, write_results_page

MAX_DRAWN = 12
"""Charts of one kind."""

_POSITION = (
    "Scores by the place at which an image was shown, less the mean score of its request; the band is the 95 % "
    "interval. Orders are drawn at random, so that without bias every place lies on 0."
)
_PEOPLE = (
    "On the groups that people judged. strict and half: accuracy on the comparisons that people decided, equal scores "
    "being wrong or worth one half. tau-b: mean over groups. kappa (quadratic weights) and alpha (Krippendorff's): of "
    "answers where people gave some on the same scale, else of comparisons."
)
_FLIPS = "How often the annotation turns the people's order round, with people's own disagreement taken out."


def write_annotate_page(
    path: Path,
    figures: FoldFigures,
    *,
    title: str,
    cost: Sequence[tuple[str, str]] = (),
) -> Path:
    """Writes the page, and replaces an older one.

    Args:
        path: The HTML file.
        figures: What it shows.
        title: Above all.
        cost: Facts of the asking (requests, tokens, money), as names and texts.
    """
    ok = sum(of.get("ok", 0) for of in figures.outcomes.values())
    asked = sum(sum(of.values()) for of in figures.outcomes.values())
    results = Results(
        title=title,
        kicker="rewardkit annotate",
        label="Groups with labels",
        headline=f"{figures.written:,}",
        below=f"of {figures.groups:,}; {ok:,} of {asked:,} requests brought scores",
        facts=[*_rules(figures), *cost],
        sections=[section for section in _sections(figures) if section.figures or (section.table or _NONE).rows],
    )
    return write_results_page(path, results)


_NONE = ResultsTable((), ())


def _rules(figures: FoldFigures) -> list[tuple[str, str]]:
    """How labels followed, weights apart."""
    rules = dict(figures.rules)
    weights = [(f"weight of {name}", f"{weight:g}") for name, weight in rules.pop("weights", {}).items()]
    return [*((name, str(value)) for name, value in rules.items()), *weights]


def _sections(figures: FoldFigures) -> list[ResultsSection]:
    ready = f"For a robust objective: {figures.flip_rates}" if figures.flip_rates else ""
    return [
        ResultsSection("Groups", table=_table(groups_table(figures))),
        ResultsSection("Requests", "By what came of them.", table=_table(requests_table(figures))),
        ResultsSection("Pairs", table=_table(pairs_table(figures))),
        ResultsSection("Scores", figures=_histograms(figures), table=_table(scores_table(figures)), small=True),
        ResultsSection("Position bias", _POSITION, _positions(figures), _table(position_table(figures)), small=True),
        ResultsSection("Self-consistency", table=_table(consistency_table(figures))),
        ResultsSection("Reliability", table=_table(reliability_table(figures))),
        ResultsSection("Agreement with people", _PEOPLE, table=_table(people_table(figures))),
        ResultsSection("Flip rate", _FLIPS, table=_table(flips_table(figures), note=ready)),
        ResultsSection("Correlation of dimensions", table=_table(correlations_table(figures))),
    ]


def _table(table: Table, note: str = "") -> ResultsTable:
    """A table of text for the page; what its title says in brackets stands below it."""
    columns = table.columns if any(table.columns) else ("Groups", "Number")
    _, _, told = table.title.partition(" (")
    return ResultsTable(columns, table.rows, note=note or told.removesuffix(")"))


def _histograms(figures: FoldFigures) -> list[Figure]:
    """Scores of each dimension, of all annotators together."""
    total: dict[str, dict[str, int]] = {}
    for of in figures.histogram.values():
        for dimension, counts in of.items():
            into = total.setdefault(dimension, {})
            for value, count in counts.items():
                into[value] = into.get(value, 0) + count
    found = []
    for dimension, counts in list(total.items())[:MAX_DRAWN]:
        values = sorted(counts, key=lambda value: (value == "NA", 0.0 if value == "NA" else float(value)))
        chart = column_chart(values, [counts[value] for value in values], x_label="score", y_label="answers")
        found.append(Figure(dimension, chart))
    return [figure for figure in found if figure.svg]


def _positions(figures: FoldFigures) -> list[Figure]:
    """A chart for each annotator, a line for each dimension."""
    found = []
    for by, of in list(figures.position.items())[:MAX_DRAWN]:
        lines = [line for dimension, bias in of.items() if (line := _by_slot(dimension, bias)).points]
        chart = line_chart(lines, y_label="score", x_label="place", reference={"no bias": 0.0}, width=SMALL)
        legend = tuple((line_classes(n), line.label) for n, line in enumerate(lines))
        found.append(Figure(f"By place, {by}", chart, legend))
    return [figure for figure in found if figure.svg]


def _by_slot(dimension: str, bias: PositionBias) -> Line:
    shown = [slot for slot in bias.slots if slot.shift.value is not None]
    points = [(float(slot.place), slot.shift.value or 0.0) for slot in shown]
    ends = [(slot.shift.low, slot.shift.high) for slot in shown]
    known = [(low, high) for low, high in ends if low is not None and high is not None]
    return Line(dimension, points, known if len(known) == len(points) else ())


def cost_facts(record: Mapping[str, object]) -> list[tuple[str, str]]:
    """What the asking came to, from its figures in ``annotate.json``; what is 0 is left out."""
    known = [(name.replace("_", " "), value) for name, value in record.items() if isinstance(value, int | float)]
    return [(name, f"{round(value, 4):,}") for name, value in known if value]
