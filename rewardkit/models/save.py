"""Writes any reward model as a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardkit.models.bundle import save_bundle
from rewardkit.models.kinds import AnyReward
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.saving import save_evaluator


def save_reward(
    folder: str | Path,
    model: AnyReward,
    *,
    calibration: Mapping[str, Mapping[str, Any]] | None = None,
    evaluation: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    data: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Writes a bundle as ``save_bundle`` or ``save_evaluator`` do, whichever the model needs.

    An evaluator goes with the questions of its ``rows``: as an adapter where its base lies in a folder and most of it
    was left as it was, else whole.
    """
    about: dict[str, Any] = {"calibration": calibration, "evaluation": evaluation, "recipe": recipe, "data": data}
    if isinstance(model, MLLMReward):
        return save_evaluator(folder, model, **about)
    return save_bundle(folder, model, **about)
