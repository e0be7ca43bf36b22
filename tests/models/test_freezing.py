"""Freezing: HPS v2's counts on the real architecture, the golden names, and every parameter in exactly one group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn

from rewardkit.errors import UserError
from rewardkit.models.architecture import build_towers, read_architecture
from rewardkit.models.clip import CLIPReward
from rewardkit.models.freezing import freeze, layer_groups

Build = Callable[..., CLIPReward]


def trainable(module: nn.Module, prefix: str = "") -> int:
    return sum(p.numel() for name, p in module.named_parameters() if p.requires_grad and name.startswith(prefix))


def test_hps_v2_on_vit_h_14() -> None:
    with torch.device("meta"):
        towers = build_towers(read_architecture("ViT-H-14"), tower_weights=False)
    assert len(towers.state_dict()) == 686
    assert sum(p.numel() for p in towers.parameters()) == 986_109_441
    groups = layer_groups(towers)
    assert len(groups["image"]) == 34
    freeze(towers, image_groups=20, text_layers=11)
    assert trainable(towers) == 514_793_729
    assert trainable(towers, "visual.") == 375_184_640
    assert trainable(towers) - trainable(towers, "visual.") == 139_609_089
    frozen = {name for name, p in towers.named_parameters() if not p.requires_grad}
    assert "visual.transformer.resblocks.12.ln_1.weight" in frozen
    assert "visual.transformer.resblocks.13.ln_1.weight" not in frozen
    assert "transformer.resblocks.12.ln_1.weight" in frozen and "transformer.resblocks.13.ln_1.weight" not in frozen
    assert {"token_embedding.weight", "positional_embedding"} <= frozen
    assert not {"logit_scale", "ln_final.weight", "text_projection", "visual.proj"} & frozen


def towers_of(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_towers(read_architecture(name), tower_weights=False)


@pytest.mark.parametrize("name", ["ViT-B-32", "RN50", "ViT-B-16-SigLIP", "coca_base", "convnext_base", "ViTamin-S"])
def test_each_parameter_is_in_exactly_one_group(name: str) -> None:
    if "multimodal_cfg" in open_clip.get_model_config(name):
        with pytest.raises(UserError, match="CoCa"):
            towers_of(name)
        return
    towers = towers_of(name)
    groups = layer_groups(towers)
    grouped = [parameter for tower in groups.values() for group in tower for parameter in group.parameters]
    named = {name for name, _ in towers.named_parameters()} - {"logit_scale", "logit_bias"}
    assert sorted(grouped) == sorted(named)
    assert len({group.name for tower in groups.values() for group in tower}) == sum(map(len, groups.values()))


def test_groups_of_foreign_towers(foreign_towers: Path) -> None:
    towers = build_towers(read_architecture(foreign_towers), tower_weights=False)
    groups = layer_groups(towers)
    grouped = [parameter for tower in groups.values() for group in tower for parameter in group.parameters]
    assert sorted(grouped) == sorted({name for name, _ in towers.named_parameters()} - {"logit_scale"})
    freeze(towers, text_layers=1)
    assert towers.text.transformer.encoder.layer[1].output.dense.weight.requires_grad
    assert not towers.text.transformer.encoder.layer[0].output.dense.weight.requires_grad
    assert not towers.text.transformer.embeddings.word_embeddings.weight.requires_grad
    assert towers.visual.trunk.conv_stem.weight.requires_grad, "the other tower is left alone"
    freeze(towers, image_groups=1)
    assert not towers.visual.trunk.conv_stem.weight.requires_grad
    assert towers.visual.head.proj.weight.requires_grad and trainable(towers, "visual.trunk.") > 0


def test_more_groups_than_there_are_train_everything_but_the_embeddings(tiny: Build) -> None:
    model = tiny(unlocked_image_groups=99, unlocked_text_layers=99)
    frozen = {name for name, p in model.clip.named_parameters() if not p.requires_grad}
    assert frozen == {"token_embedding.weight", "positional_embedding"}


def test_head_and_scale_always_train(tiny: Build) -> None:
    model = tiny(dimensions=("a", "b"), unlocked_image_groups=0, unlocked_text_layers=0)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"clip.logit_scale", "head.image", "head.text"}


def test_a_resnet_freezes_by_stages(tiny: Build) -> None:
    resnet = {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}}
    model = tiny(config=resnet, unlocked_image_groups=2).train()
    trained = {name.split(".")[1] for name, p in model.clip.visual.named_parameters(prefix="v") if p.requires_grad}
    assert trained == {"layer4", "attnpool"}
    assert not model.clip.visual.bn1.training and not model.clip.visual.layer3[0].bn1.training
    assert model.clip.visual.layer4[0].bn1.training


def test_unknown_towers_and_negative_numbers(tiny: Build) -> None:
    model = tiny()
    model.clip.visual = nn.Conv2d(3, 3, 1)
    with pytest.raises(UserError, match=r"this image tower .*Conv2d.* model.unlocked_image_groups at null"):
        freeze(model.clip, image_groups=1)
    with pytest.raises(UserError, match="-1 groups cannot train"):
        tiny(unlocked_text_layers=-1)
