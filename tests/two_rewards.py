"""Two tiny rewards that share nothing but what they judge, written as bundles; their statistics, and four prompts."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_run import TINY_BLIP, TINY_TOWER

from rewardkit.models.architecture import read_architecture
from rewardkit.models.blip import build_blip_reward
from rewardkit.models.blip_architecture import read_blip_architecture
from rewardkit.models.bundle import save_bundle
from rewardkit.models.clip import build_clip_reward
from rewardkit.models.kinds import Reward as AnyReward

STATISTICS = {
    "overall": {"candidates": 9, "mean": 0.1, "std": 0.2, "quantiles": {}},
    "aesthetic": {"candidates": 9, "mean": -0.2, "std": 0.05, "quantiles": {}},
}
"""Of the CLIP."""
PROMPTS = ["a red fox", "two boats at sea", "a red fox", "a cat"]


def write_clip(folder: Path) -> Path:
    """A CLIP of two dimensions, with ``STATISTICS``."""
    torch.manual_seed(0)
    model = build_clip_reward(architecture=read_architecture(TINY_TOWER), dimensions=tuple(STATISTICS))
    return save_bundle(folder, _stirred(model, 1), calibration=STATISTICS)  # type: ignore[arg-type]


def write_blip(folder: Path) -> Path:
    """Another family, another tokenizer and size; ``overall`` alone."""
    torch.manual_seed(1)
    model = build_blip_reward(architecture=read_blip_architecture(TINY_BLIP))
    statistics = {"overall": {"candidates": 9, "mean": 1.0, "std": 3.0, "quantiles": {}}}
    return save_bundle(folder, _stirred(model, 2), calibration=statistics)  # type: ignore[arg-type]


def _stirred(model: AnyReward, seed: int) -> AnyReward:
    """With weights that are not those of the initialisation, so that scores differ."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
