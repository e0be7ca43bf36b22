"""Two tiny rewards that share nothing but what they judge, with statistics, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import TINY_BLIP, TINY_TOWER
from torch import Tensor
from two_rewards import STATISTICS

from rewardkit.models.architecture import read_architecture
from rewardkit.models.blip import build_blip_reward
from rewardkit.models.blip_architecture import read_blip_architecture
from rewardkit.models.bundle import save_bundle
from rewardkit.models.clip import build_clip_reward
from rewardkit.models.kinds import Reward as AnyReward
from rewardkit.models.load import LoadedReward, load_reward


def _stirred(model: AnyReward, seed: int) -> AnyReward:
    """With weights that are not those of the initialisation, so that scores differ."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="session")
def clip_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = build_clip_reward(architecture=read_architecture(TINY_TOWER), dimensions=tuple(STATISTICS))
    folder = tmp_path_factory.mktemp("rewards") / "clip"
    return save_bundle(folder, _stirred(model, 1), calibration=STATISTICS)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def blip_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another family, another tokenizer and size; ``overall`` alone."""
    torch.manual_seed(1)
    model = build_blip_reward(architecture=read_blip_architecture(TINY_BLIP))
    folder = tmp_path_factory.mktemp("rewards") / "blip"
    statistics = {"overall": {"candidates": 9, "mean": 1.0, "std": 3.0, "quantiles": {}}}
    return save_bundle(folder, _stirred(model, 2), calibration=statistics)  # type: ignore[arg-type]


@pytest.fixture
def clip(clip_bundle: Path) -> LoadedReward:
    return load_reward(clip_bundle)


@pytest.fixture
def blip(blip_bundle: Path) -> LoadedReward:
    return load_reward(blip_bundle)


@pytest.fixture
def images() -> Tensor:
    """Float ``[4, 3, 40, 48]`` in [0, 1]."""
    return torch.rand(4, 3, 40, 48, generator=torch.Generator().manual_seed(0))
