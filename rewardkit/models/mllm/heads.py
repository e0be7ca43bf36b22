"""The heads at the score token: an ordinal and a regression score for each dimension."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DimensionHeads(nn.Module):
    """Two linear maps of the state at the score token, in float32 whatever the model computes in.

    ``ordinal`` goes into cumulative logits (``rewardkit.objectives.ordinal``), ``regression`` into a line to ratings
    (``rewardkit.objectives.pointwise``); either may be compared in pairs.

    Args:
        width: H, of the language model.
        dimensions: D.
    """

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        self.ordinal = nn.Linear(width, dimensions)
        self.regression = nn.Linear(width, dimensions)
        for layer in (self.ordinal, self.regression):
            nn.init.normal_(layer.weight, std=width**-0.5 / 10)
            nn.init.zeros_(layer.bias)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States ``[A, H]``; returns ordinal and regression scores, each float32 ``[A, D]``."""
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            return self.ordinal(states), self.regression(states)


def by_image(values: Tensor, image: Tensor, dimension: Tensor, images: int, dimensions: int) -> tuple[Tensor, Tensor]:
    """The mean of questions' values for each image and dimension.

    Args:
        values: ``[A]``.
        image: int64 ``[A]``.
        dimension: int64 ``[A]``.
        images: N.
        dimensions: D.

    Returns:
        ``[N, D]``, 0 where nothing was asked, and bool ``[N, D]``, where something was.
    """
    cell = image * dimensions + dimension
    sums = values.new_zeros(images * dimensions).index_add(0, cell, values)
    count = values.new_zeros(images * dimensions).index_add(0, cell, torch.ones_like(values))
    mean = sums / count.clamp(min=1)
    return mean.view(images, dimensions), (count > 0).view(images, dimensions)
