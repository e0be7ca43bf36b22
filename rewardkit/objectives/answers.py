"""The written answer: cross entropy of the tokens that an evaluator writes, and of no token of what it was asked."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import Loss, full_precision
from rewardkit.objectives.options import QuestionDenominators


def answer_losses(logits: Tensor, tokens: Tensor, row: Tensor, rows: int) -> Tensor:
    """The mean cross entropy of each row's answer, so that a long rationale counts no more than one character.

    Args:
        logits: ``[T, V]``, what predicts each token.
        tokens: int64 ``[T]``.
        row: int64 ``[T]``, the row that a token belongs to.
        rows: R.

    Returns:
        ``[R]``, 0 for rows without a token.
    """
    losses = F.cross_entropy(logits, tokens, reduction="none")
    sums = losses.new_zeros(rows).index_add(0, row, losses)
    count = losses.new_zeros(rows).index_add(0, row, torch.ones_like(losses))
    return sums / count.clamp(min=1)


class AnswerObjective(nn.Module):
    """``answer_losses``, averaged over the rows of the optimiser step that have an answer to learn."""

    def forward(self, output: RewardOutput, labels: Any, denominators: QuestionDenominators) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            output: Answer logits ``[T, V]``.
            labels: A batch with ``questions`` (``rewardkit.models.mllm.batch.QuestionBatch``).
            denominators: ``answers`` of the whole optimiser step.

        Returns:
            The total; no parts.
        """
        assert output.answer_logits is not None, "the model writes no answers"
        questions = labels.questions
        learned = questions.answer_label
        logits = full_precision(output.answer_logits)[learned]
        losses = answer_losses(
            logits, questions.answer_token[learned], questions.answer_row[learned], len(questions.row_asked)
        )
        count = denominators.answers.to(losses)
        # Without any token the sum still hangs on the model, so that every rank has the same gradients to share.
        return Loss(total=(losses.sum() + 0 * logits.sum()) / torch.where(count > 0, count, torch.ones_like(count)))
