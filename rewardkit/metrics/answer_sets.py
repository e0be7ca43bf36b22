"""From an answers table to what measures read: each question's answers in arrays, and EvalAlign's aggregates."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pandas as pd

from rewardkit.data.answer_table import AnswerTable
from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.questions import Question, QuestionSet
from rewardkit.metrics.answers import Answered, QuestionAnswers, question_answers
from rewardkit.metrics.evalalign_answers import NA_SCORE, SKILLS, Aspect
from rewardkit.metrics.evalalign_scores import Answers, AspectScore, aspect_scores, evalalign_overall

UNKNOWN_GENERATOR = "unknown"
"""Stands for the generator of images whose data do not name it."""


def answers_of_table(table: AnswerTable) -> list[QuestionAnswers]:
    """The answers to each question that was asked, in the order of the set.

    An answer behind a closed gate is masked: it is in no measure, and counted.

    Raises:
        DataError: A row contradicts itself or its question.
    """
    by_question = dict(list(table.rows.groupby("question", sort=False)))
    return [
        question_answers(question, [_answered(question, row) for row in by_question[question.key].itertuples()])
        for question in table.questions.questions
        if question.key in by_question
    ]


def is_evalalign(questions: QuestionSet) -> bool:
    """Whether a set is EvalAlign's: its questions, each with the scores that it was published with."""
    return all(
        question.key in SKILLS
        and sorted(float(NA_SCORE if option.value == NOT_APPLICABLE else option.value) for option in question.options)
        == [float(score) for score in SKILLS[question.key].scores]
        for question in questions.questions
    )


def evalalign_of_table(table: AnswerTable) -> dict[str, dict[str, Any]]:
    """EvalAlign's aggregates of each generator in a table whose set ``is_evalalign``.

    Returns:
        Generator to ``faithfulness`` and ``alignment`` (each an ``AspectScore``; one of them is left out where none of
        its questions were asked) and, where both are there, ``overall`` (``evalalign_overall``).
    """
    found: dict[str, dict[str, Any]] = {}
    generators = table.rows["generator"].fillna(UNKNOWN_GENERATOR)
    for generator, rows in table.rows.groupby(generators, sort=True):
        aspects: dict[str, Any] = {}
        for aspect in ("faithfulness", "alignment"):
            score = _aspect(rows, aspect)  # type: ignore[arg-type]
            if score is not None:
                aspects[aspect] = score
        if len(aspects) == 2:
            aspects["overall"] = evalalign_overall(aspects["faithfulness"], aspects["alignment"])
        found[str(generator)] = aspects
    return found


def _aspect(rows: pd.DataFrame, aspect: Aspect) -> AspectScore | None:
    """Every image is planned, also one without a question on the aspect: published totals divide by images."""
    answers: dict[str, dict[str, str | float | None]] = defaultdict(dict)
    planned: dict[str, list[str]] = {}
    for row in rows.itertuples():
        image = f"{row.source}\n{row.key}\n{row.candidate}"
        planned.setdefault(image, [])
        if SKILLS[str(row.question)].aspect == aspect:
            planned[image].append(str(row.question))
            # An unparsed text goes in as it is: it was answered, and is no score.
            answers[image][str(row.question)] = row.text if row.outcome == "unparsed" else row.answer  # type: ignore[assignment]
    if not any(planned.values()):
        return None
    given: Answers = answers
    return aspect_scores(given, aspect, planned=planned)


def _answered(question: Question, row: Any) -> Answered:
    people = [*map(float, row.people), *([NOT_APPLICABLE] * int(row.people_na))]
    place = {"source": row.source, "key": row.key, "candidate": int(row.candidate), "people": people}
    if not row.counts:
        return Answered(**place, outcome="masked")
    if row.outcome != "answered":
        return Answered(**place, outcome=row.outcome)
    return Answered(
        **place,
        label=None if row.probabilities is not None else _column(question, row.answer),
        probabilities=row.probabilities,
        expected=None if pd.isna(row.expected) else float(row.expected),
    )


def _column(question: Question, label: str) -> int:
    """The place of an option among those that apply, in their order, with N/A last."""
    applying = [option.label for option in question.options if option.value != NOT_APPLICABLE]
    return applying.index(label) if label in applying else len(applying)
