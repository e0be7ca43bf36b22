"""An ``overall`` that follows from the other dimensions: their mean, a learned combination, or a gate.

In each case the overall score is a sum of the others with weights that are not negative and sum to 1. So it stays a
cosine where they are cosines, and a candidate that wins on every dimension wins overall.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rewardkit.config.overall import OVERALL
from rewardkit.models.similarity import even


class MeanWeights(nn.Module):
    """The same weight for each dimension; no parameters (VisionPrefer's rule, as far as it is known)."""

    kind = "mean"

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions

    def forward(self, text_features: Tensor) -> Tensor:
        """``[G, E]`` to ``[G, dimensions]``."""
        like = even(text_features)
        return like.new_full((len(like), self.dimensions), 1 / self.dimensions)


class CombinationWeights(nn.Module):
    """One learned weight for each dimension, the same for every prompt: a softmax, so they start equal."""

    kind = "combination"

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(dimensions))  # [D - 1]

    def weights(self) -> Tensor:
        """``[dimensions]``, not negative, sum 1."""
        return self.logits.softmax(dim=0)

    def forward(self, text_features: Tensor) -> Tensor:
        """``[G, E]`` to ``[G, dimensions]``."""
        return self.weights().to(even(text_features).dtype).expand(len(text_features), -1)


class GateWeights(nn.Module):
    """The prompt's embedding says which dimensions count: ArmoRM's gate (Wang et al. 2024, arXiv 2406.12845).

    ``softmax(W_2 relu(W_1 t + b_1) + b_2)``. The embedding comes at length sqrt(E) and detached: as in ArmoRM, whose
    backbone is frozen while the gate is fitted, the gate reads the text tower and never moves it. The last layer
    starts at zero, so the weights start equal. Each row depends on its own prompt alone.
    """

    kind = "gate"

    def __init__(self, dimensions: int, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, dimensions)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, text_features: Tensor) -> Tensor:
        """``[G, E]`` to ``[G, dimensions]``."""
        prompt = even(text_features.detach()).to(self.out.weight.dtype)
        weights: Tensor = self.out(self.hidden(prompt).relu()).softmax(dim=-1)
        return weights


class DerivedOverallHead(nn.Module):
    """A head of the other dimensions, and the weights that make ``overall`` of them.

    Args:
        others: Gives the other dimensions' cosines, ``[N, D - 1]``.
        weights: Gives ``[G, D - 1]`` from the text features.
        place: Column of ``overall`` among the D dimensions.
        gradient: ``all``: labels of ``overall`` also teach the other dimensions and the towers. ``weights``: they teach
            the weights alone, as ArmoRM's second stage does.
    """

    def __init__(self, others: nn.Module, weights: nn.Module, *, place: int, gradient: str) -> None:
        super().__init__()
        self.others = others
        self.weights = weights
        self.place = place
        self.gradient = gradient

    @property
    def kind(self) -> Any:
        """The others' kind."""
        return self.others.kind

    def forward(self, image_features: Tensor, text_features: Tensor, group: Tensor) -> Tensor:
        """Features ``[N, E]`` and ``[G, E]`` of any length, ``group`` int64 ``[N]``; returns cosines ``[N, D]``."""
        others: Tensor = self.others(image_features, text_features, group)  # [N, D - 1]
        weighed = others.detach() if self.gradient == "weights" else others
        overall = (self.weights(text_features)[group] * weighed).sum(dim=-1, keepdim=True)  # [N, 1]
        return torch.cat([others[:, : self.place], overall, others[:, self.place :]], dim=1)


def make_weights(kind: str, dimensions: int, width: int, *, gate_width: int) -> nn.Module:
    """What ``model.overall`` names, for ``dimensions`` other dimensions."""
    if kind == "mean":
        return MeanWeights(dimensions)
    return CombinationWeights(dimensions) if kind == "combination" else GateWeights(dimensions, width, gate_width)


def describe_overall(head: nn.Module, dimensions: Sequence[str]) -> dict[str, Any] | None:
    """What a bundle records of a derived overall; None where ``overall`` is a dimension like the others.

    Returns:
        ``kind``, ``gradient``, the gate's width, and ``weights`` (dimension to number) where they are the same for
        every prompt.
    """
    if not isinstance(head, DerivedOverallHead):
        return None
    described: dict[str, Any] = {"kind": head.weights.kind, "gradient": head.gradient}
    if isinstance(head.weights, GateWeights):
        return {**described, "gate_width": head.weights.hidden.out_features}
    others = [dimension for dimension in dimensions if dimension != OVERALL]
    fixed = isinstance(head.weights, MeanWeights)
    weights = [1 / len(others)] * len(others) if fixed else head.weights.weights().tolist()  # type: ignore[operator]
    return {**described, "weights": dict(zip(others, weights, strict=True))}
