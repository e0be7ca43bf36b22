"""Laws in which a tie is an outcome of its own, with a probability: Rao-Kupper and Davidson.

Both losses are the cross entropy of the three probabilities against the shares of votes (first, tie, second): a vote
for a tie counts as a tie, ten votes against ten as half a win for each. The least value for soft labels is the entropy
of the shares, reached only where the law can give them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardkit.errors import UserError
from rewardkit.objectives.compared import Compared, Counts

SMALLEST = 1e-12
"""Least ln(theta) and nu: below, the laws are Bradley-Terry and a vote for a tie would cost infinitely much."""


def rao_kupper_log_probabilities(delta: Tensor, log_theta: Tensor | float) -> Tensor:
    """Log probabilities of first, tie and second (Rao and Kupper 1967, JASA 62).

    With ``t = ln(theta)``, theta > 1 and ``l(d) = softplus(-d)``::

        log P(first) = -l(delta - t),  log P(second) = -l(-delta - t)
        log P(tie) = log(theta^2 - 1) - l(delta - t) - l(-delta - t)

    Args:
        delta: ``[P]``.
        log_theta: ln(theta) above 0, ``[P]`` or one number; clamped at ``SMALLEST``.

    Returns:
        ``[P, 3]``; the probabilities sum to 1. At delta = 0 a tie has (theta - 1) / (theta + 1).
    """
    threshold = torch.as_tensor(log_theta, dtype=delta.dtype, device=delta.device).clamp(min=SMALLEST)
    first, second = -F.softplus(threshold - delta), -F.softplus(threshold + delta)
    # log(theta^2 - 1) = 2t + log(1 - exp(-2t)), which neither overflows nor loses digits.
    tie = first + second + 2 * threshold + torch.log(-torch.expm1(-2 * threshold))
    return torch.stack([first, tie, second], dim=-1)


def davidson_log_probabilities(delta: Tensor, log_nu: Tensor | float) -> Tensor:
    """Log probabilities of first, tie and second (Davidson 1970, JASA 65).

    ``P(first) = e^(delta/2) / Z,  P(tie) = nu / Z,  P(second) = e^(-delta/2) / Z``, Z their sum, nu > 0.

    Args:
        delta: ``[P]``.
        log_nu: ln(nu), ``[P]`` or one number; clamped at ln(``SMALLEST``).

    Returns:
        ``[P, 3]``; the probabilities sum to 1. At delta = 0 a tie has nu / (2 + nu).
    """
    tie = torch.as_tensor(log_nu, dtype=delta.dtype, device=delta.device).clamp(min=math.log(SMALLEST))
    return torch.stack([delta / 2, tie.expand_as(delta), -delta / 2], dim=-1).log_softmax(dim=-1)


def rao_kupper(delta: Tensor, target: Tensor, log_theta: Tensor | float) -> Tensor:
    """Cross entropy of the Rao-Kupper law against shares of votes; VideoAlign's and HPSv3's "btt" has theta = 5.

    Args:
        delta: ``[P]``.
        target: ``[P, 3]``, shares of first, tie and second.
        log_theta: ln(theta) above 0, ``[P]`` or one number.

    Returns:
        ``[P]``, not negative; exactly 0 where the shares are all 0.
    """
    return -(target * rao_kupper_log_probabilities(delta, log_theta)).sum(dim=-1)


def davidson(delta: Tensor, target: Tensor, log_nu: Tensor | float) -> Tensor:
    """Cross entropy of the Davidson law against shares of votes.

    Args:
        delta: ``[P]``.
        target: ``[P, 3]``, shares of first, tie and second.
        log_nu: ln(nu), ``[P]`` or one number.

    Returns:
        ``[P]``, not negative; exactly 0 where the shares are all 0.
    """
    return -(target * davidson_log_probabilities(delta, log_nu)).sum(dim=-1)


class RaoKupper(nn.Module):
    """``rao_kupper``, theta fixed or learned for each dimension.

    A learned theta is ``1 + softplus(raw_theta)``, which never reaches 1; ``raw_theta`` ``[D]`` starts where that is
    the given theta.

    Args:
        dimensions: The model's dimensions.
        theta: Above 1.
        learned: Whether the optimiser moves it.

    Raises:
        UserError: A theta of 1 or less: the law then has no ties, and a vote for one would cost infinitely much.
    """

    counts: Counts = "all"
    indifferent: float | None = None
    raw_theta: Tensor

    def __init__(self, dimensions: Sequence[str], *, theta: float = 5.0, learned: bool = False) -> None:
        super().__init__()
        if not 1 < theta < math.inf:
            raise UserError(
                f"theta of the Rao-Kupper law has to be above 1, not {theta:g}; without ties it is bradley_terry"
            )
        _set_raw(self, "raw_theta", theta - 1, dimensions, learned)

    @property
    def theta(self) -> Tensor:
        """Its value now, float ``[D]``, above 1."""
        return 1 + F.softplus(self.raw_theta)

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        log_theta = torch.log1p(F.softplus(self.raw_theta.to(compared.delta)))
        return rao_kupper(compared.delta, compared.target, log_theta[compared.dimension])


class Davidson(nn.Module):
    """``davidson``, nu fixed or learned for each dimension.

    A learned nu is ``softplus(raw_nu)``; ``raw_nu`` ``[D]`` starts where that is the given nu.

    Args:
        dimensions: The model's dimensions.
        nu: Above 0.
        learned: Whether the optimiser moves it.

    Raises:
        UserError: A nu of 0 or less: the law then has no ties, and a vote for one would cost infinitely much.
    """

    counts: Counts = "all"
    indifferent: float | None = None
    raw_nu: Tensor

    def __init__(self, dimensions: Sequence[str], *, nu: float = 1.0, learned: bool = False) -> None:
        super().__init__()
        if not 0 < nu < math.inf:
            raise UserError(f"nu of the Davidson law has to be above 0, not {nu:g}; without ties it is bradley_terry")
        _set_raw(self, "raw_nu", nu, dimensions, learned)

    @property
    def nu(self) -> Tensor:
        """Its value now, float ``[D]``, above 0."""
        return F.softplus(self.raw_nu)

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        log_nu = log_softplus(self.raw_nu.to(compared.delta))
        return davidson(compared.delta, compared.target, log_nu[compared.dimension])


def log_softplus(raw: Tensor) -> Tensor:
    """``log(softplus(raw))`` with its gradient where softplus would round to 0 (raw below -15: softplus is exp)."""
    small = raw < -15
    return torch.where(small, raw, torch.log(F.softplus(torch.where(small, torch.zeros_like(raw), raw))))


def inverse_softplus(value: float) -> float:
    """The x with ``softplus(x) = value``, for a value above 0."""
    return value + math.log(-math.expm1(-value))


def _set_raw(module: nn.Module, name: str, value: float, dimensions: Sequence[str], learned: bool) -> None:
    """A parameter ``[D]`` whose softplus is the value, or a plain tensor, which no checkpoint needs."""
    raw = torch.full((len(dimensions),), inverse_softplus(value), dtype=torch.float64)
    setattr(module, name, nn.Parameter(raw.float()) if learned else raw)
