"""Charts of one evaluation: scores by source, margins, reliability, accuracy by sureness, model beside annotators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from rewardkit.metrics.calibration import ece, reliability
from rewardkit.metrics.protocols import find_protocol
from rewardkit.metrics.sureness import Share, accuracy_above, beside_annotators, cross_tempered
from rewardkit.report.charts import (
    COLOURS,
    Line,
    Spread,
    histogram,
    line_chart,
    margin_histogram,
    outlines,
    reliability_chart,
    spread_chart,
)
from rewardkit.report.drawing import SMALL
from rewardkit.report.evaluation import Evaluation, margins
from rewardkit.report.figures import Figure, line_classes
from rewardkit.report.scales import axis_of, number

MAX_DRAWN = 8
"""Dimensions that are drawn, the headline dimension first; tables have all of them."""

MAX_SPREADS = 30
"""Generators whose scores are drawn, those with the highest medians."""

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LEAST = 5


def drawn_dimensions(evaluation: Evaluation) -> list[str]:
    """The dimensions that charts are drawn of, in the order of the page."""
    first = evaluation.headline.name if evaluation.headline else ""
    return sorted((row.name for row in evaluation.rows), key=lambda name: name != first)[:MAX_DRAWN]


def score_figures(evaluation: Evaluation) -> list[Figure]:
    """How the scores of each dimension are spread, by source where there are several."""
    if evaluation.predictions is None:
        return []
    scores = evaluation.predictions.scores.dropna(subset=["score"])
    found = []
    for name in drawn_dimensions(evaluation):
        part = scores[scores["dimension"] == name]
        values = part["score"].to_numpy(float)
        note = "no scores"
        if len(values):
            note = f"mean {number(float(values.mean()))}, standard deviation {number(float(values.std()))}"
        sizes = part["source"].value_counts()
        large = sizes[sizes >= _LEAST].index[:COLOURS]
        if len(sizes) > 1 and len(large) > 1:
            by_source = {str(source): part.loc[part["source"] == source, "score"].to_numpy(float) for source in large}
            legend = tuple((line_classes(n), source) for n, source in enumerate(by_source))
            if len(large) < len(sizes):
                note += f"; the largest {len(large)} of {len(sizes)} sources"
            found.append(Figure(name, outlines(by_source, x_label="score"), legend, note))
        else:
            found.append(Figure(name, histogram(values, x_label="score"), note=note))
    return found


def generator_figure(evaluation: Evaluation) -> Figure | None:
    """How the scores of each generator's images are spread on the headline dimension; None for fewer than two."""
    if evaluation.predictions is None or evaluation.headline is None:
        return None
    scores = evaluation.predictions.scores
    part = scores[(scores["dimension"] == evaluation.headline.name) & scores["score"].notna()].dropna(
        subset=["generator"]
    )
    spreads = [
        Spread(str(name), len(values), tuple(np.quantile(values.to_numpy(float), _QUANTILES)))
        for name, values in part.groupby("generator")["score"]
        if len(values) >= _LEAST
    ]
    if len(spreads) < 2:
        return None
    spreads.sort(key=lambda spread: -spread.quantiles[2])
    note = "dot: median; thick: half of the candidates; thin: 90 % of them"
    if len(spreads) > MAX_SPREADS:
        note += f". The {MAX_SPREADS} of {len(spreads)} generators with the highest medians"
    title = f"By generator, {evaluation.headline.name}"
    return Figure(title, spread_chart(spreads[:MAX_SPREADS], x_label="score"), note=note)


def margin_figures(evaluation: Evaluation) -> list[Figure]:
    """Score margins of the preferred candidates, right and wrong, of each dimension."""
    if evaluation.pairs is None:
        return []
    found = []
    for name in drawn_dimensions(evaluation):
        values = margins(evaluation.pairs, name)
        if len(values):
            note = f"{int((values > 0).sum()):,} right, {int((values < 0).sum()):,} wrong"
            equal = int((values == 0).sum())
            note += f", {equal:,} equal scores" if equal else ""
            found.append(Figure(name, margin_histogram(values, x_label="margin"), note=note))
    return found


def reliability_figures(evaluation: Evaluation) -> list[Figure]:
    """How often people agree where the model is so sure, before and after a temperature that other groups gave."""
    found = []
    for name, pairs in _of_dimensions(evaluation.pairs, evaluation):
        tempered = cross_tempered(pairs)
        if tempered is None:
            continue
        delta, label, at_temperature, betas = tempered
        before, after = expit(delta), expit(at_temperature)
        kinds = {"as scored": reliability(before, label), "after temperature": reliability(after, label)}
        legend = tuple((line_classes(n), kind) for n, kind in enumerate(kinds))
        note = f"error (ECE) {ece(before, label):.3f}, after {ece(after, label):.3f}; "
        temperatures = " and ".join(f"{1 / beta:.3g}" for beta in betas)
        found.append(Figure(name, reliability_chart(kinds), legend, f"{note}temperature {temperatures}"))
    return found


def threshold_figures(evaluation: Evaluation) -> list[Figure]:
    """Accuracy of the comparisons whose two scores are at least so far apart."""
    rule = find_protocol(evaluation.protocol)
    found = []
    for name, pairs in _of_dimensions(evaluation.counted, evaluation):
        points = accuracy_above(pairs, rule)
        if len(points) > 1:
            kept = Line("comparisons kept", [(point.at, point.kept) for point in points], quiet=True)
            found.append(_curve_figure(name, points, "accuracy", "scores at least so far apart", kept))
    return found


def annotator_figures(evaluation: Evaluation) -> list[Figure]:
    """The model beside one annotator, by how many annotators agree."""
    rule = find_protocol(evaluation.protocol)
    found = []
    for name, pairs in _of_dimensions(evaluation.counted, evaluation):
        points = beside_annotators(pairs, rule)
        if len(points) > 1:
            beside = Line("one annotator", [(point.at, point.beside or 0.0) for point in points])
            found.append(_curve_figure(name, points, "model", "share of votes for the preferred", beside))
    return found


def _curve_figure(title: str, points: Sequence[Share], label: str, x_label: str, other: Line) -> Figure:
    """Accuracy with its interval as a band, and a second curve."""
    line = Line(label, [(p.at, p.value) for p in points], [(p.low, p.high) for p in points])
    low = min([p.low for p in points] + [y for _, y in other.points])
    drawn = line_chart(
        [line, other],
        y_label="share" if other.quiet else "agrees with the verdict",
        x_label=x_label,
        width=SMALL,
        y_axis=axis_of(min(low, 0.5), 1.0),
    )
    legend = ((line_classes(0), label), ("quiet" if other.quiet else line_classes(1), other.label))
    first, last = points[0], points[-1]
    note = f"{first.value:.3f} at {first.at:.2f} (n {first.comparisons:,}), "
    note += f"{last.value:.3f} at {last.at:.2f} (n {last.comparisons:,})"
    return Figure(title, drawn, legend, note)


def _of_dimensions(pairs: pd.DataFrame | None, evaluation: Evaluation) -> list[tuple[str, pd.DataFrame]]:
    if pairs is None:
        return []
    return [(name, pairs[pairs["dimension"] == name]) for name in drawn_dimensions(evaluation)]
