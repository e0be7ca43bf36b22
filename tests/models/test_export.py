"""Exports: open_clip and transformers give the reward's own cosines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from rewardkit.data.images import ImageTransform
from rewardkit.errors import UserError
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.export import export_open_clip, export_transformers
from rewardkit.models.transformers_clip import processor_config

Build = Callable[..., CLIPReward]
PROMPTS = ["a cat", "two dogs' on a Table, 4k", "don't!!  stop"]


def cosines(model: CLIPReward, pixels: torch.Tensor, prompts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        group = torch.arange(len(prompts))
        return model.cosines(model.encode_pixels(pixels), model.encode_prompts(prompts), group)


def check_open_clip(folder: Path, pixels: torch.Tensor, prompts: list[str], wanted: torch.Tensor) -> None:
    towers, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        found = F.cosine_similarity(towers.eval().encode_image(pixels), towers.encode_text(tokenizer(prompts)))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert transform is not None


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"quick_gelu": True},
        {"custom_text": True},
        {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}},
    ],
    ids=str,
)
@pytest.mark.parametrize("dimensions", [("overall",), ("a", "b")])
def test_open_clip_gives_the_same_cosines(tiny: Build, tmp_path: Path, config: dict, dimensions: tuple) -> None:
    model = tiny(config=config, dimensions=dimensions)
    pixels = torch.randn(3, 3, model.transform.size, model.transform.size)
    places = export_open_clip(tmp_path / "out", model)
    wanted = cosines(model, pixels, PROMPTS)
    for d, name in enumerate(dimensions):
        assert places[name] == (tmp_path / "out" if len(dimensions) == 1 else tmp_path / "out" / name)
        check_open_clip(places[name], pixels, PROMPTS, wanted[:, d])


def test_open_clip_takes_foreign_towers(foreign_towers: Path, tmp_path: Path) -> None:
    model = build_clip_reward(architecture=foreign_towers, dimensions=("a", "b")).eval()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    places = export_open_clip(tmp_path / "out", model)
    prompts, pixels = ["a cat", "a photo of two dog"], torch.randn(2, 3, 64, 64)
    check_open_clip(places["b"], pixels, prompts, cosines(model, pixels, prompts)[:, 1])


@pytest.mark.parametrize("config", [{}, {"quick_gelu": True, "custom_text": True}], ids=str)
@pytest.mark.parametrize("dimensions", [("overall",), ("a", "b")])
def test_transformers_gives_the_same_cosines(tiny: Build, tmp_path: Path, config: dict, dimensions: tuple) -> None:
    model = tiny(config=config, dimensions=dimensions)
    pixels = torch.randn(3, 3, 32, 32)
    wanted = cosines(model, pixels, PROMPTS)
    for d, folder in enumerate(export_transformers(tmp_path / "out", model).values()):
        theirs = CLIPModel.from_pretrained(folder).eval()
        tokens = CLIPTokenizer.from_pretrained(folder)(PROMPTS, padding=True, return_tensors="pt")
        with torch.no_grad():
            output = theirs(**tokens, pixel_values=pixels)
        found = F.cosine_similarity(output.image_embeds, output.text_embeds)
        torch.testing.assert_close(found, wanted[:, d], rtol=1e-4, atol=1e-5)
        assert theirs.logit_scale.item() == pytest.approx(model.logit_scale.item())
        assert CLIPImageProcessor.from_pretrained(folder).crop_size["height"] == 32


def test_tokens_of_transformers_are_ours(tiny: Build, tmp_path: Path) -> None:
    model = tiny()
    folder = export_transformers(tmp_path / "out", model)["overall"]
    theirs = CLIPTokenizer.from_pretrained(folder)
    for text in ["a cat", "An Oil-painting of 12 ships; 4K!!", "it's she'll", "naïve façade", "日本語 text", "a" * 400]:
        ours = model.tokenizer([text])[0]
        end = int(ours.argmax()) + 1
        assert theirs(text, truncation=True)["input_ids"] == ours[:end].tolist()


VIT = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}}, "ModifiedResNet"),
        ({"vision_cfg": {**VIT, "ls_init_value": 0.1}}, "layer scales"),
        ({"vision_cfg": {**VIT, "pool_type": "avg"}}, "class token"),
        ({"custom_text": True, "text_cfg": {"width": 16, "heads": 2, "layers": 1, "no_causal_mask": True}}, "causal"),
    ],
)
def test_what_transformers_cannot_express(tiny: Build, tmp_path: Path, config: dict, said: str) -> None:
    with pytest.raises(UserError, match=f"cannot express .*{said}"):
        export_transformers(tmp_path / "out", tiny(config=config))
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_overwritten(tiny: Build, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        export_open_clip(tmp_path, tiny())


def test_towers_without_a_projection_cannot_take_a_head(tiny: Build, tmp_path: Path) -> None:
    text = {"width": 16, "heads": 2, "layers": 1, "proj_type": "none"}
    model = tiny(config={"custom_text": True, "text_cfg": text}, dimensions=("a", "b"))
    with pytest.raises(UserError, match="text tower ends without a linear projection"):
        export_open_clip(tmp_path / "out", model)


def test_processor_of_each_resize() -> None:
    assert processor_config(ImageTransform(size=32, resize="crop"))["size"] == {"shortest_edge": 32}
    assert processor_config(ImageTransform(size=32, resize="squash"))["size"] == {"height": 32, "width": 32}
    assert processor_config(ImageTransform(size=32, resize="pad"))["do_resize"] is False
