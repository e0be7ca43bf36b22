"""The end of a run: summary.json, the report, and what is printed. Every figure comes from the predictions tables."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rewardkit.callbacks.best_bundle import BestBundle
from rewardkit.commands.answer_display import answers_display, what_answers_mean
from rewardkit.commands.fit_callbacks import RunCallbacks
from rewardkit.config.layout import RunLayout
from rewardkit.config.schema import FitOptions
from rewardkit.data.answer_table import read_answers
from rewardkit.data.demo.dataset import demo_ceilings
from rewardkit.data.predictions import read_predictions
from rewardkit.data.remote_samples import RemoteSamples
from rewardkit.engine.run_directory import write_text
from rewardkit.metrics.answer_rows import answer_rows
from rewardkit.metrics.answer_sets import answers_of_table
from rewardkit.metrics.breakdown import evaluation_rows
from rewardkit.metrics.protocols import find_protocol
from rewardkit.report.page import write_report

EMBEDDED = "embedded"
_COUNTS = {"n_comparisons": "comparisons", "n_groups": "groups", "ties_dropped": "ties", "undecided": "undecided"}
_BASELINES = {
    "chance": "chance",
    "annotator": "annotator_agreement",
    "generator": "which_generator",
    "position": "list_position",
}


def finish(
    options: FitOptions,
    layout: RunLayout,
    callbacks: RunCallbacks,
    console: Console,
    *,
    arguments: Sequence[str],
    val_folders: Sequence[Path | RemoteSamples],
    wall_s: float,
) -> None:
    """Writes summary.json and report.html, and prints the summary."""
    summary: dict[str, Any] = {
        "protocol": options.evaluation.protocol,
        "command": f"python -m rewardkit fit {shlex.join(arguments)}",
        "bundle": str(layout.bundle) if callbacks.best else None,
        "report": str(layout.report),
        "wall_s": round(wall_s, 1),
        "ceilings": embedded_ceilings(options),
    }
    if callbacks.accuracy is not None:
        stopped = callbacks.early.stopped_step if callbacks.early else None
        step = callbacks.best.best_step if callbacks.best else stopped or options.trainer.max_steps
        summary["stopped_early"] = stopped
        summary |= {"step": step, "validations": _validations(callbacks.best)}
        summary["sets"] = {name: _evaluate(options, layout, step, name) for name in callbacks.accuracy.sets}
        for name in callbacks.answers.sets if callbacks.answers else ():
            summary["sets"][name]["answers"] = _answers(options, layout, step, name)
        summary |= summary["sets"][callbacks.accuracy.sets[0]]
    write_text(layout.summary, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    write_report(layout, folders=val_folders)
    print_summary(summary, layout, console)


def embedded_ceilings(options: FitOptions) -> dict[str, Any] | None:
    """The best reachable accuracies of the embedded validation groups, worked out from the law of the votes.

    They are of single comparisons; of a people's order nothing is worked out.
    """
    if options.data.val[0] != EMBEDDED or find_protocol(options.evaluation.protocol).pairs != "votes":
        return None
    embedded = options.data.embedded
    found = demo_ceilings(seed=embedded.seed, start=0, count=embedded.val_groups, split="val")
    return {"best": dict(found.best), "ignoring_prompt": {"overall": found.blind}}


def _validations(best: BestBundle | None) -> int:
    return best.validations if best else 1


def _evaluate(options: FitOptions, layout: RunLayout, step: int, name: str) -> dict[str, Any]:
    """The accuracies of one validation set at the step of the bundle."""
    predictions = read_predictions(layout.predictions / f"{step:08d}-{name}.parquet")
    rows = evaluation_rows(
        predictions, options.evaluation.protocol, draws=options.evaluation.bootstrap, seed=options.seed
    )
    return {
        "accuracies": {
            row["dimension"]: {
                **{key: row[key] for key in ("value", "low", "high")},
                **{key: row[theirs] for key, theirs in _COUNTS.items()},
            }
            for row in rows
        },
        "baselines": {row["dimension"]: {key: row[theirs] for key, theirs in _BASELINES.items()} for row in rows},
        "generator_balanced": {row["dimension"]: row["generator_balanced"] for row in rows},
    }


def _answers(options: FitOptions, layout: RunLayout, step: int, name: str) -> list[dict[str, Any]]:
    """An evaluator's measures on one validation set at the step of the bundle."""
    table = read_answers(layout.predictions / f"{step:08d}-{name}.parquet")
    return answer_rows(answers_of_table(table), draws=options.evaluation.bootstrap, seed=options.seed)


