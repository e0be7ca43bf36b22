"""Writes a run's report.html: one file that needs nothing else, readable in light and dark, on a phone and on paper."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import rewardkit
from rewardkit.config.help import show_value
from rewardkit.config.layout import RunLayout
from rewardkit.config.options import leaves
from rewardkit.config.schema import FitOptions
from rewardkit.data.remote_samples import RemoteSamples
from rewardkit.report.against import Changed, Gain, changed_between, compare_evaluations
from rewardkit.report.answers import AnswerGain, answer_sections, answers_of_run, compare_answers
from rewardkit.report.disagreements import Thumbnails
from rewardkit.report.evaluation import Evaluation, evaluate, evaluations_of_summary, summary_of_set
from rewardkit.report.figures import Figure, both_curves, curve_figures
from rewardkit.report.run_files import Option, RunFiles, read_run, read_tables
from rewardkit.report.sections import set_section
from rewardkit.report.template import environment, environment_lines, write_page

DEFAULT_PROTOCOL = "strict_micro"
"""The rule for a run that names none."""

_LISTED_ERRORS = 50


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
    other = _other_run(files, evaluations, against) if against is not None else None
    page = render(files, evaluations, thumbnails=Thumbnails(folders), other=other)
    return write_page(run.report, page)


@dataclass(frozen=True, slots=True)
class OtherRun:
    """What the page says of the run that this one is compared with.

    Attributes:
        name: Of the other run.
        command: Its command.
        gains: Validation set to differences of its accuracies.
        answer_gains: Validation set to differences of an evaluator's measures.
        changed: Options that differ.
        curves: Charts of what both runs logged.
    """

    name: str
    command: str
    gains: Mapping[str, list[Gain]]
    answer_gains: Mapping[str, list[AnswerGain]]
    changed: list[Changed]
    curves: list[Figure]


def _other_run(files: RunFiles, evaluations: Sequence[Evaluation], against: RunLayout) -> OtherRun:
    their_files = read_run(against)
    theirs = evaluate_run(their_files, protocol=protocol_of(files))
    answer_gains = compare_answers(answers_of_run(files, evaluations), answers_of_run(their_files, theirs))
    name = their_files.name if their_files.name != files.name else str(against.root)
    return OtherRun(
        name=name,
        command=their_files.command,
        gains=compare_evaluations(evaluations, theirs, name=str(against.root), required=not answer_gains),
        answer_gains=answer_gains,
        changed=changed_between(files, their_files),
        curves=both_curves(files.curves, their_files.curves, names=("this run", name)),
    )


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
    other: OtherRun | None = None,
) -> str:
    """The page as HTML. Everything that came from a file is escaped by the template."""
    answers = answer_sections(files, evaluations)
    sets = [
        set_section(
            evaluation,
            suffix=f" on {evaluation.set}" if len(evaluations) > 1 else "",
            anchor=f"-{n + 1}" if n else "",
            thumbnails=thumbnails,
            gains=other.gains.get(evaluation.set, ()) if other else (),
            answers=answers.get(evaluation.set),
            answer_gains=other.answer_gains.get(evaluation.set, ()) if other else (),
        )
        for n, evaluation in enumerate(evaluations)
    ]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=files.name,
            kicker="rewardkit report",
            run=files,
            version=rewardkit.__version__,
            sets=sets,
            other=other,
            selection=describe_selection(files, evaluations),
            curves=curve_figures(files.curves),
            missing_pictures=thumbnails.missing,
            changed=changed_options(files.options),
            environment=environment_lines(files.environment),
            listed_errors=files.bad_samples[:_LISTED_ERRORS],
            reproduce=reproduce(files),
        )
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
