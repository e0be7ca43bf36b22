"""The page of a validation: models and sets side by side, their differences, and each of them taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rewardkit
from rewardkit.data.answer_table import AnswerTable
from rewardkit.data.predictions import Predictions
from rewardkit.metrics.protocols import PROTOCOLS
from rewardkit.report.answers import answer_section
from rewardkit.report.disagreements import Thumbnails
from rewardkit.report.evaluation import Evaluation, Row, evaluate
from rewardkit.report.interval_bars import share_axis
from rewardkit.report.results_page import Cell, ResultsTable
from rewardkit.report.scales import Axis
from rewardkit.report.sections import SetSection, set_section
from rewardkit.report.template import environment, environment_lines, write_page

DEFAULT_PROTOCOL = "strict_micro"
"""The rule that parts and charts follow where none of those asked for is of pairs and without a threshold."""

MAX_SECTIONS = 6
"""Models on sets that are taken apart on the page, in the order given; the tables have all."""


@dataclass(frozen=True, slots=True)
class Validated:
    """One model on one set.

    Attributes:
        label: Of the model.
        set: Name of the set.
        predictions: What it scored.
        rows: Of ``metrics.evaluate``: every number that was asked for.
        answers: Of an evaluator: its answers.
        measures: Of an evaluator: rows of ``answer_rows``.
    """

    label: str
    set: str
    predictions: Predictions
    rows: Sequence[Mapping[str, Any]]
    answers: AnswerTable | None = None
    measures: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the overview: a model on a set, and a row for each dimension (None where it has none)."""

    label: str
    set: str
    cells: tuple[Row | None, ...]


def write_validation_page(
    path: Path,
    validated: Sequence[Validated],
    *,
    protocols: Sequence[str],
    differences: Sequence[Mapping[str, Any]] = (),
    folders: Sequence[Any] = (),
    commands: Sequence[str] = (),
    machine: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the page, and replaces an older one.

    Args:
        path: The HTML file.
        validated: Every model on every set, in the order they were asked for.
        protocols: That were asked for.
        differences: Of every two models: ``set``, ``dimension``, ``protocol``, ``metric``, ``words``.
        folders: Where the pictures of the validation data are taken from.
        commands: Shell lines that make it again.
        machine: As ``environment.json`` of a run.

    Returns:
        The file.
    """
    protocol = chart_protocol(protocols)
    evaluations = [
        evaluate(one.predictions, protocol, name=one.set) if len(one.predictions.scores) else None for one in validated
    ]
    shown = list(zip(validated, evaluations, strict=True))[:MAX_SECTIONS]
    dimensions = list(
        dict.fromkeys(row.name for one in evaluations if one for row in one.rows if row.value is not None)
    )
    thumbnails = Thumbnails(folders)
    sections = [
        _section(one, evaluation, n, len(validated), thumbnails)
        for n, (one, evaluation) in enumerate(shown)
        if evaluation is not None
    ]
    lines = [_line(one, evaluation, dimensions) for one, evaluation in zip(validated, evaluations, strict=True)]
    labels = list(dict.fromkeys(one.label for one in validated))
    page = (
        environment()
        .get_template("validation.html.j2")
        .render(
            title=" and ".join(labels) if len(labels) < 3 else f"{len(labels)} models",
            kicker="rewardkit validation",
            version=rewardkit.__version__,
            sets=sections,
            protocol=protocol,
            dimensions=dimensions,
            lines=lines,
            axis=_axis(lines),
            numbers=_numbers(validated),
            differences=[
                ("", [gain for gain in differences if gain["protocol"] == protocol]),
                ("of other measures", [gain for gain in differences if gain["protocol"] != protocol]),
            ],
            not_shown=len(validated) - len(shown),
            missing_pictures=thumbnails.missing,
            commands=commands,
            environment=environment_lines(machine or {}),
        )
    )
    return write_page(path, page)


def chart_protocol(protocols: Sequence[str]) -> str:
    """The first protocol of pairs without a threshold of its own, which parts and charts follow."""
    return next(
        (name for name in protocols if name in PROTOCOLS and PROTOCOLS[name].threshold is None), DEFAULT_PROTOCOL
    )


def _section(one: Validated, evaluation: Evaluation, n: int, count: int, thumbnails: Thumbnails) -> SetSection:
    return set_section(
        evaluation,
        suffix=f" of {one.label} on {one.set}" if count > 1 else "",
        anchor=f"-{n + 1}" if n else "",
        thumbnails=thumbnails,
        answers=answer_section(one.answers, one.measures) if one.answers is not None else None,
    )


def _line(one: Validated, evaluation: Evaluation | None, dimensions: Sequence[str]) -> Line:
    rows = {row.name: row for row in evaluation.rows if row.value is not None} if evaluation else {}
    return Line(one.label, one.set, tuple(rows.get(name) for name in dimensions))


def _axis(lines: Sequence[Line]) -> Axis:
    return share_axis(end for line in lines for row in line.cells if row for end in (row.value, row.low, row.high))


def _numbers(validated: Sequence[Validated]) -> ResultsTable:
    """Every number as ``results.csv`` has it, without those that could not be counted."""
    columns = ["Model", "Set", "Dimension", "Protocol", "Value", "95 %", "n", "Groups", "Ties", "Chance", "One person"]
    rows: list[list[Cell]] = []
    for one in validated:
        for row in one.rows:
            if row["value"] is None:
                continue
            metric = "" if row["metric"] == "accuracy" else f" {row['metric']}"
            interval = None if row["low"] is None else f"{row['low']:.3f} – {row['high']:.3f}"
            rows.append(
                [
                    one.label,
                    one.set,
                    row["dimension"],
                    f"{row['protocol']}{metric}",
                    float(row["value"]),
                    interval,
                    row["comparisons"],
                    row["groups"],
                    row["ties"],
                    row["chance"],
                    row["annotator_agreement"],
                ]
            )
    return ResultsTable([*columns], rows)
