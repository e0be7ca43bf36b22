"""What ``sweep`` prints: what would be tried, and what came of it."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rewardkit.commands.sweep_folder import Planned, shared_arguments
from rewardkit.config.help import show_value
from rewardkit.config.layout import RunLayout
from rewardkit.config.sweeps import Sweep
from rewardkit.sweeps.plot import draw_sweep
from rewardkit.sweeps.results import result_rows, write_best, write_results
from rewardkit.sweeps.space import Space, arguments
from rewardkit.sweeps.study import TrialRecord

_SHOWN = 20
"""Trials in the table; results.csv has all."""


def print_plan(planned: Planned, console: Console) -> None:
    """The space, how it is searched, and the first trial's command. Nothing is written or started."""
    sweep, space = planned.sweep, Space(planned.sweep.parameters)
    console.print(f"[bold]{escape(sweep.name)}[/bold]  {escape(sweep.about)}", highlight=False)
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("option", no_wrap=True)
    table.add_column("may be")
    for name, one in sweep.parameters.items():
        table.add_row(escape(name), escape(one.describe()))
    console.print(table)
    for what, text in _how(planned, space):
        console.print(f"{what:<9}{text}", highlight=False, markup=False, soft_wrap=True)
    points = space.grid() if sweep.method == "grid" else None
    first = (
        [space.point(drawn) for drawn in itertools.islice(points, 3)]
        if points
        else list(itertools.islice(space.corners(), 1))
    )
    lead = "first trials:" if points else "a trial, for example:"
    console.print(f"\n{lead}", highlight=False)
    for point in first:
        words = ["python", "-m", "rewardkit", "fit", *shared_arguments(planned.shared), *arguments(point)]
        console.print(f"  {shlex.join(words)}", highlight=False, markup=False, soft_wrap=True)


def finish_sweep(
    planned: Planned,
    root: Path,
    records: Sequence[TrialRecord],
    best: TrialRecord | None,
    layouts: Mapping[int, RunLayout],
    console: Console,
    *,
    finished: bool,
) -> bool:
    """Writes results, picture and the best trial's files, and prints the table.

    Returns:
        Whether there is a best trial.
    """
    sweep = planned.sweep
    assert sweep.metric is not None
    rows = result_rows(records, layouts)
    about = {
        "sweep": sweep.name,
        "recipe": planned.recipe,
        "method": sweep.method,
        "backend": planned.backend,
        "metric": {"name": sweep.metric.name, "goal": "maximize" if sweep.metric.maximize else "minimize"},
        "finished": finished,
        "best": best.number if best else None,
    }
    write_results(root, rows, about=about)
    page = _write_page(root, rows, planned) if records else None
    pictured = draw_sweep(root / "sweep.png", records, metric=sweep.metric, parameters=dict(sweep.parameters))
    if records:
        console.print(results_table(sweep, records, best))
        console.print(_counts(records, planned.trials), highlight=False)
    if best is not None:
        folder = write_best(root, best, layouts[best.number], metric=sweep.metric)
        console.print(
            f"best    {folder}: python -m rewardkit fit recipe={folder / 'recipe.yaml'}",
            highlight=False,
            soft_wrap=True,
        )
    elif finished:
        console.print("no trial went to its end; the causes are in results.csv, what they printed in logs/")
    console.print(f"results {root / 'results.csv'}", highlight=False, soft_wrap=True)
    if pictured:
        console.print(f"picture {root / 'sweep.png'}", highlight=False, soft_wrap=True)
    if page is not None:
        console.print(f"report  {page}", highlight=False, soft_wrap=True)
    return best is not None


def _write_page(root: Path, rows: Sequence[Mapping[str, Any]], planned: Planned) -> Path:
    """The sweep's ``report.html``."""
    from rewardkit.report.sweep_page import write_sweep_page

    assert planned.sweep.metric is not None
    return write_sweep_page(
        root / "report.html",
        rows,
        name=f"{planned.sweep.name}/{root.name}",
        metric=planned.sweep.metric.name,
        maximize=planned.sweep.metric.maximize,
        commands=[f"python -m rewardkit sweep {shlex.join(planned.arguments)}"],
    )


def results_table(sweep: Sweep, records: Sequence[TrialRecord], best: TrialRecord | None) -> Table:
    """The best trials first, then those that were stopped early, then the others."""
    assert sweep.metric is not None
    names = [name for name, one in sweep.parameters.items() if one.distribution != "constant"]
    table = Table(
        title=f"{sweep.metric.name}, {'most' if sweep.metric.maximize else 'least'} first",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in ("trial", "value", "step", "s"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in names:
        table.add_column(escape(name.replace(".", ".\n") if len(name) > 14 else name))
    table.add_column("state")
    order = {"complete": 0, "stopped early": 1, "running": 2, "failed": 3}
    sign = -1 if sweep.metric.maximize else 1
    ordered = sorted(records, key=lambda one: (order[one.state], sign * (one.value or 0.0), one.number))
    for one in ordered[:_SHOWN]:
        table.add_row(
            str(one.number),
            "-" if one.value is None else f"{one.value:.4f}",
            "-" if one.step is None else str(one.step),
            f"{one.seconds:.0f}",
            *(escape(_value(one.point.get(name))) for name in names),
            escape(_state(one)),
            style="bold" if best is not None and one.number == best.number else None,
        )
    if len(ordered) > _SHOWN:
        table.caption = f"{len(ordered) - _SHOWN} more in results.csv"
    return table


def _how(planned: Planned, space: Space) -> list[tuple[str, str]]:
    sweep = planned.sweep
    points = "no end of points" if space.size is None else f"{space.size} points"
    trials = "as many as asked for" if planned.trials is None else str(planned.trials)
    method = (
        f"bayes ({planned.options.sampler})" if sweep.method == "bayes" and planned.backend != "wandb" else sweep.method
    )
    found = [("method", f"{method}, {points}, {trials} trials, {planned.options.jobs} at once")]
    if sweep.metric is not None:
        target = f", until {sweep.metric.target:g} is reached" if sweep.metric.target is not None else ""
        found.append(("metric", f"{sweep.metric.name}, {'most' if sweep.metric.maximize else 'least'} is best{target}"))
    if sweep.early is not None:
        bands = ", ".join(str(band + 1) for band in sweep.early.bands[:4])
        more = ", …" if len(sweep.early.bands) > 4 else ""
        found.append(("early", f"about the best 1/{sweep.early.eta:g} go on after {bands}{more} validations"))
    why = f" ({planned.why})" if planned.why else ""
    found.append(("backend", f"{planned.backend}{why}"))
    return found


def _counts(records: Sequence[TrialRecord], trials: int | None) -> str:
    of = {
        state: sum(one.state == state for one in records)
        for state in ("complete", "stopped early", "failed", "running")
    }
    parts = [f"{count} {state}" for state, count in of.items() if count]
    whole = f" of {trials}" if trials is not None and trials != len(records) else ""
    return f"{len(records)}{whole} trials: {', '.join(parts)}"


def _state(one: TrialRecord) -> str:
    cause = (one.cause or "").splitlines()
    return f"{one.state}: {cause[0][:80]}" if cause else one.state


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else show_value(value)
