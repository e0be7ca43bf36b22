"""A standard deviation for each score, beside the head that gives the score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rewardkit.models.similarity import even

LOG_SIGMA_LIMIT = 3.0
"""Log standard deviations stay within plus and minus this: sigma from 0.05 to 20 logits, where a difference of one
logit is a preference of 73 %."""


class UncertaintyHead(nn.Module):
    """``log sigma_d = 3 tanh(a_d / 3)`` with ``a_d = V_d v + T_d t + b_d``, on features at length sqrt(E).

    Every dimension has its own row, a derived ``overall`` too. All weights start at zero, so sigma starts at exactly 1.
    The tanh keeps sigma in ``[e^-3, e^3]`` and never stops the gradient; near 1 it is the identity.
    """

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(dimensions, width))  # [D, E]
        self.text = nn.Parameter(torch.zeros(dimensions, width))  # [D, E]
        self.bias = nn.Parameter(torch.zeros(dimensions))  # [D]

    def forward(self, image_features: Tensor, text_features: Tensor, group: Tensor) -> Tensor:
        """Features ``[N, E]`` and ``[G, E]``, ``group`` int64 ``[N]``; log sigma of each logit, ``[N, D]``."""
        image, text = even(image_features), even(text_features)
        raw = image @ self.image.T.to(image.dtype) + (text @ self.text.T.to(text.dtype))[group] + self.bias
        return LOG_SIGMA_LIMIT * torch.tanh(raw / LOG_SIGMA_LIMIT)
