"""A question set as the YAML file that ``read_questions`` reads: a bundle carries the questions it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rewardkit.data.questions import Question, QuestionSet


def write_questions(questions: QuestionSet, file: Path) -> None:
    """Writes a set so that reading it back gives an equal one."""
    record: dict[str, Any] = {"name": questions.name, "about": questions.about}
    if questions.intercept:
        record["intercept"] = questions.intercept
    if questions.terms:
        record["terms"] = dict(questions.terms)
    record["questions"] = [_question(question) for question in questions.questions]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


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
