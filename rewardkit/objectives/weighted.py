"""A sum of named objectives, each with its coefficient."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from rewardkit.data.batch import Batch, Denominators
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import Loss


class WeightedObjective(nn.Module):
    """``total = sum of coefficient * term``.

    Args:
        terms: Name to objective; each gets the same output, labels and denominators.
    """

    def __init__(self, terms: Mapping[str, nn.Module]) -> None:
        super().__init__()
        assert terms, "a weighted objective needs a term"
        self.terms = nn.ModuleDict(terms)

    def forward(
        self,
        output: RewardOutput,
        labels: Batch,
        denominators: Denominators,
        *,
        coefficients: Mapping[str, float] | None = None,
    ) -> Loss:
        """The weighted sum; parts are named ``term`` (before its coefficient) and ``term/part``.

        Args:
            output: What the model said.
            labels: The batch.
            denominators: Of the whole optimiser step.
            coefficients: Name of a term to its factor at this step, 1 where not named.
        """
        factors = coefficients or {}
        assert set(factors) <= set(self.terms), f"coefficients without a term: {set(factors) - set(self.terms)}"
        total = output.scores.new_zeros(())
        parts = {}
        for name, term in self.terms.items():
            loss: Loss = term(output, labels, denominators)
            total = total + factors.get(name, 1.0) * loss.total
            parts[name] = loss.total.detach()
            parts.update({f"{name}/{part}": value for part, value in loss.parts.items()})
        return Loss(total=total, parts=parts)
