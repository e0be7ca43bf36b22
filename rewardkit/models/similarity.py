"""Unit vectors and inner products of features, in float32 at least."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def paired_products(image_features: Tensor, text_features: Tensor, group: Tensor) -> Tensor:
    """Inner product of each image with the text of its group, on features as they are.

    Each image meets one text only, so the ``[N, G]`` matrix of all pairs is never made.

    Args:
        image_features: ``[N, …, E]``.
        text_features: ``[G, …, E]``.
        group: int64 ``[N]``, row of ``text_features`` for each image.

    Returns:
        ``[N, …]``; cosines where the features have unit length.
    """
    return (image_features * text_features[group]).sum(dim=-1)


def full(features: Tensor) -> Tensor:
    """At least float32: half-precision similarities make different candidates tie exactly."""
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def unit(features: Tensor) -> Tensor:
    """``[…, E]`` divided by its length, in float32 at least."""
    return F.normalize(full(features), dim=-1)


def even(features: Tensor) -> Tensor:
    """``[…, E]`` at length ``sqrt(E)``: entries of size 1, which is what a layer's usual initialisation expects."""
    return unit(features) * features.shape[-1] ** 0.5
