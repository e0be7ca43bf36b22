"""Writes a run's report.html: one file that needs nothing else, readable in light and dark, on a phone and on paper."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rewardkit
from rewardkit.config.help import show_value
from rewardkit.config.layout import RunLayout
from rewardkit.config.options import leaves
from rewardkit.config.schema import FitOptions
from rewardkit.data.remote_samples import RemoteSamples
from rewardkit.report.against import Gain, compare_evaluations
from rewardkit.report.answers import (
    AnswerGain,
    AnswerSection,
    answer_sections,
    answers_of_run,
    compare_answers,
)
from rewardkit.report.charts import share_axis
from rewardkit.report.disagreements import Disagreement, Thumbnails, worst_disagreements
from rewardkit.report.evaluation import Evaluation, Row, evaluate, evaluations_of_summary, summary_of_set
from rewardkit.report.figures import Figure, curve_figures, margin_figures, score_figures
from rewardkit.report.run_files import Option, RunFiles, read_run, read_tables
from rewardkit.report.scales import Axis
from rewardkit.report.template import PAGE, environment

DEFAULT_PROTOCOL = "strict_micro"
"""The rule for a run that names none."""

DISAGREEMENTS = 6
"""Shown of the headline dimension; of the others, ``OTHER_DISAGREEMENTS`` each."""
OTHER_DISAGREEMENTS = 2

_PART_TITLES = {"source": "Source", "tag": "Tag", "generator": "Generator", "generator_pair": "Pair of generators"}
_LISTED_ERRORS = 50


@dataclass(frozen=True, slots=True)
class PartTable:
    """The parts of one kind, for one dimension."""

    title: str
    rows: tuple[Row, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class SetSection:
    """All that the page shows of one validation set.

    Attributes:
        suffix: Behind the titles, where there is more than one set.
        anchor: Behind the ids of the page's sections.
        axis: Of its intervals.
        parts: (dimension, tables), the headline dimension first.
        disagreements: (dimension, disagreements), likewise.
        answers: Of an evaluator: its answers to its questions.
        answer_gains: Of two evaluators: what one gains over the other.
    """

    evaluation: Evaluation
    suffix: str
    anchor: str
    axis: Axis
    gains: list[Gain]
    scores: list[Figure]
    margins: list[Figure]
    parts: list[tuple[str, list[PartTable]]]
    disagreements: list[tuple[str, list[Disagreement]]]
    answers: AnswerSection | None
    answer_gains: list[AnswerGain]


def write_report(
    run: RunLayout, *, against: RunLayout | None = None, folders: Sequence[Path | RemoteSamples] = ()
) -> Path:
    """Writes ``report.html`` of a run, finished or not, and replaces an older one.

    Args:
        run: The run.
        against: Another run, compared on the same validation data.
        folders: Folders of the validation shards, where the pictures are taken from.

    Returns:
        The page.

    Raises:
        UserError: A folder is no run, or the two runs have nothing in common.
        DataError: A file of the run is damaged.
    """
    files = read_run(run)
    evaluations = evaluate_run(files)
    gains: dict[str, list[Gain]] = {}
    answer_gains: dict[str, list[AnswerGain]] = {}
    other = ""
    if against is not None:
        their_files = read_run(against)
        other = their_files.name
        theirs = evaluate_run(their_files, protocol=protocol_of(files))
        answer_gains = compare_answers(answers_of_run(files, evaluations), answers_of_run(their_files, theirs))
        gains = compare_evaluations(evaluations, theirs, name=str(against.root), required=not answer_gains)
    page = render(
        files, evaluations, thumbnails=Thumbnails(folders), gains=gains, answer_gains=answer_gains, other=other
    )
    scratch = run.report.with_name(f".{run.report.name}.tmp")
    try:
        scratch.write_text(page, encoding="utf-8", errors="replace")
        os.replace(scratch, run.report)
    finally:
        scratch.unlink(missing_ok=True)
    return run.report


def protocol_of(files: RunFiles) -> str:
    """The rule that a run counts by."""
    return str((files.summary or {}).get("protocol") or files.option("evaluation.protocol") or DEFAULT_PROTOCOL)


def evaluate_run(files: RunFiles, *, protocol: str | None = None) -> list[Evaluation]:
    """The accuracies of a run, one evaluation for each validation set; none before its first validation.

    Args:
        files: The run.
        protocol: Name of the rule. Default: the run's own.
    """
    summary = dict(files.summary or {})
    rule = protocol or protocol_of(files)
    if rule != protocol_of(files):
        summary = {}  # its accuracies follow another rule
    table = read_tables(files)
    if table is None:
        return evaluations_of_summary(summary)
    step, sets = table
    said = summary if summary.get("step") in (None, step) else {}
    return [
        evaluate(predictions, rule, name=name, step=step, summary=summary_of_set(said, name))
        for name, predictions in sets.items()
        if len(predictions.scores)
    ]


def render(
    files: RunFiles,
    evaluations: Sequence[Evaluation],
    *,
    thumbnails: Thumbnails,
    gains: Mapping[str, list[Gain]],
    answer_gains: Mapping[str, list[AnswerGain]],
    other: str,
) -> str:
    """The page as HTML. Everything that came from a file is escaped by the template."""
    answers = answer_sections(files, evaluations)
    sets = [
        _set_section(
            evaluation,
            n,
            len(evaluations),
            gains.get(evaluation.set, []),
            thumbnails,
            answers.get(evaluation.set),
            answer_gains.get(evaluation.set, []),
        )
        for n, evaluation in enumerate(evaluations)
    ]
    return (
        environment()
        .get_template(PAGE)
        .render(
            run=files,
            version=rewardkit.__version__,
            sets=sets,
            other=other,
            selection=describe_selection(files, evaluations),
            curves=curve_figures(files.curves),
            missing_pictures=thumbnails.missing,
            changed=changed_options(files.options),
            environment=_environment_lines(files.environment),
            listed_errors=files.bad_samples[:_LISTED_ERRORS],
            reproduce=reproduce(files),
        )
    )


def _set_section(
    evaluation: Evaluation,
    n: int,
    count: int,
    gains: list[Gain],
    thumbnails: Thumbnails,
    answers: AnswerSection | None,
    answer_gains: list[AnswerGain],
) -> SetSection:
    values = [
        value
        for row in evaluation.rows
        for value in (row.value, row.low, row.high, row.reachable, *row.baselines.values())
    ]
    return SetSection(
        evaluation=evaluation,
        suffix=f" on {evaluation.set}" if count > 1 else "",
        anchor=f"-{n + 1}" if n else "",
        axis=share_axis(values),
        gains=gains,
        scores=score_figures(evaluation),
        margins=margin_figures(evaluation),
        parts=_part_tables(evaluation),
        disagreements=_disagreements(evaluation, thumbnails),
        answers=answers,
        answer_gains=answer_gains,
    )


def describe_selection(files: RunFiles, evaluations: Sequence[Evaluation]) -> str:
    """Which weights the page is about, and how they were chosen."""
    if not evaluations:
        return ""
    evaluation = evaluations[0]
    step = f"step {evaluation.step:,}" if evaluation.step is not None else "a step that was not written down"
    if files.summary is None:
        return f"Weights of {step}, the latest validation of a run that is not finished."
    validations = files.summary.get("validations")
    count = len(validations) if isinstance(validations, list | dict) else validations
    if not isinstance(count, int) or count < 1:
        return f"Weights of {step}."
    if count == 1:
        return f"Weights of {step}, the only validation."
    chosen = files.option("callbacks.best_bundle.dimension", "null")
    if chosen == "null":
        chosen = "overall" if any(row.name == "overall" for row in evaluation.rows) else "mean"
    return (
        f"Weights of {step}, the best of {count} validations by {chosen} accuracy. They were chosen on these same "
        "comparisons, so the figures are slightly optimistic."
    )


def changed_options(options: Sequence[Option]) -> list[Option]:
    """The options that are not the schema's defaults, with where they were set."""
    defaults = {leaf.key: show_value(leaf.default) for leaf in leaves(FitOptions)}
    home = str(Path.home())
    return [
        Option(option.key, option.value.replace(home, "~") if len(home) > 1 else option.value, option.origin)
        for option in options
        if (option.origin != "default" if option.origin else defaults.get(option.key) != option.value)
    ]


