"""Scores in units of their own spread: (score - mean) / std of each dimension, with statistics of a named set.

So that dimensions and models whose scales have nothing in common can be weighed and compared. The statistics are a
bundle's calibration: mean and standard deviation of the scores on the validation set, on the scale of its ``output``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from rewardkit.errors import UserError

HOW_TO_GET_THEM = (
    "`fit` records them at its validation; for other models estimate them from images of your own: "
    "model.calibration = rewardkit.rewards.statistics.estimate_statistics(model, images, prompts)"
)


def normalised_scores(
    scores: Tensor, dimensions: Sequence[str], calibration: Mapping[str, Mapping[str, Any]]
) -> Tensor:
    """``(scores - mean) / std`` of each dimension; NaN stays NaN.

    Args:
        scores: float ``[N, D]`` on the scale that the calibration was made on.
        dimensions: Names of the D columns.
        calibration: Dimension to ``{"mean", "std", …}``.

    Returns:
        ``[N, D]``, differentiable in the scores.

    Raises:
        UserError: A dimension has no statistics, or none that can be divided by.
    """
    mean, std = _statistics(dimensions, calibration)
    return (scores - scores.new_tensor(mean)) / scores.new_tensor(std)


def _statistics(
    dimensions: Sequence[str], calibration: Mapping[str, Mapping[str, Any]]
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each dimension."""
    missing = [name for name in dimensions if not {"mean", "std"} <= set(calibration.get(name, {}))]
    if missing:
        raise UserError(
            f"normalised=True needs the mean and the spread of the scores, and this model has none of "
            f"{', '.join(missing)}; {HOW_TO_GET_THEM}"
        )
    mean = [float(calibration[name]["mean"]) for name in dimensions]
    std = [float(calibration[name]["std"]) for name in dimensions]
    for name, centre, spread in zip(dimensions, mean, std, strict=True):
        if not (math.isfinite(centre) and math.isfinite(spread) and spread > 0):
            raise UserError(
                f"normalised=True cannot divide by the spread of {name}: its mean is {centre} and its std {spread}, "
                f"as if all images had the same score; {HOW_TO_GET_THEM}"
            )
    return mean, std
