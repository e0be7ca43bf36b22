"""Towers of a bundle, and of a run's folder, as the start of another model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rewardkit.errors import CheckpointError
from rewardkit.models.bundle import save_bundle
from rewardkit.models.bundle_record import find_bundle
from rewardkit.models.bundle_towers import bundle_architecture
from rewardkit.models.clip import CLIPReward, build_clip_reward


@pytest.fixture
def run(tiny: Callable[..., CLIPReward], tmp_path: Path) -> tuple[Path, CLIPReward]:
    """A run's folder with a bundle of two dimensions and an odd transform."""
    model = tiny(dimensions=("overall", "fidelity"))
    save_bundle(tmp_path / "run" / "bundle", model)
    return tmp_path / "run", model


def test_towers_are_those_of_the_bundle_and_the_head_is_new(run: tuple[Path, CLIPReward]) -> None:
    folder, model = run
    for path in (folder, folder / "bundle"):
        built = build_clip_reward(architecture="auto", pretrained=str(path), dimensions=("a", "b", "c"))
        assert built.dimensions == ("a", "b", "c")
        mine, theirs = built.clip.state_dict(), model.clip.state_dict()
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
        assert built.transform == model.transform


def test_a_damaged_bundle_is_refused(run: tuple[Path, CLIPReward]) -> None:
    weights = run[0] / "bundle" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(CheckpointError, match="sha256"):
        build_clip_reward(architecture="auto", pretrained=str(run[0]))


def test_other_folders_are_no_bundles(tmp_path: Path) -> None:
    assert find_bundle(tmp_path) is None


def test_the_ways_to_resize_come_along(tiny: Callable[..., CLIPReward], tmp_path: Path) -> None:
    for resize in ("pad", "crop", "squash"):
        model = tiny()
        model.transform = replace(model.transform, resize=resize, mean=(0.1, 0.2, 0.3))
        save_bundle(tmp_path / resize, model)
        built = build_clip_reward(architecture="auto", pretrained=str(tmp_path / resize))
        assert built.transform == model.transform
        assert bundle_architecture(tmp_path / resize).image_size == 32
