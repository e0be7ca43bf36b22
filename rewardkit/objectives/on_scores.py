"""An objective on another matrix of an evaluator's scores than the one that it is scored by.

So comparisons and ratings train together: pairs on the expected score of the options, cumulative logits on the ordinal
head, a line on the regression head, each an objective that also trains a CLIP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from torch import nn

from rewardkit.data.batch import Batch, Denominators
from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import Loss

Scores = Literal["ordinal", "regression", "expected"]


class OnScores(nn.Module):
    """Gives an objective one of the matrices ``[N, D]`` of an ``MLLMOutput`` as scores.

    Args:
        objective: Of scores.
        scores: ``ordinal`` or ``regression``, of the heads at the score token, or ``expected``, of the options.

    Raises:
        UserError: There is no such matrix.
    """

    def __init__(self, objective: nn.Module, scores: Scores) -> None:
        super().__init__()
        known: Sequence[str] = get_args(Scores)
        if scores not in known:
            raise UserError(f"an evaluator's scores are {', '.join(known)}, not {scores!r}")
        self.objective = objective
        self.scores: Scores = scores

    def forward(self, output: RewardOutput, labels: Batch, denominators: Denominators) -> Loss:
        """The objective's share of the step's loss."""
        scores = getattr(output, self.scores, None)
        assert scores is not None, f"the model gives no {self.scores} scores"
        loss: Loss = self.objective(replace(output, scores=scores), labels, denominators)
        return loss
