"""The one number of a validation that decides which model is best and when to stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rewardkit.callbacks.preference_accuracy import Validation
from rewardkit.callbacks.question_answers import AnsweredSet, QuestionAnswers

OF_ANSWERS = ("srcc", "option_accuracy")
"""Measures of an evaluator's answers that decide, the first that is defined: rank correlation with people's mean answer
(undefined where all answers are the same), then the share of right options."""


def deciding_dimension(named: str | None, dimensions: Sequence[str]) -> str | None:
    """The dimension that decides: the named one, else ``overall`` where there is one, else None for the mean of all."""
    return named or ("overall" if "overall" in dimensions else None)


def deciding_value(
    validations: Sequence[Validation], answers: QuestionAnswers | None, dimension: str | None
) -> float | None:
    """What decides between models: of an evaluator its answers, where people answered, else preference accuracy.

    Args:
        validations: The accuracies of every validation set.
        answers: An evaluator's answers to them; None of other models.
        dimension: The deciding dimension; None: the mean of all.

    Returns:
        Averaged over sets and questions; None where nothing is labelled.
    """
    for measure in OF_ANSWERS if answers else ():
        value = _answered(answers.latest, measure, dimension)  # type: ignore[union-attr]
        if value is not None:
            return value
    return deciding_accuracy(validations, dimension)


def deciding_accuracy(validations: Sequence[Validation], dimension: str | None) -> float | None:
    """Accuracy of the deciding dimension (None: the mean of all), averaged over the sets; None where there is none."""
    return _mean(
        row["value"] for validation in validations for row in validation.rows if dimension in (None, row["dimension"])
    )


def _answered(answered: Sequence[AnsweredSet], measure: str, dimension: str | None) -> float | None:
    found = []
    for one in answered:
        of = {question.key: question.dimension for question in one.table.questions.questions}
        found += [
            row["value"]
            for row in one.rows
            if row["metric"] == measure and row["dimension"] in of and dimension in (None, of[row["dimension"]])
        ]
    return _mean(found)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
