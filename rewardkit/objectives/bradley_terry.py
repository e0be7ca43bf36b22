"""The Bradley-Terry law and its variants: what HPS v2, PickScore and ImageReward minimise, and labels with noise.

For a comparison with scores ``s_first``, ``s_second`` (logits: the scale of the logits is in them), ``delta`` their
difference, ``l(d) = -log sigmoid(d) = softplus(-d)`` and shares of votes ``(p_first, p_tie, p_second)``::

    y0 = p_first + p_tie / 2,  y1 = p_second + p_tie / 2
    loss = y0 l(delta) + y1 l(-delta)

With shares (1, 0, 0) this is -log sigmoid(delta); a tie counts half for each side, which is HPS v2's label
(0.5, 0.5); shares of all zeros contribute nothing (repository tgxs002/HPSv2, ``src/open_clip/loss.py``, ``HPSLoss``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardkit.errors import UserError
from rewardkit.objectives.compared import Compared, Counts, two_sided, without_ties
from rewardkit.objectives.loss import value_of_each


def bradley_terry(delta: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the Bradley-Terry law against shares of votes. See the module's docstring.

    Args:
        delta: ``[P]``, score of first minus score of second.
        target: ``[P, 3]``, shares of first, tie and second.

    Returns:
        ``[P]``, not negative; exactly 0 where the shares are all 0.
    """
    first, second = two_sided(target)
    return first * F.softplus(-delta) + second * F.softplus(delta)


def pickscore(delta: Tensor, target: Tensor) -> Tensor:
    """``bradley_terry`` less ln 2 where both sides have equal shares, so that a perfect tie costs 0.

    For labels (1, 0), (0.5, 0.5) and (0, 1), all that Pick-a-Pic has, this is the Kullback-Leibler divergence from the
    label to the model. Repository yuvalkirstain/PickScore, ``trainer/criterions/clip_criterion.py``; arXiv 2305.01569.

    Args:
        delta: ``[P]``.
        target: ``[P, 3]``.

    Returns:
        ``[P]``, not negative.
    """
    return bradley_terry(delta, target) - tie_offset(target).to(delta.dtype)


def tie_offset(target: Tensor) -> Tensor:
    """Natural log of 2 where both sides of a label have equal shares, else 0: ``[P]`` of ``target`` ``[P, 3]``."""
    first, second = two_sided(target)
    tied = (first == second) & (first > 0)
    return math.log(2) * tied.to(target.dtype)


def cdpo(delta: Tensor, target: Tensor, flip_rate: Tensor | float) -> Tensor:
    """Conservative labels: ``(1 - e) l(delta) + e l(-delta)`` for a win of first.

    e is the share of votes taken as flipped. Label smoothing, as in cDPO (Mitchell 2023, "A note on DPO with noisy
    preferences"; TRL's ``label_smoothing``). Its least value is at ``delta = logit(1 - e)``, the entropy
    of (1 - e, e); ties count half for each side.

    Args:
        delta: ``[P]``.
        target: ``[P, 3]``.
        flip_rate: e in [0, 0.5), ``[P]`` or one number.

    Returns:
        ``[P]``, not negative.
    """
    first, second = two_sided(target)
    smooth_first = (1 - flip_rate) * first + flip_rate * second
    smooth_second = (1 - flip_rate) * second + flip_rate * first
    return smooth_first * F.softplus(-delta) + smooth_second * F.softplus(delta)


def robust(delta: Tensor, target: Tensor, flip_rate: Tensor | float) -> Tensor:
    """The unbiased loss under flipped votes: ``((1 - e) l(delta) - e l(-delta)) / (1 - 2e)`` for a win of first.

    If each vote was flipped with probability e, its mean over the flips is ``bradley_terry`` of the true vote
    (Natarajan et al. 2013; robust DPO, Chowdhury et al. 2024, arXiv 2403.00409). **Unbounded below**: for large delta
    it falls as ``-e delta / (1 - 2e)``, so on data that the model can fit exactly it drives scores apart
    without end. Finite for finite scores. Ties count half for each side.

    Args:
        delta: ``[P]``.
        target: ``[P, 3]``.
        flip_rate: e in [0, 0.5), ``[P]`` or one number.

    Returns:
        ``[P]``, any sign.
    """
    first, second = two_sided(target)
    won, lost = F.softplus(-delta), F.softplus(delta)
    kept, flipped = (1 - flip_rate) / (1 - 2 * flip_rate), flip_rate / (1 - 2 * flip_rate)
    return first * (kept * won - flipped * lost) + second * (kept * lost - flipped * won)


