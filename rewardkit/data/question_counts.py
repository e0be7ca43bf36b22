"""What the index says of questions: how many of a step's are answered, and whether the answers fit the options.

The rule is that of ``question_labels.py``: an answer counts for each question on its dimension that has its value among
the options.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.mixture import Mixture
from rewardkit.data.questions import Question, QuestionSet
from rewardkit.errors import UserError

CHUNK = 65_536
"""Groups whose answers are looked at at a time, where all are."""


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
            for place, candidate, column, value in self.answers(positions[chosen]):
                there = np.ones(len(place), bool) if asked is None else asked[chosen][place, column]
                for dimension, values in zip(self._columns, self._values, strict=True):
                    fits = there & (column == dimension) & (option_places(value, values) >= 0)
                    total[dimension] += len(np.unique(place[fits] * 2**16 + candidate[fits]))
        return total

    def answers(
        self, positions: NDArray[np.integer]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
        """The answers of some groups on the model's dimensions, source after source.

        Yields:
            Of each answer: the group's place in ``positions``, the candidate, the model's dimension, the value (NaN is
            N/A).
        """
        for number, index in enumerate(self.mixture.indices):
            places, rows = self.mixture.rows_of(positions, number)
            starts = self._starts[number]
            counts = starts[rows + 1] - starts[rows]
            # The places of all their answers, range after range.
            each = np.repeat(starts[rows] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(
                counts.sum()
            )
            column = self.mixture.columns(number)[index.each_answer_dimension[each]]
            kept = column >= 0
            yield (
                np.repeat(places, counts)[kept],
                index.each_answer_candidate[each][kept].astype(np.int64),
                column[kept],
                index.each_answer_value[each][kept],
            )


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
