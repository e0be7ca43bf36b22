"""What the replays of losses share: a case's numbers as tensors, labels for an objective, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from measure import Malformed, need
from torch import Tensor

from rewardkit.objectives.compared import Compared

WIN, TIE, LOSE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


@dataclass
class Replay:
    """What rewardkit gives for one case.

    Attributes:
        found: Name to value, as the case's ``expected`` names them.
        leaves: What gradients are taken with respect to: a tensor, or one for each row where rows differ in length.
        gradients_of: Losses that the case's gradients are of, where that is not one of ``found``.
        gradients: Gradients by the case's name, where it names them by what they are of.
        beside: Keys of the case beside ``expected`` that hold numbers of ``found`` as well.
    """

    found: dict[str, Any]
    leaves: dict[str, Any] = field(default_factory=dict)
    gradients_of: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Any] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


def tensors(record: Mapping[str, Any], *keys: str) -> list[Tensor]:
    """The numbers of a case, float64, each a leaf that gradients can be taken of."""
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in need(record, *keys)]


def number(record: Mapping[str, Any], key: str) -> float:
    """One number of a case."""
    (value,) = need(record, key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"{key} is {value!r}, not a number")
    return float(value)


def pair_labels(target: Tensor, *, weight: Tensor | None = None, dimension: Tensor | None = None, **more: Any) -> Any:
    """A batch of P comparisons: candidate p against candidate P + p, every one in a group of its own."""
    pairs = len(target)
    every = torch.arange(pairs)
    return SimpleNamespace(
        **{
            "first": every,
            "second": every + pairs,
            "dimension": torch.zeros(pairs, dtype=torch.long) if dimension is None else dimension,
            "target": target,
            "weight": torch.ones(pairs, dtype=torch.float64) if weight is None else weight,
            "group": every.repeat(2),
            "ratings": torch.full((2 * pairs, 1), float("nan"), dtype=torch.float64),
            "tokens": torch.zeros(pairs, 1, dtype=torch.long),
            **more,
        }
    )


def step(count: float | Tensor, dimensions: int = 1) -> Any:
    """Denominators that are all the same number."""
    every = torch.as_tensor(count, dtype=torch.float64).expand(dimensions)
    names = ("comparisons", "groups", "decided", "decided_groups", "rankings", "ratings")
    return SimpleNamespace(**dict.fromkeys(names, every))


def compared(delta: Tensor, outcome: Sequence[float] = WIN) -> Compared:
    """Comparisons that all came out the same, as a rule sees them."""
    return Compared(
        delta=delta,
        total=torch.zeros_like(delta),
        target=delta.new_tensor(outcome).expand(len(delta), 3),
        dimension=torch.zeros(len(delta), dtype=torch.long),
        gap=torch.full_like(delta, float("nan")),
    )


def slope(values: Tensor, leaf: Tensor) -> Tensor:
    """Derivative of each value with respect to the number of the same place."""
    return torch.autograd.grad(values.sum(), leaf, retain_graph=True)[0]
