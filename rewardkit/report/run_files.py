"""Reads a run's folder as it is: finished, still running, or broken off early; what is not there is left empty."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardkit.config.layout import RunLayout
from rewardkit.data.answer_table import AnswerTable, answers_path, read_answers
from rewardkit.data.predictions import Predictions, read_predictions
from rewardkit.errors import DataError, UserError
from rewardkit.report.metrics_log import curves, read_metrics

_LINE = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z0-9_]+):(?P<value>.*)")
_TABLE = re.compile(r"(?P<step>\d+)-(?P<set>.+)\.parquet")


@dataclass(frozen=True, slots=True)
class Option:
    """One line of a run's composed options; ``origin`` is "" where the file does not tell it."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a run's folder says.

    Attributes:
        name: Recipe and name of the run, the last two parts of its path.
        options: The composed options, in the order of config.yaml.
        arguments: The command line behind ``fit``.
        environment: Versions, hardware, git revision, seed.
        curves: Name of a metric to its (step, value).
        summary: The final accuracies; None for a run that is not finished.
        bad_samples: Samples that could not be read: shard, key, reason.
        tables: (step, set, file) of each predictions table, by step.
    """

    name: str
    options: tuple[Option, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    summary: Mapping[str, Any] | None = None
    bad_samples: tuple[Mapping[str, Any], ...] = ()
    tables: tuple[tuple[int, str, Path], ...] = ()

    def option(self, key: str, default: str = "") -> str:
        """The value of one option, as config.yaml writes it."""
        return next((option.value for option in self.options if option.key == key), default)

    @property
    def command(self) -> str:
        """The command that started the run, quoted for a shell."""
        told = (self.summary or {}).get("command")
        return str(told) if told else shlex.join(["python", "-m", "rewardkit", "fit", *self.arguments])


def read_run(run: RunLayout) -> RunFiles:
    """Reads a run's folder.

    Raises:
        UserError: The folder is no run.
        DataError: A file in it is damaged.
    """
    if not run.root.is_dir() or not (run.exists or run.metrics.is_file() or run.summary.is_file()):
        what = "is not a run's folder: it has no config.yaml" if run.root.is_dir() else "there is no such folder"
        raise UserError(f"run={run.root}: {what}. Runs lie in runs/RECIPE/NAME.")
    root = run.root.resolve()
    return RunFiles(
        name="/".join(root.parts[-2:]),
        options=read_options(run.config.read_text(encoding="utf-8")) if run.config.is_file() else (),
        arguments=tuple(run.overrides.read_text(encoding="utf-8").splitlines()) if run.overrides.is_file() else (),
        environment=_json(run.environment) or {},
        curves=curves(read_metrics(run.metrics)) if run.metrics.is_file() else {},
        summary=_json(run.summary),
        bad_samples=_json_lines(run.data_errors),
        tables=_tables(run.predictions),
    )


def read_options(text: str) -> tuple[Option, ...]:
    """The options of a config.yaml, dotted, with the origins that stand behind them as comments."""
    found: list[Option] = []
    above: list[str] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if not match:
            continue
        depth = len(match["indent"]) // 2
        above = [*above[:depth], match["key"]]
        value, mark, origin = match["value"].rpartition("  # ")
        value = (value if mark else match["value"]).strip()
        if value:
            found.append(Option(".".join(above), value, origin.strip() if mark else ""))
    return tuple(found)


def read_tables(run: RunFiles) -> tuple[int, dict[str, Predictions]] | None:
    """The predictions behind the run's bundle, else those of its last validation.

    Returns:
        The step, and name of each validation set to its table, in the summary's order; None without a validation.

    Raises:
        DataError: A table is damaged.
    """
    if not run.tables:
        return None
    wanted = (run.summary or {}).get("step")
    steps = {step for step, _, _ in run.tables}
    chosen = wanted if wanted in steps else max(steps)
    order = list((run.summary or {}).get("sets") or {})
    files = sorted(
        ((name, path) for step, name, path in run.tables if step == chosen),
        key=lambda table: order.index(table[0]) if table[0] in order else len(order),
    )
    return chosen, {name: read_predictions(path) for name, path in files}


def read_answer_tables(run: RunFiles, step: int) -> dict[str, AnswerTable]:
    """An evaluator's answers beside the predictions of a step, by validation set; empty for other models.

    Raises:
        DataError: A table is damaged.
    """
    return {name: read_answers(path) for at, name, path in run.tables if at == step and answers_path(path).is_file()}


def _tables(folder: Path) -> tuple[tuple[int, str, Path], ...]:
    found = []
    for path in sorted(folder.glob("*.parquet")):
        match = _TABLE.fullmatch(path.name)
        if match and not path.name.endswith(".labels.parquet") and path.with_suffix(".labels.parquet").is_file():
            found.append((int(match["step"]), match["set"], path))
    return tuple(sorted(found, key=lambda table: table[:2]))


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); delete it to write the report without it") from None
    if not isinstance(record, dict):
        raise DataError(f"{path} holds a {type(record).__name__}, not an object; delete it to do without it")
    return record


def _json_lines(path: Path) -> tuple[Mapping[str, Any], ...]:
    """Every line that is a JSON object; the last may have been cut off by a kill."""
    if not path.is_file():
        return ()
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return tuple(records)
