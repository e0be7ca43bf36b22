"""What a model has to offer to be a reward, and the checks of what it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from rewardkit.config.messages import did_you_mean
from rewardkit.config.overall import OVERALL
from rewardkit.errors import DataError, UserError
from rewardkit.models.load import LoadedReward
from rewardkit.models.pictures import Picture

TOLERANCE = 1e-3
"""How far outside [0, 1] a pixel may lie by rounding."""


class Scorer(Protocol):
    """A model that scores images under prompts: what ``rewardkit.load`` gives, or anything alike.

    Attributes:
        dimensions: Names of the columns of its scores.
        calibration: Dimension to ``{"mean", "std", …}`` of its scores.
    """

    dimensions: tuple[str, ...]
    calibration: dict[str, dict[str, Any]]

    def score(
        self,
        images: Any,
        prompts: str | Sequence[str],
        *,
        batch_size: int = ...,
        normalised: bool = ...,
    ) -> Tensor:
        """``[N, D]``, NaN where there is no score."""
        ...


def is_differentiable(model: Scorer) -> bool:
    """Whether scores have a gradient in the images: an evaluator's do not, its processor works on whole grey levels."""
    return isinstance(model, LoadedReward) or bool(getattr(model, "differentiable", False))


def as_bytes_for(model: Scorer, images: Tensor | Sequence[Picture]) -> Tensor | Sequence[Picture]:
    """Images as the model takes them: float tensors become uint8 for one that is not differentiable."""
    if is_differentiable(model):
        return images
    if isinstance(images, Tensor):
        return _to_bytes(images)
    return [_to_bytes(image) if isinstance(image, Tensor) else image for image in images]


def check_pixels(images: Tensor | Sequence[Picture]) -> None:
    """Refuses float tensors that are no pixels in [0, 1].

    A reward reads an image in [-1, 1], as a VAE gives it, without complaint, and one of NaN (half precision that
    overflowed) makes the whole update NaN; so both are looked for.

    Raises:
        UserError: A value outside [0, 1].
        DataError: A value that is not finite.
    """
    for place, image in enumerate([images] if isinstance(images, Tensor) else images):
        if not isinstance(image, Tensor) or not image.is_floating_point() or not image.numel():
            continue
        where = "the tensor of images" if image is images else f"image {place}"
        low, high = (float(end) for end in torch.aminmax(image.detach()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError(
                f"{where} has values that are not finite; look for an overflow of half precision in what made it "
                "(a VAE in float16, for one)"
            )
        if low < -TOLERANCE or high > 1 + TOLERANCE:
            raise UserError(
                f"{where} reaches from {low:.3g} to {high:.3g}; pixels are in [0, 1]. From [-1, 1] take "
                "(images / 2 + 0.5).clamp(0, 1), or rewardkit.rewards.adapters.reward_loss(…, pixels=(-1, 1))"
            )


def named_weights(model: Scorer, weights: Mapping[str, float] | None) -> dict[str, float]:
    """The weights of a model's dimensions; None is ``overall``, or the one dimension that there is.

    Raises:
        UserError: A dimension that the model lacks, no weight at all, or nothing that says which dimension is meant.
    """
    judged = ", ".join(model.dimensions)
    if weights is None:
        if len(model.dimensions) == 1:
            return {model.dimensions[0]: 1.0}
        if OVERALL in model.dimensions:
            return {OVERALL: 1.0}
        raise UserError(f"the model judges {judged}, and none is called {OVERALL}; say what counts: weights={{…}}")
    for name, weight in weights.items():
        if name not in model.dimensions:
            raise UserError(
                f"weights: the model has no dimension {name!r}; it judges {judged}."
                f"{did_you_mean(name, model.dimensions)}"
            )
        if not math.isfinite(weight):
            raise UserError(f"weights: {name} has the weight {weight}; a weight is a finite number")
    if not any(weights.values()):
        raise UserError("weights: all are 0, so nothing would count")
    return {name: float(weight) for name, weight in weights.items()}


def _to_bytes(images: Tensor) -> Tensor:
    """Float pixels in [0, 1] to uint8, rounded; others as they are."""
    return (images.detach() * 255).round().clamp(0, 255).to(torch.uint8) if images.is_floating_point() else images
