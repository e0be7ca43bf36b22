"""What is gathered layer by layer, and what is not, in every kind of model that trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_mllm
from torch import nn

from rewardkit.engine.layers import between_layers, layers_of
from rewardkit.models.clip import build_clip_reward


def test_layers_of_a_clip_are_its_blocks_and_a_few_parameters_stand_between(tiny_tower: Path) -> None:
    model = build_clip_reward(architecture=tiny_tower, dimensions=["a", "b"])
    assert [type(layer).__name__ for layer in layers_of(model)] == ["ResidualAttentionBlock"] * 4
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(p)] for p in between_layers(model)}
    assert {"clip.positional_embedding", "clip.text_projection", "clip.logit_scale"} <= found
    assert "clip.visual.class_embedding" in found
    assert not any("resblocks" in name or name == "clip.token_embedding.weight" for name in found)


@pytest.mark.parametrize("family", tiny_mllm.FAMILIES)
def test_layers_of_an_evaluator_hold_nearly_all_of_it(family: str) -> None:
    base, _ = tiny_mllm.FAMILIES[family]()
    layers = layers_of(base)
    inside = sum(p.numel() for layer in layers for p in layer.parameters())
    embeddings = sum(p.numel() for m in base.modules() if isinstance(m, nn.Embedding) for p in m.parameters())
    head = base.lm_head.weight.numel()
    assert len(layers) >= 4 and inside > 0.6 * (sum(p.numel() for p in base.parameters()) - embeddings - head)


def test_a_list_inside_a_layer_does_not_cut_it() -> None:
    inner = nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])
    layer = nn.Sequential(inner)
    outer = nn.ModuleList([layer, nn.Dropout()])
    assert layers_of(nn.Sequential(outer)) == [layer], "a part without parameters is no layer"