def reproduce(files: RunFiles) -> list[str]:
    """Shell lines that run the same again."""
    revision = str(files.environment.get("git_revision") or "")
    lines = []
    if revision:
        lines.append(f"git checkout {shlex.quote(revision.removesuffix('+changes'))}")
    lines += ['pip install -e "."', files.command]
    return lines


def _disagreements(evaluation: Evaluation, thumbnails: Thumbnails) -> list[tuple[str, list[Disagreement]]]:
    """Dimension to its worst disagreements, the headline dimension first."""
    if evaluation.pairs is None or evaluation.predictions is None:
        return []
    first = evaluation.headline.name if evaluation.headline else ""
    names = sorted((row.name for row in evaluation.rows), key=lambda name: name != first)
    found = []
    for name in names:
        count = DISAGREEMENTS if name == first else OTHER_DISAGREEMENTS
        worst = worst_disagreements(
            evaluation.pairs, evaluation.predictions.scores, name, count=count, thumbnails=thumbnails
        )
        if worst:
            found.append((name, worst))
    return found


def _part_tables(evaluation: Evaluation) -> list[tuple[str, list[PartTable]]]:
    """Dimension to its tables of parts, the headline dimension first; kinds with a single part say nothing new."""
    first = evaluation.headline.name if evaluation.headline else ""
    found = []
    for name in sorted((row.name for row in evaluation.rows), key=lambda name: name != first):
        tables = []
        for kind, title in _PART_TITLES.items():
            rows = evaluation.parts.get(kind, {}).get(name, ())
            if len(rows) > 1:
                tables.append(PartTable(title, rows, evaluation.left_out.get((kind, name), 0)))
        if tables:
            found.append((name, tables))
    return found


def _environment_lines(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The environment as names and texts."""
    lines = []
    for name, value in environment.items():
        if isinstance(value, dict):
            lines += [(str(inner), str(text)) for inner, text in value.items()]
        elif isinstance(value, list | tuple):
            lines.append((str(name).replace("_", " "), ", ".join(map(str, value)) or "none"))
        else:
            lines.append((str(name).replace("_", " "), "none" if value is None else str(value)))
    return lines
