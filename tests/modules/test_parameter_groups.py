"""Every trainable parameter is in one group; the published sets of decayed and undecayed tensors."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import nn

from rewardkit.models.freezing import freeze
from rewardkit.modules.parameter_groups import is_decayed, parameter_groups


def test_published_counts_of_hpsv2() -> None:
    with torch.device("meta"):
        towers = open_clip.CLIP(**open_clip.get_model_config("ViT-H-14"))
    freeze(towers, image_groups=20, text_layers=11)
    groups = {g["name"]: g for g in parameter_groups(towers.named_parameters(), lr=1.0, head_lr=1.0, weight_decay=0.35)}
    assert len(groups["towers/decayed"]["params"]) == 122
    assert len(groups["towers/undecayed"]["params"]) == 245


@pytest.mark.parametrize(
    ("name", "shape", "decayed"),
    [
        ("visual.proj", (2, 2), True),
        ("visual.positional_embedding", (2, 2), True),
        ("visual.ln_pre.weight", (2,), False),
        ("text.transformer.encoder.layer.0.attention.output.LayerNorm.weight", (2,), False),
        ("visual.trunk.bn1.weight", (2, 2), False),
        ("visual.kernel.weight", (2, 2), True),
        ("logit_scale", (1,), False),
        ("x.in_proj_bias", (2, 2), False),
    ],
)
def test_decay(name: str, shape: tuple[int, ...], decayed: bool) -> None:
    assert is_decayed(name, nn.Parameter(torch.zeros(shape))) is decayed


def test_heads_have_their_own_rate_and_frozen_ones_are_left_out() -> None:
    frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    named = [
        ("clip.w", nn.Parameter(torch.zeros(2, 2))),
        ("head.image", nn.Parameter(torch.zeros(2, 2))),
        ("f", frozen),
    ]
    groups = parameter_groups(named, lr=1.0, head_lr=3.0, weight_decay=0.1)
    assert [(g["name"], g["lr"], len(g["params"])) for g in groups] == [
        ("towers/decayed", 1.0, 1),
        ("heads/decayed", 3.0, 1),
    ]
