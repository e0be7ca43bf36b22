"""The options of a question as a model answers them: one character each, in columns, with what each is worth.

Columns are those of ``Batch.answer_target``: the options that apply in the question's order, and N/A last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewardkit.data.group import NOT_APPLICABLE
from rewardkit.data.questions import SLOT, Question
from rewardkit.errors import UserError
from rewardkit.models.mllm.batch import QuestionBatch

NA_CHARACTER = "N"
CHARACTERS = "0123456789ABCDEFGHIJKLMOPQRSTUVWXYZ"
"""Characters of options by their place; no N, which is N/A. A published label such as "-1" or "10" is several tokens in
the vocabularies of Qwen and Llama, one of these is one."""


@dataclass(frozen=True, slots=True)
class OptionColumn:
    """One option.

    Attributes:
        place: Its place in ``question.options``.
        character: What the model answers.
        label: What it answers in the published form.
        value: What it is worth; None for N/A.
    """

    place: int
    character: str
    label: str
    value: float | None


def option_columns(question: Question) -> tuple[OptionColumn, ...]:
    """The options of a question: those that apply in their order, then N/A where the question has it.

    A label that is one digit or letter stays what it is, if all are; else options are numbered by their place.

    Raises:
        UserError: More options than characters, or two that say N/A.
    """
    applying = [(n, option) for n, option in enumerate(question.options) if option.value != NOT_APPLICABLE]
    not_applying = [(n, option) for n, option in enumerate(question.options) if option.value == NOT_APPLICABLE]
    if len(applying) > len(CHARACTERS) or not applying:
        raise UserError(f"question {question.key!r} has {len(applying)} options; 1 to {len(CHARACTERS)} can be asked")
    if len(not_applying) > 1:
        raise UserError(f"question {question.key!r} has {len(not_applying)} options of value NA; one can be asked")
    keep = all(option.label in CHARACTERS and len(option.label) == 1 for _, option in applying)
    columns = [
        OptionColumn(n, option.label if keep else CHARACTERS[place], option.label, float(option.value))
        for place, (n, option) in enumerate(applying)
    ]
    return (*columns, *(OptionColumn(n, NA_CHARACTER, option.label, None) for n, option in not_applying))


def question_text(question: Question, columns: tuple[OptionColumn, ...], phrase: str | None) -> str:
    """The question with its options by character, as the model is asked.

    Args:
        question: The question.
        columns: Its options.
        phrase: What stands for ``{slot}``; None for a question without a slot.
    """
    stem = question.text if phrase is None else question.text.replace(SLOT, phrase)
    lines = [f"{column.character}. {question.options[column.place].text}" for column in columns]
    return "\n".join([stem, "Options:", *lines, "Answer with the character of one option."])


def in_columns(values: Mapping[str, Sequence[float]], questions: Sequence[Question], *, fill: float) -> Tensor:
    """One number for each option of each question, in the columns of a model's answers.

    Args:
        values: Question to one number for each of its options, in their order.
        questions: Q of them, whose longest has O options that apply.
        fill: Where a question has no such column.

    Returns:
        float32 ``[Q, O + 1]``, N/A last.
    """
    columns = [option_columns(question) for question in questions]
    widest = max(sum(column.value is not None for column in of) for of in columns)
    found = torch.full((len(questions), widest + 1), fill)
    for q, (question, of) in enumerate(zip(questions, columns, strict=True)):
        for n, column in enumerate(of):
            found[q, -1 if column.value is None else n] = values[question.key][column.place]
    return found


def option_probabilities(option_logits: Tensor) -> Tensor:
    """Softmax over a question's own options: ``[A, O + 1]`` of ``[A, O + 1]``, 0 where a column does not exist."""
    return option_logits.float().softmax(dim=-1)


def expected_scores(option_logits: Tensor, option_value: Tensor) -> Tensor:
    """The expected worth of the answers that apply, ``E[value | not N/A]``.

    Args:
        option_logits: ``[A, O + 1]``, -inf where a column does not exist, N/A last.
        option_value: ``[A, O]``, NaN where a column does not exist.

    Returns:
        float32 ``[A]``, between the least and the greatest value of the question.
    """
    given = option_logits[:, :-1].float().softmax(dim=-1)
    return (given * torch.nan_to_num(option_value.float())).sum(dim=-1)


def not_applicable(option_logits: Tensor) -> Tensor:
    """The probability that the question does not apply, float32 ``[A]``; 0 for a question without N/A."""
    return option_probabilities(option_logits)[:, -1]


def character_logits(logits: Tensor, tokens: Tensor) -> Tensor:
    """Logits ``[A, V]`` of the options' tokens ``[A, O + 1]``: -inf where a question has no such column."""
    return logits.gather(-1, tokens.clamp(min=0)).masked_fill(tokens < 0, float("-inf"))


def spelled_logits(answer_logits: Tensor, rows: QuestionBatch) -> Tensor:
    """The published form: log probability of each option's whole label, ``[A, O + 1]``."""
    log_p = answer_logits.log_softmax(dim=-1).gather(-1, rows.answer_token.unsqueeze(-1)).squeeze(-1)  # [T]
    of_row = log_p.new_zeros(len(rows.row_asked)).index_add(0, rows.answer_row, log_p)  # [R]
    found = of_row.new_full((len(rows.asked_image), rows.option_value.shape[-1] + 1), float("-inf"))
    spelled = rows.row_column >= 0
    return found.index_put((rows.row_asked[spelled], rows.row_column[spelled]), of_row[spelled])
