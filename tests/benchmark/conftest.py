"""What the tests of the benchmark share: three tiny rewards, two on one tower, and folders of small pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

STYLES = ("anime", "concept-art", "paintings", "photo")


@pytest.fixture(scope="session")
def rewards(tmp_path_factory: pytest.TempPathFactory, tiny_tower: Path) -> dict[str, Path]:
    """``a`` and ``b`` (two dimensions, ``overall`` second) on one tower, ``c`` on another."""
    from rewardkit.models.clip import build_clip_reward
    from rewardkit.models.save import save_reward

    root = tmp_path_factory.mktemp("rewards")
    torch.manual_seed(0)
    a = build_clip_reward(architecture=tiny_tower)
    b = build_clip_reward(architecture=tiny_tower, dimensions=("aesthetic", "overall"))
    b.clip.load_state_dict(a.clip.state_dict())
    with torch.no_grad():
        for parameter in b.head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    torch.manual_seed(1)
    c = build_clip_reward(architecture=tiny_tower)
    for name, model in (("a", a), ("b", b), ("c", c)):
        save_reward(root / name / "bundle", model)
    return {name: root / name for name in "abc"}


@pytest.fixture
def draw() -> Callable[..., Path]:
    """Draws a picture of its own for each seed; sizes differ."""

    def one(path: Path, seed: int) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(seed)
        height, width = generator.integers(20, 50, 2)
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path, quality=95)
        return path

    return one


@pytest.fixture
def hpsv2(tmp_path: Path, draw: Callable[..., Path]) -> tuple[Path, Path]:
    """Lists of 3 prompts of each style, and images of two generators in the published layout."""
    prompts, images = tmp_path / "prompts", tmp_path / "images"
    prompts.mkdir()
    for s, style in enumerate(STYLES):
        (prompts / f"{style}.json").write_text(json.dumps([f"a {style} of thing {n}" for n in range(3)]))
        for g, generator in enumerate(("sd", "xl")):
            for n in range(3):
                draw(images / generator / style / f"{n:05d}.jpg", 100 * g + 10 * s + n)
    return prompts, images
