"""How image and text features become one score for each dimension. Heads speak in cosines; the scale comes after."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from rewardkit.config.overall import OVERALL, overall_problems
from rewardkit.errors import UserError
from rewardkit.models.overall import DerivedOverallHead, make_weights
from rewardkit.models.similarity import full, paired_products, unit


class CosineHead(nn.Module):
    """One dimension, no parameters: the cosine of image and text, as CLIP (arXiv 2103.00020) and HPS v2 score."""

    kind = "cosine"

    def forward(self, image_features: Tensor, text_features: Tensor, group: Tensor) -> Tensor:
        """Features ``[N, E]`` and ``[G, E]`` of any length, ``group`` int64 ``[N]``; returns cosines ``[N, 1]``."""
        image, text = unit(image_features), unit(text_features)
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
        image = unit(_project(full(image_features), self.image))  # [N, D, E]
        text = unit(_project(full(text_features), self.text))  # [G, D, E]
        return paired_products(image, text, group)  # [N, D]


class TextQueryHead(nn.Module):
    """Many dimensions: each asks its own question, a learned vector added to the prompt's embedding.

    ``score_d = cos(v, t / |t| + q_d)``. The queries start at zero, so that every dimension starts as the plain CLIP;
    a query speaks at the size of a unit vector whatever the text tower's own scale is. D x E parameters, where a
    projection has 2 x D x E x E.
    """

    kind = "text_query"

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(dimensions, width))  # [D, E]

    def forward(self, image_features: Tensor, text_features: Tensor, group: Tensor) -> Tensor:
        """Features ``[N, E]`` and ``[G, E]`` of any length, ``group`` int64 ``[N]``; returns cosines ``[N, D]``."""
        text = unit(text_features).unsqueeze(1)  # [G, 1, E]
        asked = unit(text + self.query.to(text.dtype))  # [G, D, E]
        return paired_products(unit(image_features).unsqueeze(1), asked, group)  # [N, D]


HEADS = ("auto", "cosine", "projection", "text_query")
"""Names that ``make_head`` takes."""


def make_head(
    kind: str,
    dimensions: Sequence[str],
    width: int,
    *,
    overall: str = "learned",
    overall_gradient: str = "all",
    gate_width: int = 128,
) -> nn.Module:
    """The head of that name.

    Args:
        kind: ``cosine``, ``projection``, ``text_query``, or ``auto`` (cosine for one dimension, projection for many).
        dimensions: Names of the dimensions, in the order of the scores.
        width: E, the width of the shared embedding.
        overall: How the dimension ``overall`` is made: ``learned`` (like the others), ``mean``, ``combination`` or
            ``gate`` (see ``rewardkit.models.overall``). One that follows from the others has no head of its own, so
            ``kind`` counts the others only.
        overall_gradient: ``all``, or ``weights``: what labels of a derived ``overall`` teach.
        gate_width: Hidden units of the gate.

    Raises:
        UserError: An unknown name, a cosine head for many dimensions, or an ``overall`` that cannot be.
    """
    if kind not in HEADS:
        near = get_close_matches(kind, HEADS, n=1, cutoff=0)
        raise UserError(f"there is no head {kind!r}; did you mean {near[0]!r}? (heads: {', '.join(HEADS)})")
    problems = overall_problems(overall, dimensions, overall_gradient)
    if problems:
        raise UserError("; ".join(problems))
    if overall == "learned":
        return _make_own(kind, dimensions, width)
    others = [dimension for dimension in dimensions if dimension != OVERALL]
    return DerivedOverallHead(
        _make_own(kind, others, width),
        make_weights(overall, len(others), width, gate_width=gate_width),
        place=list(dimensions).index(OVERALL),
        gradient=overall_gradient,
    )


def _make_own(kind: str, dimensions: Sequence[str], width: int) -> nn.Module:
    """The head of dimensions that each have their own."""
    if kind == "projection" or (kind == "auto" and len(dimensions) > 1):
        return ProjectionHead(len(dimensions), width)
    if kind == "text_query":
        return TextQueryHead(len(dimensions), width)
    if len(dimensions) > 1:
        raise UserError(
            f"the cosine head has one dimension, but {len(dimensions)} are asked for ({', '.join(dimensions)}); "
            "take model.head=projection or model.head=text_query"
        )
    return CosineHead()


def _project(features: Tensor, maps: Tensor) -> Tensor:
    """``[N, E]`` through ``[D, E, E]``: ``[N, D, E]``."""
    return torch.einsum("ne,dfe->ndf", features, maps.to(features.dtype))
