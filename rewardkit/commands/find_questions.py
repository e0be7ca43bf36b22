"""Which questions an evaluator is asked: what ``model.questions`` and ``model.mllm.ask`` name. No torch is imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rewardkit.config.compose import COMMAND_LINE, DEFAULT, Composed
from rewardkit.config.messages import did_you_mean
from rewardkit.config.recipes import beside_recipe
from rewardkit.config.schema import FitOptions
from rewardkit.data.questions import QuestionSet, read_questions, shipped_question_sets
from rewardkit.errors import UserError


def find_questions(options: FitOptions) -> QuestionSet:
    """The set that ``model.questions`` names: one that ships, or a file here or beside the recipe.

    Raises:
        UserError: There is none, the file is not one, or ``model.mllm.ask`` names what it does not have.
    """
    name = str(options.model.questions)
    shipped = name in shipped_question_sets()
    whole = read_questions(name if shipped else beside_recipe(name, options.recipe) or Path(name))
    return only(whole, options.model.mllm.ask)


def only(questions: QuestionSet, keys: list[str]) -> QuestionSet:
    """The set with some of its questions; with all where none is named.

    Raises:
        UserError: A key that it does not have, or a question that another one needs is left out.
    """
    known = [question.key for question in questions.questions]
    for key in keys:
        if key not in known:
            raise UserError(f"model.mllm.ask: {questions.name} has no question {key!r}.{did_you_mean(key, known)}")
    kept = tuple(question for question in questions.questions if not keys or question.key in keys)
    for question in kept:
        for need in question.needs:
            if keys and need not in keys:
                raise UserError(f"model.mllm.ask: {question.key!r} counts only where {need!r} is yes; name both")
    return replace(questions, questions=kept)


def take_dimensions_of_questions(composed: Composed[FitOptions]) -> None:
    """Fills in ``model.dimensions`` of an evaluator where nobody has set it: the dimensions of its questions."""
    model = composed.options.model
    if model.kind == "mllm" and model.questions and composed.origins["model.dimensions"] == DEFAULT:
        questions = find_questions(composed.options)
        model.dimensions = list(dict.fromkeys(question.dimension for question in questions.questions))
        composed.origins["model.dimensions"] = f"questions {questions.name}"


def keep_factors_of_questions(composed: Composed[FitOptions]) -> None:
    """Fits a recipe's factors of dimensions to the questions that the command line asks in place of the recipe's.

    Where only some of the recipe's dimensions are asked, their factors stay; where none is, no factor does. Anything
    between, and what the command line says itself, is left to the check.
    """
    options, origins = composed.options, composed.origins
    if options.model.kind != "mllm" or COMMAND_LINE not in (origins["model.questions"], origins["model.mllm.ask"]):
        return
    asked = set(options.model.dimensions)
    for term in options.objective.name:
        key, of_term = f"objective.{term}.dimensions", getattr(options.objective, term)
        factors = getattr(of_term, "dimensions", {})
        if factors and origins[key] != COMMAND_LINE and (asked < set(factors) or not asked & set(factors)):
            of_term.dimensions = {name: factor for name, factor in factors.items() if name in asked}
            origins[key] = f"{origins[key]}, of the questions asked"
