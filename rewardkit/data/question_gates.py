"""Questions that count only where others were answered yes, and the weighted score of a set that has weights.

VisionReward (arXiv 2412.21059) asks whether there is a face before it asks how the face is; where there is none, the
second answer means nothing and adds 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.questions import QuestionSet

Said = float | Literal["NA"] | None
"""What an answer is worth, N/A, or None where nothing was said that can be read."""


def is_yes(said: Said) -> bool:
    """Whether an answer opens a gate: a number above 0 (yes is worth 1, no 0 or -1)."""
    return said is not None and said != NOT_APPLICABLE and float(said) > 0


def closed_questions(questions: QuestionSet, said: Mapping[str, Said]) -> frozenset[str]:
    """The questions of one image whose answers do not count: one that they need was not answered yes.

    A gate that is closed itself opens nothing, nor does one that was not asked or could not be read.

    Args:
        questions: The set.
        said: Key of each question that was asked to what was said.
    """
    closed: set[str] = set()
    while True:  # a question behind a gate may be a gate itself
        more = {
            key
            for key in said
            if key not in closed and any(need in closed or not is_yes(said.get(need)) for need in questions[key].needs)
        }
        if not more:
            return frozenset(closed)
        closed |= more


@dataclass(frozen=True, slots=True)
class WeightedScore:
    """The score of one image by a set that has weights.

    Attributes:
        value: The sum; None where an answer that counts is missing.
        without: Terms of the published sum that are no question and were not given (``vqascore``): they are not in it.
        unknown: Questions with a weight that were asked, count, and were not answered.
    """

    value: float | None
    without: tuple[str, ...]
    unknown: tuple[str, ...]


def has_weights(questions: QuestionSet) -> bool:
    """Whether a set defines a weighted score."""
    return any(question.weight is not None for question in questions.questions)


def weighted_score(
    questions: QuestionSet,
    said: Mapping[str, Said],
    *,
    closed: Collection[str],
    terms: Mapping[str, float] | None = None,
) -> WeightedScore:
    """The sum of weight times worth, as VisionReward has it (THUDM/VisionReward, ``inference-image.py``).

    What a gate has closed adds 0, and so does N/A. (The published program also counts an answer that it cannot read as
    a no; here the sum is then unknown.)

    Args:
        questions: The set.
        said: As of ``closed_questions``.
        closed: From it.
        terms: Values of the terms of the sum that are no question.
    """
    given = dict(terms or {})
    total, unknown = questions.intercept, []
    for question in questions.questions:
        worth = said.get(question.key)
        if question.weight is None or question.key not in said or question.key in closed or worth == NOT_APPLICABLE:
            continue
        if worth is None:
            unknown.append(question.key)
        else:
            total += question.weight * float(worth)
    total += sum(weight * given[name] for name, weight in questions.terms.items() if name in given)
    without = tuple(name for name in questions.terms if name not in given)
    return WeightedScore(None if unknown else total, without, tuple(unknown))
