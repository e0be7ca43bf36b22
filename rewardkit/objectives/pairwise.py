"""From what each comparison costs to a loss: the one reduction that all pairwise terms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from rewardkit.data.batch import Batch, Denominators
from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.bradley_terry import BradleyTerry
from rewardkit.objectives.compared import Counts, PairwiseRule, compare, is_decided
from rewardkit.objectives.loss import Loss, dimension_factors, divided, loss_of, sums_by_dimension

Reduction = Literal["mean", "sum", "mean_per_group"]


class ComparisonReduction(nn.Module):
    """Sums over comparisons, for each dimension of the model.

    A dimension's term is, with the comparisons' weights w,

    - ``sum``: ``sum(w * loss)``, as HPS v2 does for the pairs of one GPU (its learning rate is tied to their number);
    - ``mean``: the same divided by the sum of the weights of the whole optimiser step, so accumulation, ranks and
      micro-batches change nothing. For B equal weights it is ``sum / B``: the published learning rate of HPS v2 with
      ``sum`` over B pairs goes with B times its gradient;
    - ``mean_per_group``: the weighted mean within each group, then over the groups that have a comparison on the
      dimension. With ``data.pairing=pairs`` a drawn comparison stands alone and this equals ``mean``.

    Where a rule counts decided comparisons only, the others have weight 0 here and in the denominators.

    The total is the weighted sum of the dimensions' terms; ``mean`` and ``mean_per_group`` divide it by the sum of the
    dimensions' factors. A dimension without a label in the step adds 0 and leaves the others as they are.

    Args:
        dimensions: The model's dimensions, in the order of its scores.
        reduction: See above.
        factors: Factor for each dimension; None or empty: 1 for all, else 0 for those that are not named.

    Raises:
        UserError: An unknown reduction, or a factor of a dimension that the model lacks.
    """

    def __init__(
        self, dimensions: Sequence[str], *, reduction: Reduction = "mean", factors: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            near = get_close_matches(reduction, get_args(Reduction), n=1, cutoff=0)[0]
            known = ", ".join(get_args(Reduction))
            raise UserError(f"there is no reduction {reduction!r}; did you mean {near!r}? ({known})")
        self.dimensions = tuple(dimensions)
        self.reduction: Reduction = reduction
        self.factors = dimension_factors(dimensions, factors)

    def forward(self, losses: Tensor, labels: Batch, denominators: Denominators, counts: Counts) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            losses: ``[P]``, of each comparison.
            labels: Their first, dimension, target, weight, and the candidates' group.
            denominators: Of the whole optimiser step.
            counts: Which comparisons count.

        Returns:
            The total, and each dimension's term by name (before its factor).
        """
        weight = labels.weight.to(losses.dtype)  # [P]
        if counts == "decided":
            weight = weight * is_decided(labels.target)
            # Not a product with 0: what an undecided comparison says has no meaning, so it must not reach the sum.
            losses = torch.where(weight > 0, losses, torch.zeros_like(losses))
        if self.reduction == "mean_per_group":
            weight = weight / self._weight_of_cell(weight, labels)
        terms = sums_by_dimension(weight * losses, labels.dimension, len(self.dimensions))  # [D]
        if self.reduction == "sum":
            return loss_of(terms, self.dimensions, self.factors, average=False)
        if self.reduction == "mean_per_group":
            number = denominators.groups if counts == "all" else denominators.decided_groups
        else:
            number = denominators.comparisons if counts == "all" else denominators.decided
        return loss_of(divided(terms, number), self.dimensions, self.factors)

    def _weight_of_cell(self, weight: Tensor, labels: Batch) -> Tensor:
        """For each comparison, the sum of weights of its group's comparisons on its dimension: ``[P]``."""
        dimensions = len(self.dimensions)
        cell = labels.group[labels.first] * dimensions + labels.dimension  # [P]
        cells = int(labels.tokens.shape[0]) * dimensions
        weights = weight.new_zeros(cells).index_add(0, cell, weight)
        return torch.where(weights > 0, weights, torch.ones_like(weights))[cell]


class PairwiseObjective(nn.Module):
    """A rule over the comparisons of a batch, reduced by ``ComparisonReduction``.

    Args:
        dimensions: The model's dimensions, in the order of its scores.
        rule: What a comparison costs. Default: Bradley-Terry with soft labels, as HPS v2.
        reduction: ``mean``, ``sum`` or ``mean_per_group``.
        factors: Factor for each dimension; None or empty: 1 for all, else 0 for those that are not named.

    Raises:
        UserError: An unknown reduction, or a factor of a dimension that the model lacks.
    """

    def __init__(
        self,
        dimensions: Sequence[str],
        rule: PairwiseRule | None = None,
        *,
        reduction: Reduction = "mean",
        factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.reduce = ComparisonReduction(dimensions, reduction=reduction, factors=factors)
        self.rule: PairwiseRule = rule if rule is not None else BradleyTerry()

    @property
    def indifferent(self) -> float | None:
        """Mean loss while all scores are equal and labels are hard; None where it depends on the labels."""
        return self.rule.indifferent

    def forward(self, output: RewardOutput, labels: Batch, denominators: Denominators) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            output: Scores float ``[N, D]``, and their ``log_sigma`` where the rule wants it.
            labels: The batch's comparisons: first, second, dimension, target, weight, group; and the ratings.
            denominators: Of the whole optimiser step.

        Returns:
            The total, and each dimension's term by name (before its factor).
        """
        loss: Loss = self.reduce(self.rule(compare(output, labels)), labels, denominators, self.rule.counts)
        return loss
