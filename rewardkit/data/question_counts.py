"""What the index says of questions: how many of a step's are answered, how often each option, what fits no option.

The rule is that of ``question_labels.py``: an answer counts for each question on its dimension that has its value among
the options.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.mixture import Mixture
from rewardkit.data.questions import Question, QuestionSet
from rewardkit.errors import UserError

CHUNK = 65_536
"""Groups whose answers are looked at at a time, where all are."""

MOST_WEIGHT = 10.0
"""The largest of ``class_weights``, before they are brought to a mean of 1: a few odd answers must not rule a step."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of some groups, each ``[A]``.

    Attributes:
        place: The group's place among those groups.
        candidate: In its group.
        dimension: The model's.
        value: NaN is N/A.
    """

    place: NDArray[np.int64]
    candidate: NDArray[np.int64]
    dimension: NDArray[np.int64]
    value: NDArray[np.float64]

    @property
    def of_candidate(self) -> NDArray[np.int64]:
        """A number for each group and candidate; a group has fewer than 2 ** 15 candidates."""
        return self.place * 2**16 + self.candidate

    def where(self, kept: NDArray[np.bool_]) -> Answers:
        """Some of them."""
        return Answers(self.place[kept], self.candidate[kept], self.dimension[kept], self.value[kept])


@dataclass(slots=True)
class Unfit:
    """Answers on one dimension that are an option of none of its questions.

    Attributes:
        count: Of numbers.
        not_applicable: Of N/A.
        low: The least number.
        high: The greatest.
        examples: Up to three of them.
    """

    count: int = 0
    not_applicable: int = 0
    low: float = math.inf
    high: float = -math.inf
    examples: tuple[float, ...] = ()

    def add(self, values: NDArray[np.float64]) -> None:
        """Adds answers, NaN is N/A."""
        numbers = values[~np.isnan(values)]
        self.not_applicable += len(values) - len(numbers)
        if len(numbers):
            self.count += len(numbers)
            self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))
            self.examples = tuple(sorted({*self.examples, *np.unique(numbers)[:3].tolist()})[:3])


class AnsweredQuestions:
    """Counts the questions of a data set that somebody answered with one of their options.

    Args:
        mixture: The data.
        questions: What is asked; each question's dimension is one of the model's.

    Raises:
        UserError: An index does not list the answers one by one.
    """

    def __init__(self, mixture: Mixture, questions: QuestionSet) -> None:
        for index in mixture.indices:
            if not index.lists_answers:
                raise UserError(
                    f"{index.folder}: the index is of a format that does not list the answers one by one, which "
                    f"questions need; run `rewardkit data index src={index.folder}`"
                )
        self.mixture = mixture
        self.questions = questions
        self._starts = [index.starts(index.answers) for index in mixture.indices]
        self._columns = [mixture.dimensions.index(question.dimension) for question in questions.questions]
        self._values = [option_values(question) for question in questions.questions]

    def count(self, positions: NDArray[np.integer], asked: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Answered questions of the candidates of some groups.

        Args:
            positions: ``[G]``.
            asked: ``[G, D]``, which of the model's dimensions each is asked about; None: all.

        Returns:
            float64 ``[D]``: candidates times questions, on each of the model's dimensions.
        """
        total = np.zeros(len(self.mixture.dimensions))
        for begin in range(0, len(positions), CHUNK):
            chosen = slice(begin, begin + CHUNK)
            for answers in self.answers(positions[chosen]):
                if asked is not None:
                    answers = answers.where(asked[chosen][answers.place, answers.dimension])
                for dimension, values in zip(self._columns, self._values, strict=True):
                    on = answers.where(answers.dimension == dimension)
                    total[dimension] += len(np.unique(on.of_candidate[option_places(on.value, values) >= 0]))
        return total

    @cached_property
    def option_labels(self) -> dict[str, NDArray[np.float64]]:
        """Question to the labels of each option, float64 ``[O]``: each answered candidate is one, shared by options."""
        found = {question.key: np.zeros(len(question.options)) for question in self.questions.questions}
        for answers in self._all_answers():
            for question, dimension, values in zip(self.questions.questions, self._columns, self._values, strict=True):
                on = answers.where(answers.dimension == dimension)
                option = option_places(on.value, values)
                fits = option >= 0
                _, row, said = np.unique(on.of_candidate[fits], return_inverse=True, return_counts=True)
                found[question.key] += np.bincount(option[fits], 1 / said[row], len(values))
        return found

    @cached_property
    def unfit(self) -> dict[str, Unfit]:
        """The model's dimensions with answers that are an option of none of their questions."""
        found: dict[str, Unfit] = {}
        for answers in self._all_answers():
            for place, name in enumerate(self.mixture.dimensions):
                said = answers.value[answers.dimension == place]
                fits = np.zeros(len(said), bool)
                for dimension, values in zip(self._columns, self._values, strict=True):
                    if dimension == place:
                        fits |= option_places(said, values) >= 0
                if not fits.all():
                    found.setdefault(name, Unfit()).add(said[~fits])
        return found

    def _all_answers(self) -> Iterator[Answers]:
        for begin in range(0, len(self.mixture), CHUNK):
            yield from self.answers(np.arange(begin, min(begin + CHUNK, len(self.mixture))))

    def answers(self, positions: NDArray[np.integer]) -> Iterator[Answers]:
        """The answers of some groups on the model's dimensions, source after source."""
        for number, index in enumerate(self.mixture.indices):
            places, rows = self.mixture.rows_of(positions, number)
            starts = self._starts[number]
            counts = starts[rows + 1] - starts[rows]
            # The places of all their answers, range after range.
            each = np.repeat(starts[rows] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(
                counts.sum()
            )
            dimension = self.mixture.columns(number)[index.each_answer_dimension[each]]
            found = Answers(
                np.repeat(places, counts),
                index.each_answer_candidate[each].astype(np.int64),
                dimension,
                index.each_answer_value[each],
            )
            yield found.where(dimension >= 0)


def class_weights(labels: NDArray[np.float64], most: float = MOST_WEIGHT) -> tuple[float, ...]:
    """A weight for each option of a question against class imbalance: the rarer, the heavier.

    With n_o labels of option o, N in all, and K options that have any, ``w_o = min(N / (K n_o), most)``, then all are
    divided by their mean over the labels. So a step's loss keeps its size, and without the limit each option would
    weigh as much as any other. An option without labels has the weight 1.

    Args:
        labels: ``[O]``, not negative (``AnsweredQuestions.option_labels``).
        most: Above 0.
    """
    there = labels > 0
    if not there.any():
        return (1.0,) * len(labels)
    weights = np.minimum(labels.sum() / (there.sum() * labels[there]), most)
    weights /= (weights * labels[there]).sum() / labels.sum()
    found = np.ones(len(labels))
    found[there] = weights
    return tuple(found.tolist())


def option_values(question: Question) -> NDArray[np.float64]:
    """What each option is worth, in the question's order; NaN is N/A: float64 ``[O]``."""
    return np.array([np.nan if o.value == NOT_APPLICABLE else float(o.value) for o in question.options])


def option_places(values: NDArray[np.float64], options: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place of the option that each value names, -1 where it names none.

    Args:
        values: ``[A]``, NaN is N/A.
        options: ``[O]``, likewise.
    """
    same = (values[:, None] == options) | (np.isnan(values)[:, None] & np.isnan(options))
    return np.where(same.any(1), same.argmax(1), -1)
