"""A question set as plain values and as YAML: bundles carry the questions they answer, tables of answers theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rewardkit.data.questions import Question, QuestionSet


def write_questions(questions: QuestionSet, file: Path) -> None:
    """Writes a set so that reading it back gives an equal one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(record_of_questions(questions), sort_keys=False, allow_unicode=True, width=120)
    file.write_text(text, encoding="utf-8")


def record_of_questions(questions: QuestionSet) -> dict[str, Any]:
    """A set as plain values, which ``questions_of_record`` reads back."""
    record: dict[str, Any] = {"name": questions.name, "about": questions.about}
    if questions.intercept:
        record["intercept"] = questions.intercept
    if questions.terms:
        record["terms"] = dict(questions.terms)
    record["questions"] = [_question(question) for question in questions.questions]
    return record


def _question(question: Question) -> dict[str, Any]:
    record: dict[str, Any] = {"key": question.key, "text": question.text, "template": question.template}
    record["dimension"] = question.dimension
    if question.slot is not None:
        record["slot"] = question.slot
    if question.needs:
        record["needs"] = list(question.needs)
    if question.weight is not None:
        record["weight"] = question.weight
    record["options"] = [{"label": o.label, "text": o.text, "value": o.value} for o in question.options]
    return record
