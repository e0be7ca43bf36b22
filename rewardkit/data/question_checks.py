"""Whether a question set fits the data: refuses what cannot be meant, and tells what will not be learned."""

from __future__ import annotations

from collections.abc import Mapping

from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.mixture import Mixture
from rewardkit.data.question_counts import AnsweredQuestions, Unfit
from rewardkit.data.questions import Question, QuestionSet
from rewardkit.errors import UserError


def check_questions(answered: AnsweredQuestions, *, name: str, training: bool) -> list[str]:
    """Compares a data set's labels with the questions.

    Args:
        answered: The data and the questions.
        name: What messages call the data: ``train``, or the validation set's name.
        training: Whether it is trained on.

    Returns:
        Warnings, in words: answers that choose no option, and questions that nothing teaches.

    Raises:
        UserError: There are labels on a dimension that no question is on, or answers outside the range of the options.
    """
    mixture, questions = answered.mixture, answered.questions
    _refuse_unasked(mixture, questions, name)
    warnings = []
    for dimension, unfit in sorted(answered.unfit.items()):
        asked = [question for question in questions.questions if question.dimension == dimension]
        _refuse_outside(unfit, asked, dimension, name)
        warnings += _told(unfit, asked, dimension, name)
    if training:
        there = labelled_dimensions(mixture)
        untaught = [question.key for question in questions.questions if question.dimension not in there]
        if untaught:
            warnings.append(
                f"{name} has no labels for the questions {', '.join(untaught)} of {questions.name}; they are asked in "
                "evaluations and not learned"
            )
    return warnings


def check_asking(questions: QuestionSet, sampling: Mapping[str, float], *, pairing: str, features: bool) -> None:
    """Refuses ways of reading the data in which questions cannot be asked.

    Args:
        questions: The set.
        sampling: ``data.question_sampling``.
        pairing: ``grouped`` or ``pairs``.
        features: Whether features are read in the place of images.

    Raises:
        UserError: Features; sampling of pairs, of a dimension that no question is on, or with a share outside (0, 1].
    """
    if features:
        raise UserError("an evaluator reads images as they are; leave data.features out")
    if sampling and pairing == "pairs":
        raise UserError("data.question_sampling is by group; use data.pairing=grouped, or leave it out")
    known = list(dict.fromkeys(question.dimension for question in questions.questions))
    for name, share in sampling.items():
        if name not in known:
            raise UserError(
                f"data.question_sampling names {name!r}, and the questions of {questions.name} are on "
                f"{', '.join(known)}"
            )
        if not 0 < share <= 1:
            raise UserError(
                f"data.question_sampling.{name} is {share:g}; it is the share of the groups that are asked, above 0 "
                f"and at most 1. To leave the labels out, use data.dimension_map={{{name}: null}}"
            )


def labelled_dimensions(mixture: Mixture) -> set[str]:
    """The model's dimensions that the data speak to."""
    mapped = (mixture.dimension_map.get(name, name) for index in mixture.indices for name in index.dimensions)
    return {name for name in mapped if name is not None}


def _refuse_unasked(mixture: Mixture, questions: QuestionSet, name: str) -> None:
    known = list(dict.fromkeys(question.dimension for question in questions.questions))
    for dimension in sorted(labelled_dimensions(mixture)):
        if dimension not in known:
            raise UserError(
                f"{name} has labels on {dimension!r}, and no question of {questions.name} is on it (they are on "
                f"{', '.join(known)}): nothing could learn from them. Add a question to the set, map it with "
                f"data.dimension_map={{{dimension}: {known[0]}}}, or leave its labels out with "
                f"data.dimension_map={{{dimension}: null}}"
            )


def _refuse_outside(unfit: Unfit, asked: list[Question], dimension: str, name: str) -> None:
    values = [float(o.value) for question in asked for o in question.options if o.value != NOT_APPLICABLE]
    if unfit.count and (unfit.low < min(values) or unfit.high > max(values)):
        raise UserError(
            f"{name} has answers from {unfit.low:g} to {unfit.high:g} on {dimension!r} that are no option of "
            f"{_described(asked)}: they are on another scale. Use a question set whose options have these values "
            f"(model.questions=FILE), or leave the labels out with data.dimension_map={{{dimension}: null}}"
        )


def _told(unfit: Unfit, asked: list[Question], dimension: str, name: str) -> list[str]:
    told = []
    if unfit.count:
        examples = ", ".join(f"{value:g}" for value in unfit.examples) + (", …" if unfit.count > 3 else "")
        told.append(
            f"{name} has {unfit.count} answers on {dimension!r} ({examples}) that are "
            f"no option of {_described(asked)}; they rate the images and choose no option"
        )
    if unfit.not_applicable:
        told.append(
            f"{name} has {unfit.not_applicable} answers NA on {dimension!r}, which is no option of "
            f"{_described(asked)}; they count as missing"
        )
    return told


def _described(asked: list[Question]) -> str:
    """Questions with the values of their options."""
    return " or ".join(
        f"question {question.key!r} ({', '.join(_value(o.value) for o in question.options)})" for question in asked
    )


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
