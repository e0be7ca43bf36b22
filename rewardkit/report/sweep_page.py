"""The page of a sweep: the best trial, how the search went, what each option did, every trial."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardkit.report.figures import Figure, line_classes
from rewardkit.report.results_page import Cell, Results, ResultsSection, ResultsTable, write_results_page
from rewardkit.report.scales import number
from rewardkit.report.sweep_charts import Trial, course_chart, option_chart, parallel_chart
from rewardkit.report.template import minutes

MAX_ROWS = 200
"""Trials that the page lists; results.csv has all."""

MAX_OPTIONS = 12
"""Options that are drawn one by one."""

_COMPLETE = "complete"
_LEGEND = ((line_classes(0), "best so far"),)


def write_sweep_page(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str,
    metric: str,
    maximize: bool,
    commands: Sequence[str] = (),
    environment: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a sweep's page from its table of results.

    Args:
        path: The HTML file.
        rows: One for each trial: ``trial`` (number), ``state`` (``complete`` where it went to its end), ``value`` (None
            without one), ``step``, ``parameters`` (option to value), ``seconds``, ``cause`` (why it failed).
        name: Of the sweep.
        metric: What was searched for.
        maximize: Whether more is better.
        commands: Shell lines that run it again.
        environment: As ``environment.json`` of a run.

    Returns:
        The file.
    """
    sign = 1.0 if maximize else -1.0
    ordered = sorted(rows, key=lambda row: (row["state"] != _COMPLETE, not _known(row), -sign * _value(row)))
    trials = [_trial(row) for row in ordered if _known(row)]
    best = trials[0] if trials and trials[0].ended else None
    options = _options(rows)
    states = Counter(str(row["state"]) for row in rows)
    facts = [("Trials", f"{len(rows):,}"), *((state.capitalize(), f"{count:,}") for state, count in states.items())]
    facts.append(("Time of all trials", minutes(sum(float(row.get("seconds") or 0) for row in rows))))
    results = Results(
        title=name,
        kicker="rewardkit sweep",
        label=f"Best {metric}, trial {best.number}" if best else "No trial went to its end",
        headline=number(best.value) if best else "",
        below=", ".join(f"{key}={_shown(best.options.get(key))}" for key in options) if best else "",
        facts=facts,
        sections=[
            ResultsSection(
                "How it went",
                f"{'More' if maximize else 'Less'} is better. Filled points went to their end.",
                _course(trials, options, metric, maximize, best),
            ),
            ResultsSection(
                "What each option did", "One point for each trial.", _by_option(trials, options, metric), small=True
            ),
            ResultsSection("Trials", "The best first.", table=_table(ordered, options, best)),
        ],
        commands=commands,
        environment=environment or {},
    )
    return write_results_page(path, results)


def _course(
    trials: Sequence[Trial], options: Sequence[str], metric: str, maximize: bool, best: Trial | None
) -> list[Figure]:
    """The best so far, and every trial as a line through its options."""
    found = [Figure("Best so far", course_chart(trials, metric=metric, maximize=maximize), _LEGEND)]
    if best is not None:
        drawn = parallel_chart(trials, options[:MAX_OPTIONS], metric=metric, best=best)
        found.append(Figure("Every trial", drawn, note="A line for each trial; the thick one is the best."))
    return [figure for figure in found if figure.svg]


def _by_option(trials: Sequence[Trial], options: Sequence[str], metric: str) -> list[Figure]:
    found = [Figure(key, option_chart(trials, key, metric=metric)) for key in options[:MAX_OPTIONS]]
    return [figure for figure in found if figure.svg]


def _table(ordered: Sequence[Mapping[str, Any]], options: Sequence[str], best: Trial | None) -> ResultsTable:
    rows: list[list[Cell]] = []
    for row in ordered[:MAX_ROWS]:
        cause = str(row.get("cause") or "").splitlines()
        rows.append(
            [
                int(row["trial"]),
                _value(row) if _known(row) else None,
                *(_shown(row["parameters"].get(key)) for key in options),
                row.get("step"),
                round(float(row.get("seconds") or 0)),
                f"{row['state']}: {cause[0]}" if cause else str(row["state"]),
            ]
        )
    note = f"{len(ordered) - MAX_ROWS:,} more are in results.csv." if len(ordered) > MAX_ROWS else ""
    return ResultsTable(
        ["Trial", "Value", *options, "Step", "Seconds", "State"], rows, (0,) if best is not None else (), note
    )


def _options(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options that were not the same in every trial."""
    keys = dict.fromkeys(key for row in rows for key in row["parameters"])
    return [key for key in keys if len({str(row["parameters"].get(key)) for row in rows}) > 1] or list(keys)


def _known(row: Mapping[str, Any]) -> bool:
    return row.get("value") is not None and math.isfinite(float(row["value"]))


def _value(row: Mapping[str, Any]) -> float:
    return float(row["value"]) if _known(row) else 0.0


def _trial(row: Mapping[str, Any]) -> Trial:
    told = ", ".join(f"{key}={_shown(value)}" for key, value in row["parameters"].items())
    words = f"trial {row['trial']}: {number(_value(row))}, {row['state']}; {told}"
    return Trial(int(row["trial"]), _value(row), row["state"] == _COMPLETE, row["parameters"], words)


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, float) and math.isfinite(value) else "–" if value is None else str(value)
