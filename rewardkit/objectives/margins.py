"""Pairwise losses with a margin or a factor: the winner has to lead by something, or counts for more.

All three learn from decided comparisons alone; tie votes of those are left out, and the votes for the two sides are
shares ``y0 + y1 = 1``. ``gap`` is the absolute difference of the two candidates' mean ratings; where one of them has
none, margin and factor are as for a gap that says nothing: margin 0, factor 1, which is Bradley-Terry.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardkit.errors import UserError
from rewardkit.objectives.compared import Compared, Counts, without_ties

Source = Literal["constant", "rating_gap"]


def margin_loss(delta: Tensor, target: Tensor, margin: Tensor | float) -> Tensor:
    """``l(delta - m)`` for a win of first, l(d) = softplus(-d): 0 only when the winner leads by much more than m.

    Llama 2 (arXiv 2307.09288, equation 2), VideoAlign (KwaiVGI/VideoAlign ``trainer.py``: the rating gap, or 0.57).

    Args:
        delta: ``[P]``.
        target: ``[P, 3]``; tie votes are left out.
        margin: m, at least 0, ``[P]`` or one number.

    Returns:
        ``[P]``, not negative.
    """
    first, second = without_ties(target)
    return first * F.softplus(margin - delta) + second * F.softplus(margin + delta)


def scaled_loss(delta: Tensor, target: Tensor, factor: Tensor | float) -> Tensor:
    """``m l(delta)`` for a win of first: a clear preference counts m times.

    NeMo's ``scaled_bt``, VideoAlign's ``scaled``.

    Args:
        delta: ``[P]``.
        target: ``[P, 3]``; tie votes are left out.
        factor: m, at least 0, ``[P]`` or one number.

    Returns:
        ``[P]``, not negative.
    """
    first, second = without_ties(target)
    return factor * (first * F.softplus(-delta) + second * F.softplus(delta))


def hinge(delta: Tensor, target: Tensor, margin: Tensor | float) -> Tensor:
    """``max(0, m - delta)`` for a win of first: no gradient once the winner leads by m.

    Args:
        delta: ``[P]``.
        target: ``[P, 3]``; tie votes are left out.
        margin: m, at least 0, ``[P]`` or one number.

    Returns:
        ``[P]``, not negative.
    """
    first, second = without_ties(target)
    return first * F.relu(margin - delta) + second * F.relu(margin + delta)


class Margin(nn.Module):
    """``margin_loss``.

    Args:
        margin: The margin, or with ``rating_gap`` the margin for each point of difference in rating.
        of: ``constant`` or ``rating_gap``.
    """

    counts: Counts = "decided"

    def __init__(self, margin: float = 1.0, of: Source = "constant") -> None:
        super().__init__()
        self.margin, self.of = _checked("margin", margin, of)
        self.indifferent: float | None = math.log1p(math.exp(margin)) if of == "constant" else None

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        margin = self.margin if self.of == "constant" else self.margin * _gap(compared)
        return margin_loss(compared.delta, compared.target, margin)


class Scaled(nn.Module):
    """``scaled_loss``.

    Args:
        factor: The factor, or with ``rating_gap`` the factor for each point of difference in rating. Raters who see no
            difference then weigh a comparison down to 0; it is counted nevertheless.
        of: ``constant`` or ``rating_gap``.
    """

    counts: Counts = "decided"

    def __init__(self, factor: float = 1.0, of: Source = "rating_gap") -> None:
        super().__init__()
        self.factor, self.of = _checked("factor", factor, of)
        self.indifferent: float | None = factor * math.log(2) if of == "constant" else None

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        if self.of == "constant":
            return scaled_loss(compared.delta, compared.target, self.factor)
        known = ~compared.gap.isnan()
        factor = torch.where(known, self.factor * _gap(compared), torch.ones_like(compared.delta))
        return scaled_loss(compared.delta, compared.target, factor)


class Hinge(nn.Module):
    """``hinge`` with a constant margin.

    Args:
        margin: At least 0.
    """

    counts: Counts = "decided"

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin, _ = _checked("margin", margin, "constant")
        self.indifferent: float | None = margin

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        return hinge(compared.delta, compared.target, self.margin)


def _gap(compared: Compared) -> Tensor:
    """Absolute difference of the two mean ratings, 0 where one of them is missing: ``[P]``."""
    return torch.where(compared.gap.isnan(), 0.0, compared.gap.abs())


def _checked(name: str, value: float, of: Source) -> tuple[float, Source]:
    if not 0 <= value < math.inf:
        raise UserError(f"the {name} has to be a number of at least 0, not {value:g}")
    if of not in ("constant", "rating_gap"):
        raise UserError(f"a {name} is of 'constant' or 'rating_gap', not {of!r}")
    return value, of
