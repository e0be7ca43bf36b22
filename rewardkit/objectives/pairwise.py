"""The pairwise Bradley-Terry objective with soft labels: what HPS v2, PickScore and ImageReward minimise.

For a comparison with scores ``s_first``, ``s_second`` (logits: the scale of the logits is in them), ``delta`` their
difference and shares of votes ``(p_first, p_tie, p_second)``::

    y0 = p_first + p_tie / 2,  y1 = p_second + p_tie / 2
    loss = y0 softplus(-delta) + y1 softplus(delta)

With shares (1, 0, 0) this is -log sigmoid(delta); a tie counts half for each side, which is HPS v2's label
(0.5, 0.5); shares of all zeros contribute nothing (repository tgxs002/HPSv2, ``src/open_clip/loss.py``, ``HPSLoss``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardkit.data.batch import Batch, Denominators
from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import Loss

Reduction = Literal["mean", "sum", "mean_per_group"]


def bradley_terry(delta: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the Bradley-Terry law against shares of votes. See the module's docstring.

    Args:
        delta: ``[P]``, score of first minus score of second.
        target: ``[P, 3]``, shares of first, tie and second.

    Returns:
        ``[P]``, not negative; exactly 0 where the shares are all 0.
    """
    first = target[..., 0] + target[..., 1] / 2
    second = target[..., 2] + target[..., 1] / 2
    return first * F.softplus(-delta) + second * F.softplus(delta)


class PairwiseObjective(nn.Module):
    """Bradley-Terry over the comparisons of a batch, for each dimension of the model.

    A dimension's term is, with the comparison's weights w,

    - ``sum``: ``sum(w * loss)``, as HPS v2 does for the pairs of one GPU (its learning rate is tied to their number);
    - ``mean``: the same divided by the sum of the weights of the whole optimiser step, so accumulation, ranks and
      micro-batches change nothing. For B equal weights it is ``sum / B``: the published learning rate of HPS v2 with
      ``sum`` over B pairs goes with B times its gradient;
    - ``mean_per_group``: the weighted mean within each group, then over the groups that have a comparison on the
      dimension. With ``data.pairing=pairs`` a drawn comparison stands alone and this equals ``mean``.

    The total is the weighted sum of the dimensions' terms; ``mean`` and ``mean_per_group`` divide it by the sum of the
    dimensions' coefficients. A dimension without a label in the step adds 0 and leaves the others as they are.

    Args:
        dimensions: The model's dimensions, in the order of its scores.
        reduction: See above.
        coefficients: Factor for each dimension; 1 where not named.

    Raises:
        UserError: An unknown reduction, or a coefficient of a dimension that the model lacks.
    """

    def __init__(
        self,
        dimensions: Sequence[str],
        *,
        reduction: Reduction = "mean",
        coefficients: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            near = get_close_matches(reduction, get_args(Reduction), n=1, cutoff=0)[0]
            known = ", ".join(get_args(Reduction))
            raise UserError(f"there is no reduction {reduction!r}; did you mean {near!r}? ({known})")
        coefficients = dict(coefficients or {})
        unknown = sorted(set(coefficients) - set(dimensions))
        if unknown:
            raise UserError(f"coefficients for {', '.join(unknown)}, but the model judges {', '.join(dimensions)}")
        self.dimensions = tuple(dimensions)
        self.reduction: Reduction = reduction
        self.coefficients = torch.tensor([float(coefficients.get(name, 1.0)) for name in dimensions])

    def forward(self, output: RewardOutput, labels: Batch, denominators: Denominators) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            output: Scores float ``[N, D]``.
            labels: The batch's comparisons: first, second, dimension, target, weight, group.
            denominators: Of the whole optimiser step.

        Returns:
            The total, and each dimension's term by name (before its coefficient).
        """
        scores = output.scores if output.scores.dtype == torch.float64 else output.scores.float()
        delta = scores[labels.first, labels.dimension] - scores[labels.second, labels.dimension]  # [P]
        weighted = labels.weight.to(delta.dtype) * bradley_terry(delta, labels.target.to(delta.dtype))  # [P]
        if self.reduction == "mean_per_group":
            weighted = weighted / _weight_of_cell(labels, len(self.dimensions)).to(delta.dtype)
        # An empty batch of labels gives zeros that still hang on the scores, so every parameter gets a gradient.
        terms = scores.new_zeros(len(self.dimensions)).index_add(0, labels.dimension, weighted)  # [D]
        coefficients = self.coefficients.to(scores)
        if self.reduction != "sum":
            counts = denominators.groups if self.reduction == "mean_per_group" else denominators.comparisons
            counts = counts.to(scores)
            terms = terms / torch.where(counts > 0, counts, torch.ones_like(counts))
            coefficients = coefficients / coefficients.sum()
        parts = {name: terms[d].detach() for d, name in enumerate(self.dimensions)}
        return Loss(total=(coefficients * terms).sum(), parts=parts)


def _weight_of_cell(labels: Batch, dimensions: int) -> Tensor:
    """For each comparison, the sum of weights of its group's comparisons on its dimension: ``[P]``."""
    cell = labels.group[labels.first] * dimensions + labels.dimension  # [P]
    cells = int(labels.tokens.shape[0]) * dimensions
    weights = labels.weight.new_zeros(cells).index_add(0, cell, labels.weight)
    return torch.where(weights > 0, weights, torch.ones_like(weights))[cell]
