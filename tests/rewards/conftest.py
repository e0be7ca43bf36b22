"""Two tiny rewards with statistics, and images, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from two_rewards import write_blip, write_clip

from rewardkit.models.load import LoadedReward, load_reward


@pytest.fixture(scope="session")
def clip_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("rewards") / "clip")


@pytest.fixture(scope="session")
def blip_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blip(tmp_path_factory.mktemp("rewards") / "blip")


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
