"""What every objective returns, and how a sum over labels becomes a loss."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class Loss:
    """One number to minimise, and the parts it is made of.

    Attributes:
        total: ``[]``, float32: this micro-batch's share of the optimiser step's loss. The shares of all micro-batches
            of all ranks add up to the loss of the step, because every term is divided by the step's denominator.
        parts: Name to ``[]``, each term before its coefficient, detached, for logs.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