def print_summary(summary: Mapping[str, Any], layout: RunLayout, console: Console) -> None:
    """Prints what a person wants to know first: how good, beside what, and where everything lies."""
    for name, evaluated in summary.get("sets", {}).items():
        if "answers" in evaluated:
            console.print(answers_display(evaluated["answers"], title=f"Held-out answers on {name}"))
            console.print(what_answers_mean(evaluated["answers"]), highlight=False)
        groups = max((row["n_groups"] for row in evaluated["accuracies"].values()), default=0)
        if not groups:
            continue
        console.print(accuracy_table(evaluated, title=f"Held-out preference accuracy on {name}", summary=summary))
        console.print(
            f"{summary['protocol']}; intervals over {groups} groups; {_what_counts(summary['protocol'])}",
            highlight=False,
        )
    if summary.get("ceilings") and "overall" in summary.get("accuracies", {}):
        limits = summary["ceilings"]
        console.print(
            f"By the votes' law the best possible overall is {share(limits['best']['overall'])}, and "
            f"{share(limits['ignoring_prompt']['overall'])} for a model that ignores the prompt.",
            highlight=False,
        )
    if summary.get("stopped_early"):
        console.print(
            f"The run stopped early, after step {summary['stopped_early']}: its validations no longer got better.",
            highlight=False,
        )
    selected = summary.get("validations", 0)
    if selected > 1:
        console.print(
            f"The bundle is from step {summary['step']}, the best of {selected} validations on this same set, which "
            "flatters it a little.",
            highlight=False,
        )
    for where, path in (("run", layout.root), ("bundle", layout.bundle), ("report", layout.report)):
        if where != "bundle" or summary["bundle"]:
            console.print(f"{where:<7} {path}", highlight=False, soft_wrap=True)
    console.print(f"again   {summary['command']}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"took {summary['wall_s']:.0f} s", highlight=False)


def _what_counts(protocol: str) -> str:
    """What n is, and what chance gives."""
    rule = find_protocol(protocol)
    what = "comparisons" if rule.pairs == "votes" else "pairs of the people's order"
    if rule.ties is not None:
        return f"n counts {what}, their ties as right; chance is 0.500 and more where there are ties."
    return f"n counts {what} that people {'decided' if rule.pairs == 'votes' else 'told apart'}; chance is 0.500."


def accuracy_table(evaluated: Mapping[str, Any], *, title: str, summary: Mapping[str, Any]) -> Table:
    """Accuracies per dimension with interval and counts, beside the best possible and the baselines; 80 columns."""
    best = (summary.get("ceilings") or {}).get("best", {})
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("dimension", no_wrap=True)
    columns = ["accu-\nracy", "95 %", "n", "best\npossible", "one\nperson", "which\ngenerator", "listed\nfirst"]
    for column in columns if best else [name for name in columns if "possible" not in name]:
        table.add_column(column, justify="right", no_wrap=True)
    for dimension, row in evaluated["accuracies"].items():
        beside = evaluated["baselines"][dimension]
        possible = [share(best.get(dimension))] if best else []
        table.add_row(
            dimension,
            share(row["value"]),
            f"{share(row['low'])}–{share(row['high'])}",
            str(row["n_comparisons"]),
            *possible,
            *(share(beside[name]) for name in ("annotator", "generator", "position")),
        )
    return table


def share(value: float | None) -> str:
    """A share with three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"
