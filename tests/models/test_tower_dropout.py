"""Patch dropout and stochastic depth of CLIP towers: in training alone, from the seed, refused where there is none."""

from __future__ import annotations

import filecmp
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_batches import small_batch
from torch import Tensor

import rewardkit
from rewardkit.errors import UserError
from rewardkit.models.architecture import build_towers, read_architecture
from rewardkit.models.bundle import save_bundle
from rewardkit.models.clip import CLIPReward

Build = Callable[..., CLIPReward]

RESNET = {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}}
EIGHT = {"vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}}


def timm(name: str, side: int = 160, **more: Any) -> dict[str, Any]:
    return {"vision_cfg": {"timm_model_name": name, "image_size": side, **more}}


def scores(model: CLIPReward, seed: int) -> Tensor:
    torch.manual_seed(0)
    side = model.transform.size
    pixels = torch.randint(0, 256, (8, 3, side, side), dtype=torch.uint8)
    batch = replace(small_batch(), pixels=pixels, tokens=model.tokenizer(["a cat", "two dogs"]), image_features=None)
    torch.manual_seed(seed)
    result: Tensor = model(batch).scores.detach()
    return result


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (EIGHT, {"patch_dropout": 0.5}),
        (timm("test_vit"), {"patch_dropout": 0.5}),
        (timm("test_vit"), {"drop_path": 0.5}),
        (timm("test_convnext"), {"drop_path": 0.5}),
        (timm("test_vit"), {"patch_dropout": 0.5, "drop_path": 0.5}),
    ],
    ids=str,
)
def test_on_in_training_off_otherwise(tiny: Build, config: dict[str, Any], options: dict[str, float]) -> None:
    plain, dropping = tiny(config=config), tiny(config=config, **options)
    assert plain.state_dict().keys() == dropping.state_dict().keys()
    dropping.load_state_dict(plain.state_dict())
    assert torch.equal(scores(plain, 0), scores(dropping, 1)), "in eval mode there is none"
    dropping.train()
    first, again, other = scores(dropping, 0), scores(dropping, 0), scores(dropping, 1)
    assert torch.equal(first, again), "torch's generator decides what is left out"
    assert (first - other).abs().max() > 1e-3 and (first - scores(plain, 0)).abs().max() > 1e-3
    dropping.eval()
    assert torch.equal(scores(plain, 0), scores(dropping, 2))


def test_half_of_the_patches_go_through_the_blocks(tiny: Build) -> None:
    model = tiny(config=EIGHT, patch_dropout=0.5).train()
    seen: list[int] = []
    model.clip.visual.transformer.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    scores(model, 0), scores(model.eval(), 0)
    assert seen == [1 + 8, 1 + 16]


def test_a_bundle_does_not_know_of_it(tiny: Build, tmp_path: Path) -> None:
    plain, dropping = tiny(config=EIGHT), tiny(config=EIGHT, patch_dropout=0.5)
    assert dropping.architecture == plain.architecture
    for name, model in (("plain", plain), ("dropping", dropping.train())):
        save_bundle(tmp_path / name, model)
    for file in ("bundle.json", "model.safetensors"):
        assert filecmp.cmp(tmp_path / "plain" / file, tmp_path / "dropping" / file, shallow=False), file
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    loaded = [rewardkit.load(tmp_path / name).score(images, "a cat") for name in ("plain", "dropping")]
    assert torch.equal(*loaded)


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        (RESNET, {"patch_dropout": 0.5}, "model.patch_dropout=0.5: .*cannot leave patches out.*null"),
        (timm("test_convnext"), {"patch_dropout": 0.5}, "cannot leave patches out"),
        (timm("test_resnet"), {"patch_dropout": 0.5}, "cannot leave patches out"),
        (EIGHT, {"drop_path": 0.1}, "model.drop_path=0.1: .*no stochastic depth.*timm"),
        (RESNET, {"drop_path": 0.1}, "no stochastic depth"),
        (timm("vgg11", 32), {"drop_path": 0.1}, "no stochastic depth"),
        (EIGHT, {"patch_dropout": 1.0}, "from 0 up to below 1"),
    ],
    ids=str,
)
def test_a_tower_that_has_none_is_refused(config: dict[str, Any], options: dict[str, float], said: str) -> None:
    text = {"context_length": 8, "vocab_size": 100, "width": 16, "heads": 2, "layers": 1}
    architecture = read_architecture({"embed_dim": 16, "text_cfg": text, **config})
    with torch.device("meta"), pytest.raises(UserError, match=said):
        build_towers(architecture, tower_weights=False, **options)
    with torch.device("meta"):
        build_towers(architecture, tower_weights=False, **dict.fromkeys(options, 0.0))


def test_what_an_architecture_says_itself_holds_until_it_is_overruled(tiny: Build) -> None:
    said = {"vision_cfg": {**EIGHT["vision_cfg"], "patch_dropout": 0.5}}
    assert tiny(config=said).clip.visual.patch_dropout.prob == 0.5
    overruled = tiny(config=said, patch_dropout=0.0).train()
    assert torch.equal(scores(overruled, 0), scores(overruled, 1))
    model = tiny(config=timm("test_convnext", timm_drop_path=0.5), drop_path=0.0).train()
    assert torch.equal(scores(model, 0), scores(model, 1))
