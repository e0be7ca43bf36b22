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
from rewardkit.metrics.evalalign_scores import (
    Answers,
    AspectScore,
    aspect_measurements,
    aspect_scores,
    evalalign_overall,
)
from rewardkit.metrics.intervals import DRAWS

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


def evalalign_rows(table: AnswerTable, *, draws: int = DRAWS, seed: int = 0) -> list[dict[str, Any]]:
    """EvalAlign's aggregates as rows that ``validate`` prints: generator by generator, aspect by aspect.

    Args:
        table: Of a set that ``is_evalalign``.
        draws: Resamples of images behind each interval; 0 gives none.
        seed: Of the resamples.

    Returns:
        Rows of generator, aspect, metric, value, low, high, n_scored, n_na, n_invalid, n_images (None where it is a
        mean of both aspects).
    """
    rows = []
    counted = ("n_scored", "n_na", "n_invalid", "n_images")
    for generator, aspects in evalalign_of_table(table).items():
        of = table.rows[table.rows["generator"].fillna(UNKNOWN_GENERATOR) == generator]
        for aspect, score in aspects.items():
            place = {"generator": generator, "aspect": aspect}
            if aspect == "overall":
                rows += [{**place, "metric": name, "value": value, "low": None, "high": None,
                          **dict.fromkeys(counted)} for name, value in score.items()]  # fmt: skip
                continue
            answers, planned = _answers(of, aspect)  # type: ignore[arg-type]
            ends = {m.metric: m.result(draws=draws, seed=seed)
                    for m in aspect_measurements(answers, aspect, planned=planned)}  # type: ignore[arg-type]  # fmt: skip
            for name in ("average_micro", "total_average", "normalised_macro"):
                low, high = (ends[name].low, ends[name].high) if name in ends else (None, None)
                counts = {key: getattr(score, key) for key in counted}
                rows.append(
                    {**place, "metric": name, "value": getattr(score, name), "low": low, "high": high, **counts}
                )
    return rows


def _aspect(rows: pd.DataFrame, aspect: Aspect) -> AspectScore | None:
    """An aspect's aggregates of one generator's rows; None where none of its questions was asked."""
    answers, planned = _answers(rows, aspect)
    return aspect_scores(answers, aspect, planned=planned) if any(planned.values()) else None


def _answers(rows: pd.DataFrame, aspect: Aspect) -> tuple[Answers, dict[str, list[str]]]:
    """Image to question to answer, and image to its questions.

    Every image is planned, also one without a question on the aspect: published totals divide by images.
    """
    answers: dict[str, dict[str, str | float | None]] = defaultdict(dict)
    planned: dict[str, list[str]] = {}
    for row in rows.itertuples():
        image = f"{row.source}\n{row.key}\n{row.candidate}"
        planned.setdefault(image, [])
        if SKILLS[str(row.question)].aspect == aspect:
            planned[image].append(str(row.question))
            # An unparsed text goes in as it is: it was answered, and is no score.
            answers[image][str(row.question)] = row.text if row.outcome == "unparsed" else row.answer  # type: ignore[assignment]
    return answers, planned


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
