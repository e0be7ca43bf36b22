"""An evaluator's answers to one question beside people's, in arrays: what every measure of an evaluator reads.

Columns of a question are the options that apply, in its order, and N/A last (as in a batch's ``answer_target``). What
could not be read is no answer, and above all no 0: such a row is in no measure but the rate of unparsed ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.questions import Question
from rewardkit.errors import DataError

Outcome = Literal["answered", "unparsed", "missing", "masked"]

ANSWERED, UNPARSED, MISSING, MASKED = 0, 1, 2, 3
"""Codes of outcomes. Missing: an image that could not be asked about. Masked: a question that another one has to open
(``data/question_gates.py``), which the evaluator answered no."""

_CODES: dict[Outcome, int] = {"answered": ANSWERED, "unparsed": UNPARSED, "missing": MISSING, "masked": MASKED}
_DIGITS = 9
"""People's means are rounded to so many digits: 10/3 and 20/6 are equal."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What an evaluator and people said to a question about one candidate.

    Attributes:
        source: Data set of the candidate's group.
        key: The group's key in it.
        candidate: Its place in the group.
        people: Every person's answer: an option's value, or ``NA``; a mean that is no option's value counts for the
            measures of numbers alone. Empty where nobody said anything.
        outcome: ``answered``; with any other the three below are None.
        label: Column that it chose; None with probabilities: the most probable one.
        probabilities: ``[L + 1]`` over the columns, adding up to 1; None where there are none.
        expected: The score; None: the expected value of the options that apply, or the chosen option's value.
    """

    source: str
    key: str
    candidate: int
    people: Sequence[float | Literal["NA"]]
    outcome: Outcome = "answered"
    label: int | None = None
    probabilities: Sequence[float] | None = None
    expected: float | None = None


@dataclass(frozen=True)
class QuestionAnswers:
    """All answers to one question. A rows, L options that apply.

    Attributes:
        question: Its key.
        values: ``[L]``, what each option is worth.
        has_na: Whether N/A is one of the answers.
        group: ``[A]``, the name of the row's group: source and key, as measurements name groups.
        candidate: ``[A]``, place in the group.
        people: ``[A, L + 1]`` shares of people's answers; NaN where one of them is no option, or there is none.
        people_value: ``[A]`` mean of people's numbers; NaN where nobody gave one.
        raters: ``[A]`` number of people who answered.
        outcome: ``[A]`` codes.
        chosen: ``[A, L + 1]`` what the evaluator chose, equally probable columns sharing it; NaN without an answer.
        probabilities: ``[A, L + 1]``; NaN where there are none.
        expected: ``[A]`` scores; NaN where there is none.
    """

    question: str
    values: NDArray[np.float64]
    has_na: bool
    group: NDArray[np.object_]
    candidate: NDArray[np.int64]
    people: NDArray[np.float64]
    people_value: NDArray[np.float64]
    raters: NDArray[np.int64]
    outcome: NDArray[np.int8]
    chosen: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    expected: NDArray[np.float64]

    @property
    def columns(self) -> int:
        """Number of answers that can be given."""
        return len(self.values) + self.has_na

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """``[A]``, whether the evaluator gave an answer."""
        return np.asarray(self.outcome == ANSWERED)

    @cached_property
    def majority(self) -> NDArray[np.int64]:
        """``[A]``, the column that most people chose; -1 where two are chosen equally often, or nothing is known."""
        return majority_of(self.people)

    @cached_property
    def undecided(self) -> NDArray[np.bool_]:
        """``[A]``, whether people chose two options equally often."""
        return np.asarray((self.majority < 0) & ~np.isnan(self.people).any(axis=1))

    def take(self, rows: NDArray[np.int64]) -> QuestionAnswers:
        """Some of the rows, by their places."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _OF_ROWS})


_OF_ROWS = (
    "group",
    "candidate",
    "people",
    "people_value",
    "raters",
    "outcome",
    "chosen",
    "probabilities",
    "expected",
)


