"""How image and text features become one score for each dimension. Heads speak in cosines; the scale comes after."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardkit.errors import UserError


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


class CosineHead(nn.Module):
    """One dimension, no parameters: the cosine of image and text, as CLIP (arXiv 2103.00020) and HPS v2 score."""

    kind = "cosine"

    def forward(self, image_features: Tensor, text_features: Tensor, group: Tensor) -> Tensor:
        """Features ``[N, E]`` and ``[G, E]`` of any length, ``group`` int64 ``[N]``; returns cosines ``[N, 1]``."""
        image, text = _unit(image_features), _unit(text_features)
        return paired_products(image, text, group).unsqueeze(-1)  # [N, 1]


class ProjectionHead(nn.Module):
    """Many dimensions: each has its own linear map of the image and of the text features, then a cosine.

    ``score_d = cos(V_d v, T_d t)``. The maps start as the identity, so that every dimension starts as the plain CLIP.
    """

    kind = "projection"

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        identity = torch.eye(width).expand(dimensions, width, width)
        self.image = nn.Parameter(identity.clone())  # [D, E, E]
        self.text = nn.Parameter(identity.clone())  # [D, E, E]

    def forward(self, image_features: Tensor, text_features: Tensor, group: Tensor) -> Tensor:
        """Features ``[N, E]`` and ``[G, E]`` of any length, ``group`` int64 ``[N]``; returns cosines ``[N, D]``."""
        image = _unit(_project(_full(image_features), self.image))  # [N, D, E]
        text = _unit(_project(_full(text_features), self.text))  # [G, D, E]
        return paired_products(image, text, group)  # [N, D]


HEADS = ("auto", "cosine", "projection")
"""Names that ``make_head`` takes."""


def make_head(kind: str, dimensions: Sequence[str], width: int) -> nn.Module:
    """The head of that name.

    Args:
        kind: ``cosine``, ``projection``, or ``auto`` (cosine for one dimension, projection for many).
        dimensions: Names of the dimensions, in the order of the scores.
        width: E, the width of the shared embedding.

    Raises:
        UserError: An unknown name, or a cosine head for many dimensions.
    """
    if kind not in HEADS:
        near = get_close_matches(kind, HEADS, n=1, cutoff=0)
        raise UserError(f"there is no head {kind!r}; did you mean {near[0]!r}? (heads: {', '.join(HEADS)})")
    if kind == "projection" or (kind == "auto" and len(dimensions) > 1):
        return ProjectionHead(len(dimensions), width)
    if len(dimensions) > 1:
        raise UserError(
            f"the cosine head has one dimension, but {len(dimensions)} are asked for ({', '.join(dimensions)}); "
            "take model.head=projection"
        )
    return CosineHead()


def _full(features: Tensor) -> Tensor:
    """At least float32: half-precision similarities make different candidates tie exactly."""
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def _unit(features: Tensor) -> Tensor:
    return F.normalize(_full(features), dim=-1)


def _project(features: Tensor, maps: Tensor) -> Tensor:
    """``[N, E]`` through ``[D, E, E]``: ``[N, D, E]``."""
    return torch.einsum("ne,dfe->ndf", features, maps.to(features.dtype))
