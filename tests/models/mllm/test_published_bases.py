"""Bases from folders: what is missing is told, and budgets of pixels reach the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.mllm.published import find_base, pixel_budget, read_base, set_pixel_budget


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder with a config\.json"):
        find_base(str(tmp_path / "nowhere"))


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="cannot be read as an image-text-to-text model"):
        read_base(find_base(str(tmp_path)))


def test_weights_that_are_missing_are_named(qwen: tuple[Any, Any], tmp_path: Path) -> None:
    base, processor = qwen
    base.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(name for name in tensors if name.endswith("layers.0.mlp.up_proj.weight")))
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp\.up_proj\.weight missing"):
        read_base(tmp_path)


def test_a_budget_of_pixels_decides_how_many_tokens_an_image_has(qwen: tuple[Any, Any]) -> None:
    from PIL import Image

    _, processor = qwen
    large = Image.new("RGB", (512, 512))
    tokens = {}
    for most in (4, 9):
        set_pixel_budget(processor, most=most * 28 * 28)
        grid = processor.image_processor(images=[large], return_tensors="pt")["image_grid_thw"]
        tokens[most] = int(grid.prod()) // 4
        assert pixel_budget(processor) == (28 * 28, most * 28 * 28)
    assert tokens == {4: 4, 9: 9}
    with pytest.raises(UserError, match="the first may not be above the second"):
        set_pixel_budget(processor, fewest=28 * 28 * 10, most=28 * 28 * 4)


def test_a_processor_without_a_budget_says_so() -> None:
    from tiny_mllm import llava_next

    _, processor = llava_next()
    assert pixel_budget(processor) is None
    set_pixel_budget(processor)
    with pytest.raises(UserError, match="has no budget of pixels"):
        set_pixel_budget(processor, most=784)
