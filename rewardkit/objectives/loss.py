"""What every objective returns, and how sums over labels become a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rewardkit.errors import UserError


@dataclass  # without slots: DeepSpeed looks for tensors in an output's __dict__
class Loss:
    """One number to minimise, and the parts it is made of.

    Attributes:
        total: ``[]``, float32: this micro-batch's share of the optimiser step's loss. The shares of all micro-batches
            of all ranks add up to the loss of the step, because every term is divided by the step's denominator.
        parts: Name to ``[]``, each term before its coefficient, detached, for logs.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


def full_precision(values: Tensor) -> Tensor:
    """At least float32, whatever the model computes in: half precision makes ties of scores that differ."""
    return values.float() if values.dtype.itemsize < 4 else values


def sums_by_dimension(losses: Tensor, dimension: Tensor, dimensions: int) -> Tensor:
    """Sums of losses ``[X]`` for each dimension ``[D]``; without any loss, zeros that still hang on what made them."""
    return losses.new_zeros(dimensions).index_add(0, dimension, losses)


def divided(sums: Tensor, counts: Tensor) -> Tensor:
    """``sums / counts`` ``[D]``, and the sum itself (which is 0) where the whole step has no label."""
    counts = counts.to(sums)
    return sums / torch.where(counts > 0, counts, torch.ones_like(counts))


def loss_of(terms: Tensor, dimensions: Sequence[str], factors: Tensor, *, average: bool = True) -> Loss:
    """The weighted sum over dimensions.

    Args:
        terms: ``[D]``, each dimension's term.
        dimensions: Their names.
        factors: ``[D]``, on the CPU.
        average: Whether to divide by the sum of the factors. A dimension without a label in the step adds 0 and leaves
            the others as they are.

    Returns:
        The total, and each dimension's term by name, for those with a factor.
    """
    shares = factors / factors.sum() if average else factors
    parts = {name: terms[d].detach() for d, name in enumerate(dimensions) if factors[d] > 0}
    return Loss(total=(shares.to(terms) * terms).sum(), parts=parts)


def dimension_factors(dimensions: Sequence[str], factors: Mapping[str, float] | None) -> Tensor:
    """Factor of each dimension, float64 ``[D]``: all 1 where none is given, else 0 for those that are not named.

    Raises:
        UserError: A dimension that the model lacks, a negative factor, or no factor above 0.
    """
    if not factors:
        return torch.ones(len(dimensions), dtype=torch.float64)
    _refuse_unknown("factors", factors, dimensions)
    negative = [f"{name}: {value:g}" for name, value in factors.items() if value < 0]
    if negative:
        raise UserError(f"a dimension's factor cannot be negative ({', '.join(negative)})")
    if not any(value > 0 for value in factors.values()):
        raise UserError(f"the factors of all dimensions are 0; give one of {', '.join(dimensions)} a factor above 0")
    return torch.tensor([float(factors.get(name, 0.0)) for name in dimensions], dtype=torch.float64)


def value_of_each(name: str, value: float | Mapping[str, float], dimensions: Sequence[str]) -> Tensor:
    """An option that is one number, or one for each dimension, as float64 ``[D]``.

    Raises:
        UserError: A dimension that the model lacks, or one that is not named.
    """
    if not isinstance(value, Mapping):
        return torch.full((len(dimensions),), float(value), dtype=torch.float64)
    _refuse_unknown(name, value, dimensions)
    missing = [d for d in dimensions if d not in value]
    if missing:
        raise UserError(f"{name} names no value for {', '.join(missing)}; give one for every dimension, or one number")
    return torch.tensor([float(value[d]) for d in dimensions], dtype=torch.float64)


def _refuse_unknown(what: str, given: Mapping[str, float], dimensions: Sequence[str]) -> None:
    unknown = sorted(set(given) - set(dimensions))
    if unknown:
        raise UserError(f"{what} for {', '.join(unknown)}, but the model judges {', '.join(dimensions)}")
