r"""Answers to questions: the softmax over a question's own options against hard or soft (annotators') answers.

With option logits z of a question, N/A among them, and shares t of the answers::

    cross entropy = -sum_o t_o log softmax(z)_o,    KL = cross entropy - entropy(t)

Both have the same gradient; the KL is 0 where the model says what the annotators said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import (
    Loss,
    dimension_factors,
    divided,
    full_precision,
    loss_of,
    sums_by_dimension,
)

Kind = Literal["cross_entropy", "kl"]


class QuestionDenominators(Protocol):
    """Valid labels of questions in the whole optimiser step.

    Attributes:
        options: Questions that somebody answered, per model dimension, float ``[D]``; N/A is an answer.
        answers: Questions with an answer to write, float ``[]``.
    """

    options: Tensor
    answers: Tensor


def option_loss(logits: Tensor, shares: Tensor, kind: Kind = "cross_entropy", weights: Tensor | None = None) -> Tensor:
    """Cross entropy or KL of the options. See the module's docstring.

    Args:
        logits: ``[A, O + 1]``, -inf where a question has no such column.
        shares: ``[A, O + 1]``, not negative, 0 where there is no such column; a row of zeros costs exactly 0, and
            gives gradients of exactly 0.
        kind: ``cross_entropy`` or ``kl``.
        weights: ``[A, O + 1]``, a factor of each option's share; None: all 1. A question's answers are then learned as
            ``shares * weights``: an option of factor 2 counts as if twice as many had chosen it.

    Returns:
        ``[A]``, not negative; with weights the KL is that of the weighed shares, made to add up to 1, times their sum.
    """
    exists = logits > float("-inf")
    log_p = logits.log_softmax(dim=-1)
    weighed = shares if weights is None else shares * weights
    loss = -(weighed * torch.where(exists, log_p, torch.zeros_like(log_p))).sum(dim=-1)
    if kind == "kl":
        loss = loss + torch.xlogy(weighed, weighed).sum(dim=-1)
        if weights is not None:
            told = weighed.sum(dim=-1)
            loss = loss - torch.xlogy(told, told)
    return loss


class OptionObjective(nn.Module):
    """``option_loss``, averaged over the questions of the optimiser step that somebody answered, for each dimension.

    The total is the weighted sum over dimensions, divided by the sum of the factors.

    Args:
        dimensions: The model's dimensions.
        kind: ``cross_entropy`` or ``kl``.
        factors: Factor for each dimension; None or empty: 1 for all, else 0 for those that are not named.
        class_weights: Factor of each option of each question of the set, ``[Q, O + 1]``, N/A last; it multiplies the
            shares of the answers, so that their mean over the training answers has to be 1 for the loss to keep its
            size. None: all 1.

    Raises:
        UserError: An unknown kind, or a factor of a dimension that the model lacks.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        dimensions: Sequence[str],
        kind: Kind = "cross_entropy",
        *,
        factors: Mapping[str, float] | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise UserError(f"options are learned by {' or '.join(get_args(Kind))}, not {kind!r}")
        self.dimensions = tuple(dimensions)
        self.kind: Kind = kind
        self.factors = dimension_factors(dimensions, factors)
        # Follows from the training data, so no checkpoint holds it.
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, output: RewardOutput, labels: Any, denominators: QuestionDenominators) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            output: Option logits ``[A, O + 1]``.
            labels: A batch with ``questions`` (``rewardkit.models.mllm.batch.QuestionBatch``): ``option_target`` and
                ``asked_dimension``.
            denominators: ``options`` of the whole optimiser step.

        Returns:
            The total, and each dimension's term by name (before its factor).
        """
        assert output.option_logits is not None, "the model answers no questions"
        logits = full_precision(output.option_logits)
        shares = labels.questions.option_target.to(logits.dtype)
        _check_columns(logits, shares)
        told = shares.sum(dim=-1, keepdim=True)
        shares = shares / torch.where(told > 0, told, torch.ones_like(told))
        losses = option_loss(logits, shares, self.kind, self._weights(labels.questions, shares))
        terms = sums_by_dimension(losses, labels.questions.asked_dimension, len(self.dimensions))
        return loss_of(divided(terms, denominators.options), self.dimensions, self.factors)

    def _weights(self, questions: Any, shares: Tensor) -> Tensor | None:
        """Each row's factors in the columns of the batch, whose longest question may be shorter than the set's."""
        if self.class_weights is None:
            return None
        weights = self.class_weights[questions.asked_question].to(shares)
        options = shares.shape[-1] - 1
        return torch.cat([weights[:, :options], weights[:, -1:]], dim=-1)


def _check_columns(logits: Tensor, shares: Tensor) -> None:
    """An answer in a column that the question does not have would cost nothing, silently."""
    assert not bool(((shares > 0) & (logits == float("-inf"))).any()), "an answer that is no option of its question"
