"""The report's section on an evaluator's answers: measures of each question, and what was answered beside people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardkit.data.answer_table import AnswerTable
from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.questions import Question
from rewardkit.metrics.answer_measures import PROTOCOL, confusion
from rewardkit.metrics.answer_rows import answer_differences, answer_rows
from rewardkit.metrics.answer_sets import answers_of_table
from rewardkit.metrics.answers import QuestionAnswers
from rewardkit.metrics.results import Difference
from rewardkit.report.evaluation import Evaluation
from rewardkit.report.run_files import RunFiles, read_answer_tables

HEATS = 8
"""Shades of a confusion's cells that the page defines (classes ``heat0`` to ``heat8``)."""

COMPARED = ("option_accuracy", "qwk", "mae", "na_f1", "srcc")
"""Measures whose differences a page shows."""

_DRAWS = 1000
_COLUMNS = ("qwk", "mae", "srcc", "tau_b", "na_f1", "ece", "unparsed_rate")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a confusion: how many answers, and its shade."""

    count: float
    heat: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """What an evaluator answered (columns) where most people said an option (rows).

    Attributes:
        question: Its key.
        text: What was asked.
        options: Labels of the columns and rows, N/A last.
        rows: A row of cells for each option of people's.
    """

    question: str
    text: str
    options: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """Measures of one question; None is not known.

    Attributes:
        name: The question's key, or "all questions".
        accuracy: Row of ``option_accuracy`` from ``answer_rows``.
        values: Measure to value, as far as it has one.
        intervals: Measure to the ends of its interval.
    """

    name: str
    accuracy: Mapping[str, Any]
    values: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class AnswerSection:
    """All that the page shows of the answers on one set.

    Attributes:
        rows: One for each question, and their means last.
        confusions: Of each question that people answered.
        some_na: Whether a question has N/A.
        unparsed: Answers that could not be read.
        masked: Answers behind a gate that was answered no.
    """

    rows: tuple[QuestionRow, ...]
    confusions: tuple[Confusion, ...]
    some_na: bool
    unparsed: int
    masked: int


def answer_section(table: AnswerTable, said: Sequence[Mapping[str, Any]] | None = None) -> AnswerSection:
    """The section of a table.

    Args:
        table: An evaluator's answers to one set.
        said: Rows of ``answer_rows`` that the run's summary has; None: they are worked out.
    """
    answers = answers_of_table(table)
    measures = answer_rows(answers, draws=_DRAWS) if said is None else said
    by_question: dict[str, list[Mapping[str, Any]]] = {}
    for row in measures:
        by_question.setdefault(row["dimension"], []).append(row)
    rows = tuple(_row(name, found) for name, found in by_question.items())
    made = (_confusion(table.questions[one.question], one) for one in answers)
    return AnswerSection(
        rows=rows,
        confusions=tuple(found for found in made if found is not None),
        some_na=any(one.has_na for one in answers),
        unparsed=int((table.rows["outcome"] == "unparsed").sum()),
        masked=int((~table.rows["counts"]).sum()),
    )


@dataclass(frozen=True, slots=True)
class AnswerGain:
    """One measure of one question, of two evaluators."""

    question: str
    measure: str
    difference: Difference


def compare_answers(ours: Mapping[str, AnswerTable], theirs: Mapping[str, AnswerTable]) -> dict[str, list[AnswerGain]]:
    """Paired differences of the measures that say most, on the sets and questions that both answered.

    Args:
        ours: Name of each set to the answers of the run that is reported.
        theirs: Of the other.
    """
    found: dict[str, list[AnswerGain]] = {}
    for name in ours.keys() & theirs.keys():
        others = {answers.question: answers for answers in answers_of_table(theirs[name])}
        for mine in answers_of_table(ours[name]):
            if mine.question in others:
                gains = answer_differences(mine, others[mine.question])
                found.setdefault(name, []).extend(
                    AnswerGain(mine.question, gain.metric, gain) for gain in gains if gain.metric in COMPARED
                )
    return {name: gains for name, gains in found.items() if gains}


def answers_of_run(files: RunFiles, evaluations: Sequence[Evaluation]) -> dict[str, AnswerTable]:
    """What an evaluator answered, by validation set, at the step that the page is about."""
    step = evaluations[0].step if evaluations else None
    return {} if step is None else read_answer_tables(files, step)


def answer_sections(files: RunFiles, evaluations: Sequence[Evaluation]) -> dict[str, AnswerSection]:
    """The sections of a run, by validation set; what its summary says of the same step goes before."""
    summary = files.summary or {}
    step = evaluations[0].step if evaluations else None
    said = summary.get("sets") or {} if summary.get("step") in (None, step) else {}
    return {
        name: answer_section(table, (said.get(name) or {}).get("answers"))
        for name, table in answers_of_run(files, evaluations).items()
    }


def _row(name: str, found: Sequence[Mapping[str, Any]]) -> QuestionRow:
    own = {row["metric"]: row for row in found if row["protocol"] == PROTOCOL}
    pairs = next((row for row in found if (row["protocol"], row["metric"]) == ("strict_micro", "accuracy")), None)
    values = {metric: own[metric]["value"] for metric in _COLUMNS if metric in own}
    values["pairs"] = None if pairs is None else pairs["value"]
    intervals = {
        metric: (row["low"], row["high"])
        for metric, row in own.items()
        if row["low"] is not None and metric in _COLUMNS
    }
    return QuestionRow(name, own["option_accuracy"], values, intervals)


def _confusion(question: Question, answers: QuestionAnswers) -> Confusion | None:
    """None where people said nothing that is an option."""
    counts = confusion(answers)  # [C, C], people by evaluator
    if not counts.sum():
        return None
    applying = [option.label for option in question.options if option.value != NOT_APPLICABLE]
    options = (*applying, *(option.label for option in question.options if option.value == NOT_APPLICABLE))
    # A shade says which share of a row lies there, so that rare options are read as easily as common ones.
    rows = tuple(
        tuple(Cell(float(count), round(HEATS * count / max(row.sum(), 1.0))) for count in row[: len(options)])
        for row in counts[: len(options)]
    )
    return Confusion(question.key, question.text, options, rows)