class BradleyTerry(nn.Module):
    """``bradley_terry`` with soft labels.

    Args:
        ties: ``half`` counts a tie vote half for each side (HPS v2). ``drop`` leaves out comparisons without a winner,
            and tie votes of those that have one.
    """

    def __init__(self, ties: Literal["half", "drop"] = "half") -> None:
        super().__init__()
        if ties not in ("half", "drop"):
            raise UserError(f"ties of the Bradley-Terry law are 'half' or 'drop', not {ties!r}")
        self.ties = ties
        self.counts: Counts = "all" if ties == "half" else "decided"
        self.indifferent: float | None = math.log(2)

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        if self.ties == "half":
            return bradley_terry(compared.delta, compared.target)
        first, second = without_ties(compared.target)
        return first * F.softplus(-compared.delta) + second * F.softplus(compared.delta)


class PickScore(nn.Module):
    """``pickscore``; the weights 1 / (examples of the prompt) are the comparisons' own."""

    counts: Counts = "all"
    indifferent: float | None = math.log(2)

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        return pickscore(compared.delta, compared.target)


class ImageReward(nn.Module):
    """``-log sigmoid(better - worse)``.

    The side with more votes is the better one; comparisons without one are left out.
    Repository THUDM/ImageReward, ``train/src/train.py``; arXiv 2304.05977.
    """

    counts: Counts = "decided"
    indifferent: float | None = math.log(2)

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        return F.softplus(-compared.delta * winner(compared.target))


class CDPO(nn.Module):
    """``cdpo`` with a flip rate for each dimension.

    Args:
        dimensions: The model's dimensions.
        flip_rate: In [0, 0.5): one number, or one for every dimension.
    """

    counts: Counts = "all"
    indifferent: float | None = math.log(2)

    def __init__(self, dimensions: Sequence[str], flip_rate: float | Mapping[str, float]) -> None:
        super().__init__()
        self.flip_rate = _flip_rates(dimensions, flip_rate)

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        return cdpo(compared.delta, compared.target, self.flip_rate.to(compared.delta)[compared.dimension])


class Robust(nn.Module):
    """``robust`` with a flip rate for each dimension. Unbounded below, see there.

    Args:
        dimensions: The model's dimensions.
        flip_rate: In [0, 0.5): one number, or one for every dimension.
    """

    counts: Counts = "all"
    indifferent: float | None = math.log(2)

    def __init__(self, dimensions: Sequence[str], flip_rate: float | Mapping[str, float]) -> None:
        super().__init__()
        self.flip_rate = _flip_rates(dimensions, flip_rate)

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        return robust(compared.delta, compared.target, self.flip_rate.to(compared.delta)[compared.dimension])


def winner(target: Tensor) -> Tensor:
    """1 where first has more votes, -1 where second has, else 0: ``[P]`` of ``target`` ``[P, 3]``."""
    return torch.sign(target[..., 0] - target[..., 2])


def _flip_rates(dimensions: Sequence[str], flip_rate: float | Mapping[str, float]) -> Tensor:
    """Flip rate of each dimension, ``[D]``.

    Raises:
        UserError: A rate outside [0, 0.5): from 0.5 on, votes say nothing, or the opposite.
    """
    rates = value_of_each("flip_rate", flip_rate, dimensions)
    for name, rate in zip(dimensions, rates.tolist(), strict=True):
        if not 0 <= rate < 0.5:
            raise UserError(f"flip_rate of {name} is {rate:g}; it has to be at least 0 and below 0.5")
    return rates