def majority_of(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """The one largest column of each row of ``[A, C]``; -1 where two are largest, or the row is NaN or 0."""
    known = np.nan_to_num(shares, nan=-1.0)
    most = known.max(axis=1, keepdims=True)
    alone = (np.isclose(known, most, rtol=0, atol=1e-9).sum(axis=1) == 1) & (most[:, 0] > 1e-9)
    return np.where(alone, known.argmax(axis=1), -1)


def question_answers(question: Question, rows: Iterable[Answered]) -> QuestionAnswers:
    """Puts the answers to a question into arrays.

    Args:
        question: The question.
        rows: One for each candidate that it was asked of.

    Raises:
        DataError: A row that contradicts itself or the question, or a candidate with two rows.
    """
    values = np.array([float(option.value) for option in question.options if option.value != NOT_APPLICABLE])
    table = list(rows)
    seen: set[tuple[str, str, int]] = set()
    for row in table:
        _check(row, question, len(values))
        place = (row.source, row.key, row.candidate)
        if place in seen:
            raise DataError(f"{_where(row, question)} has two answers of the evaluator; give one")
        seen.add(place)
    width = len(values) + 1
    probabilities = np.full((len(table), width), np.nan)
    for n, row in enumerate(table):
        if row.probabilities is not None:
            probabilities[n] = row.probabilities
    chosen = _stack([_chosen(row, width) for row in table], width)
    return QuestionAnswers(
        question=question.key,
        values=values,
        has_na=question.has_na,
        group=np.array([f"{row.source}\n{row.key}" for row in table], dtype=object),
        candidate=np.array([row.candidate for row in table], dtype=np.int64),
        people=_stack([_shares(row, values, question.has_na) for row in table], width),
        people_value=np.array([_people_value(row) for row in table], dtype=float),
        raters=np.array([len(row.people) for row in table], dtype=np.int64),
        outcome=np.array([_CODES[row.outcome] for row in table], dtype=np.int8),
        chosen=chosen,
        probabilities=probabilities,
        expected=np.array(
            [_expected(row, of_row, values) for row, of_row in zip(table, chosen, strict=True)], dtype=float
        ),
    )


def aligned_answers(ours: QuestionAnswers, theirs: QuestionAnswers) -> tuple[QuestionAnswers, QuestionAnswers]:
    """The rows of two evaluators that are of the same candidates, in the same order.

    Raises:
        DataError: They have none in common, or people said something else of one.
    """
    mine, other = (pd.MultiIndex.from_arrays([answers.group, answers.candidate]) for answers in (ours, theirs))
    place = other.get_indexer(mine)
    if not (place >= 0).any():
        raise DataError(f"question {ours.question!r}: the two evaluators have no candidate in common")
    first, second = ours.take(np.flatnonzero(place >= 0)), theirs.take(place[place >= 0])
    for name in ("people", "people_value"):
        if not np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True):
            raise DataError(
                f"question {ours.question!r}: people's answers on the same candidates differ; validate both evaluators "
                "on the same data"
            )
    return first, second


def _check(row: Answered, question: Question, options: int) -> None:
    columns = options + question.has_na
    if row.outcome not in _CODES:
        raise DataError(f"{_where(row, question)}: there is no outcome {row.outcome!r}; {', '.join(_CODES)} are")
    given = [name for name in ("label", "probabilities", "expected") if getattr(row, name) is not None]
    if row.outcome != "answered" and given:
        raise DataError(f"{_where(row, question)} is {row.outcome}, and yet has {given[0]}")
    if row.outcome == "answered" and not given:
        raise DataError(f"{_where(row, question)} is answered, but has neither label, probabilities nor a score")
    if row.label is not None and not 0 <= row.label < columns:
        raise DataError(f"{_where(row, question)}: column {row.label} is none of its {columns} answers")
    if row.expected is not None and not np.isfinite(row.expected):
        raise DataError(f"{_where(row, question)}: the score {row.expected} is not finite; look at the weights")
    if row.probabilities is not None:
        p = np.asarray(row.probabilities, dtype=float)
        if p.shape != (options + 1,) or not np.all(p >= 0) or abs(p.sum() - 1.0) > 1e-3:
            raise DataError(
                f"{_where(row, question)}: its probabilities are {p.tolist()}; {options + 1} numbers of at least 0 "
                "that add up to 1 are needed, N/A last"
            )
        if not question.has_na and p[-1] > 0:
            raise DataError(f"{_where(row, question)}: N/A has a probability, and is no answer to it")


def _where(row: Answered, question: Question) -> str:
    return f"question {question.key!r} of candidate {row.candidate} of {row.key} in {row.source}"


def _stack(rows: Sequence[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    return np.stack(rows) if rows else np.zeros((0, width))


def _shares(row: Answered, values: NDArray[np.float64], has_na: bool) -> NDArray[np.float64]:
    """``[L + 1]`` shares of what people said. Options worth the same share what was said."""
    shares = np.zeros(len(values) + 1)
    for said in row.people:
        if said == NOT_APPLICABLE:
            if not has_na:
                return np.full(len(shares), np.nan)
            shares[-1] += 1
        else:
            at = np.isclose(values, float(said), rtol=0, atol=1e-9)
            if not at.any():
                return np.full(len(shares), np.nan)
            shares[:-1] += at / at.sum()
    return shares / len(row.people) if row.people else np.full(len(shares), np.nan)


def _people_value(row: Answered) -> float:
    numbers = [float(said) for said in row.people if said != NOT_APPLICABLE]
    return round(sum(numbers) / len(numbers), _DIGITS) if numbers else np.nan


def _chosen(row: Answered, width: int) -> NDArray[np.float64]:
    """``[L + 1]``: the label, or the most probable columns; NaN where there is neither."""
    if row.label is not None:
        return np.eye(width)[row.label]
    if row.probabilities is None:
        return np.full(width, np.nan)
    p = np.asarray(row.probabilities, dtype=float)
    most = p == p.max()
    return most / most.sum()


def _expected(row: Answered, chosen: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The score given, else the expected value of the options that apply, else the chosen option's."""
    if row.expected is not None:
        return row.expected
    weights = chosen if row.probabilities is None else np.asarray(row.probabilities, dtype=float)
    applying = weights[:-1].sum()
    return float(weights[:-1] @ values / applying) if applying > 0 else np.nan
