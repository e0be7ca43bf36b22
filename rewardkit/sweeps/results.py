"""What came of a sweep: results.json, results.csv, and the best trial's bundle and recipe, ready to run again."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardkit.config.help import show_value
from rewardkit.config.layout import RunLayout
from rewardkit.config.sweeps import Metric
from rewardkit.sweeps.study import TrialRecord

BEST = "best"
"""Folder of the best trial's bundle and recipe, in the sweep's."""


def result_rows(records: Sequence[TrialRecord], layouts: Mapping[int, RunLayout]) -> list[dict[str, Any]]:
    """One row for each trial, by number.

    Args:
        records: The trials.
        layouts: Number to the trial's run.
    """
    return [
        {
            "trial": one.number,
            "state": one.state,
            "value": one.value,
            "step": one.step,
            "parameters": one.point,
            "history": {str(step): value for step, value in one.history.items()},
            "seconds": one.seconds,
            "cause": one.cause,
            "run": str(layouts[one.number].root),
        }
        for one in records
    ]


def write_results(root: Path, rows: Sequence[Mapping[str, Any]], *, about: Mapping[str, Any]) -> None:
    """Writes results.json and results.csv, each whole or not at all.

    Args:
        root: The sweep's folder.
        rows: From ``result_rows``.
        about: What the sweep was; stands before the trials in the JSON.
    """
    _replace(root / "results.json", json.dumps({**about, "trials": list(rows)}, indent=1, ensure_ascii=False) + "\n")
    names = list(dict.fromkeys(name for row in rows for name in row["parameters"]))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["trial", "state", "value", "step", *names, "seconds", "cause", "run"])
    for row in rows:
        values = [show_value(row["parameters"].get(name)) for name in names]
        head = [row["trial"], row["state"], _cell(row["value"]), _cell(row["step"])]
        writer.writerow([*head, *values, row["seconds"], row["cause"] or "", row["run"]])
    _replace(root / "results.csv", table.getvalue())


def write_best(root: Path, best: TrialRecord, layout: RunLayout, *, metric: Metric) -> Path:
    """Copies the best trial's bundle, and its options as a recipe that trains the same again.

    Args:
        root: The sweep's folder.
        best: The trial.
        layout: Its run.
        metric: What it is the best in.

    Returns:
        The folder.
    """
    out, part = root / BEST, root / f".{BEST}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    if layout.bundle.is_dir():
        shutil.copytree(layout.bundle, part / "bundle")
    values = "\n".join(f"#   {name}={show_value(value)}" for name, value in best.point.items())
    head = (
        f"# The best of a sweep: trial {best.number}, {metric.name} {best.value:.6g} at step {best.step}. Given\n"
        f"{values}\n# and trains again with\n#   python -m rewardkit fit recipe={out / 'recipe.yaml'}\n"
        f"about: The best trial of {root.parent.name}/{root.name}\n"
    )
    (part / "recipe.yaml").write_text(head + layout.config.read_text(encoding="utf-8"), encoding="utf-8")
    if out.exists():
        shutil.rmtree(out)
    os.rename(part, out)
    return out


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.9g}"


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.tmp")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)
