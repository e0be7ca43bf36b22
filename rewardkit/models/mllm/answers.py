"""What an evaluator answers, question by question, as plain values; which answers count, and what scores they make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor

from rewardkit.data.answer_table import QuestionAnswer
from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.option_text import option_named
from rewardkit.data.question_gates import Said, WeightedScore, closed_questions, weighted_score
from rewardkit.data.questions import QuestionSet
from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.models.mllm.heads import by_image
from rewardkit.models.mllm.model import MLLMOutput
from rewardkit.models.mllm.options import OptionColumn, option_probabilities
from rewardkit.models.mllm.rows import QuestionRows


def likeliest_answers(rows: QuestionRows, batch: QuestionBatch, output: MLLMOutput) -> list[QuestionAnswer]:
    """The answers of a batch by the probabilities of their options, gates applied; ``image`` is the batch's place."""
    assert output.option_logits is not None and output.expected_answer is not None
    assert output.not_applicable is not None
    probabilities = option_probabilities(output.option_logits).tolist()
    expected, not_applicable = output.expected_answer.tolist(), output.not_applicable.tolist()
    found = []
    for n, (image, question, columns) in enumerate(_asked(rows, batch)):
        values = [probabilities[n][-1 if column.value is None else c] for c, column in enumerate(columns)]
        best = max(range(len(columns)), key=values.__getitem__)
        found.append(
            QuestionAnswer(
                image=image,
                question=question,
                dimension=rows.questions[question].dimension,
                outcome="answered",
                answer=columns[best].label,
                value=_worth(columns[best]),
                probabilities={column.label: value for column, value in zip(columns, values, strict=True)},
                expected=expected[n],
                not_applicable=not_applicable[n],
            )
        )
    return through_gates(rows.questions, found)


def read_texts(rows: QuestionRows, batch: QuestionBatch, texts: Sequence[str]) -> list[QuestionAnswer]:
    """The answers that texts give, gates applied: each begins with an option, or it answers nothing.

    Args:
        rows: What made the batch.
        batch: Of the questions.
        texts: One for each question of the batch, in its order.
    """
    found = []
    for (image, question, columns), text in zip(_asked(rows, batch), texts, strict=True):
        names = [column.label if rows.style == "published" else column.character for column in columns]
        place = option_named(text, names)
        worth = None if place is None else _worth(columns[place])
        found.append(
            QuestionAnswer(
                image=image,
                question=question,
                dimension=rows.questions[question].dimension,
                outcome="unparsed" if place is None else "answered",
                answer=None if place is None else columns[place].label,
                value=worth,
                probabilities=None,
                expected=None if worth is None or worth == NOT_APPLICABLE else float(worth),
                not_applicable=None,
                text=text,
            )
        )
    return through_gates(rows.questions, found)


def through_gates(questions: QuestionSet, answers: Sequence[QuestionAnswer]) -> list[QuestionAnswer]:
    """The answers with ``counts`` false behind closed gates; answers of one image stand together."""
    if not any(question.needs for question in questions.questions):
        return list(answers)
    found: list[QuestionAnswer] = []
    for _, group in groupby(answers, key=lambda answer: answer.image):
        mine = list(group)
        closed = closed_questions(questions, {answer.question: answer.value for answer in mine})
        found += [replace(answer, counts=answer.question not in closed) for answer in mine]
    return found


def scores_of(answers: Sequence[QuestionAnswer], values: Tensor, images: int, dimensions: Sequence[str]) -> Tensor:
    """The mean over each dimension's questions of those that count.

    Args:
        answers: A of them.
        values: ``[A]`` what each question scores; NaN where it says nothing.
        images: N; ``image`` of the answers is below it.
        dimensions: D names.

    Returns:
        ``[N, D]``, NaN where nothing counts.
    """
    use = torch.tensor([a.counts for a in answers], dtype=torch.bool, device=values.device) & ~values.isnan()
    image = torch.tensor([a.image for a in answers], device=values.device)
    dimension = torch.tensor([dimensions.index(a.dimension) for a in answers], device=values.device)
    matrix, some = by_image(values[use], image[use], dimension[use], images, len(dimensions))
    return torch.where(some, matrix, torch.nan)


def weighted_scores(questions: QuestionSet, answers: Sequence[QuestionAnswer]) -> dict[int, WeightedScore]:
    """Image to its score by a set that has weights, from the options that were chosen, as published."""
    found = {}
    for image, group in groupby(answers, key=lambda answer: answer.image):
        mine = list(group)
        closed = {answer.question for answer in mine if not answer.counts}
        found[image] = weighted_score(questions, {a.question: a.value for a in mine}, closed=closed)
    return found


def _asked(rows: QuestionRows, batch: QuestionBatch) -> Iterator[tuple[int, str, tuple[OptionColumn, ...]]]:
    """Image, key and options of each question of a batch."""
    for image, place in zip(batch.asked_image.tolist(), batch.asked_question.tolist(), strict=True):
        key = rows.questions.questions[place].key
        yield image, key, rows.columns[key]


def _worth(column: OptionColumn) -> Said:
    return NOT_APPLICABLE if column.value is None else column.value
