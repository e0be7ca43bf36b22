"""Optimiser groups of whole rewards and their objectives: each trained tensor in one, at the documented rate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import TINY_BLIP, TINY_TOWER
from torch import nn

from rewardkit.models.architecture import read_architecture
from rewardkit.models.blip import build_blip_reward
from rewardkit.models.blip_architecture import read_blip_architecture
from rewardkit.models.clip import build_clip_reward
from rewardkit.models.freezing import groups_of_model
from rewardkit.modules.optimisation import Optimisation
from rewardkit.modules.pairwise_clip_reward import PairwiseCLIPReward
from rewardkit.modules.parameter_groups import is_decayed, model_parameter_groups
from rewardkit.objectives.ordinal import OrdinalObjective
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.pointwise import RatingObjective
from rewardkit.objectives.ties import Davidson, RaoKupper
from rewardkit.objectives.weighted import WeightedObjective

LR, HEAD_LR, WEIGHT_DECAY = 1e-3, 5e-3, 0.3
DIMENSIONS = ("overall", "a", "b")
TEXT = TINY_TOWER["text_cfg"]
VISION: dict[str, dict[str, Any]] = {
    "vit": TINY_TOWER["vision_cfg"],  # type: ignore[dict-item]
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "timm_vit": {"timm_model_name": "test_vit", "image_size": 160},
    "timm_convnext": {"timm_model_name": "test_convnext", "image_size": 64},
}


@pytest.fixture
def bert(tmp_path: Path) -> dict[str, Any]:
    """The text_cfg of a transformers tower in a local folder."""
    from transformers import BertConfig, BertModel, BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat"]))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=6, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    pooling = {"hf_pooler_type": "mean_pooler", "hf_proj_type": "linear", "context_length": 32}
    return {"hf_model_name": str(tmp_path), **pooling}


def a_reward(kind: str, bert: dict[str, Any], **options: Any) -> nn.Module:
    torch.manual_seed(0)
    if kind == "blip":
        options = {k: v for k, v in options.items() if k != "head" and k != "uncertainty"}
        options["overall"] = "combination" if options.get("overall") == "gate" else options.get("overall", "learned")
        return build_blip_reward(
            architecture=read_blip_architecture(_written(TINY_BLIP, bert)), dimensions=DIMENSIONS, **options
        )
    config = {
        "embed_dim": 16,
        "vision_cfg": dict(VISION.get(kind, VISION["vit"])),
        "text_cfg": bert if kind == "transformers_text" else dict(TEXT),  # type: ignore[call-overload]
    }
    return build_clip_reward(architecture=read_architecture(config), dimensions=DIMENSIONS, **options)


def _written(config: dict[str, Any], bert: dict[str, Any]) -> Path:
    path = Path(bert["hf_model_name"]) / "blip.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def an_objective() -> WeightedObjective:
    """All objectives that have parameters of their own."""
    return WeightedObjective(
        {
            "rao_kupper": PairwiseObjective(DIMENSIONS, RaoKupper(DIMENSIONS, learned=True)),
            "davidson": PairwiseObjective(DIMENSIONS, Davidson(DIMENSIONS, learned=True)),
            "huber": RatingObjective(DIMENSIONS, "huber"),
            "ordinal": OrdinalObjective(DIMENSIONS, dict.fromkeys(DIMENSIONS, 5)),
        }
    )


KINDS = ("vit", "resnet", "timm_vit", "timm_convnext", "transformers_text", "blip")
HEADS: tuple[dict[str, Any], ...] = (
    {"head": "projection"},
    {"head": "text_query", "uncertainty": True},
    {"head": "projection", "overall": "gate", "uncertainty": True},
    {"head": "text_query", "overall": "combination"},
)


@pytest.mark.parametrize("decay", [1.0, 0.7])
@pytest.mark.parametrize("kind", KINDS)
def test_each_tensor_has_one_group_and_its_rate(kind: str, decay: float, bert: dict[str, Any]) -> None:
    for head in HEADS:
        model, objective = a_reward(kind, bert, **head), an_objective()
        groups = model_parameter_groups(
            model, objective, lr=LR, head_lr=HEAD_LR, weight_decay=WEIGHT_DECAY, layer_decay=decay
        )
        found = {id(p): group for group in groups for p in group["params"]}
        assert sum(len(group["params"]) for group in groups) == len(found), "none is in two"
        named = [*model.named_parameters(), *((f"objective.{n}", p) for n, p in objective.named_parameters())]
        assert {id(p) for _, p in named if p.requires_grad} == set(found), "and each is in one"
        expected = documented_factors(model, decay)
        assert kind == "blip" or any(name.startswith("head.") for name, _ in named)
        for name, parameter in named:
            if not parameter.requires_grad:
                continue
            rate, own = (LR * expected[name], False) if name in expected else (HEAD_LR, True)
            if name.endswith(("logit_scale", "logit_bias")):
                rate, own = LR, False
            group = found[id(parameter)]
            assert group["lr"] == pytest.approx(rate, rel=1e-12), name
            decayed = is_decayed(name, parameter) and not name.startswith("objective.")
            assert group["weight_decay"] == (WEIGHT_DECAY if decayed else 0.0), name
            assert own == group["name"].startswith(("heads", "objective")), (name, group["name"])
        learned = [p for n, p in named if n.startswith("objective.") and p.requires_grad]
        assert len(learned) >= 5 and all(found[id(p)]["name"] == "objective/undecayed" for p in learned)


def documented_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """Name of a tower's parameter to ``decay ** (L - 1 - i)``, as docs/optimisation.md has it."""
    factors = {}
    for tower in groups_of_model(model).values():
        assert len(tower) > 2
        for place, group in enumerate(tower):
            factors |= dict.fromkeys(group.parameters, decay ** (len(tower) - 1 - place))
    return factors


def test_rates_of_a_tower_of_two_blocks_by_hand(bert: dict[str, Any]) -> None:
    model = a_reward("vit", bert)
    groups = model_parameter_groups(
        model, an_objective(), lr=1.0, head_lr=2.0, weight_decay=WEIGHT_DECAY, layer_decay=0.5
    )
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, rate in (
        ("clip.visual.conv1.weight", 0.125),
        ("clip.visual.transformer.resblocks.0.ln_1.weight", 0.25),
        ("clip.visual.transformer.resblocks.1.ln_1.weight", 0.5),
        ("clip.visual.proj", 1.0),
        ("clip.token_embedding.weight", 0.25),
        ("clip.transformer.resblocks.0.ln_1.weight", 0.5),
        ("clip.text_projection", 1.0),
        ("clip.logit_scale", 1.0),
        ("head.image", 2.0),
    ):
        assert rates[id(model.get_parameter(name))] == rate, name


@pytest.mark.parametrize("kind", ["vit", "blip"])
def test_frozen_tensors_are_in_none(kind: str, bert: dict[str, Any]) -> None:
    model = a_reward(kind, bert, unlocked_image_groups=1, unlocked_text_layers=1)
    module = PairwiseCLIPReward(
        model,
        an_objective(),
        Optimisation(total_steps=10, lr=LR, head_lr=HEAD_LR, warmup_steps=2, schedule="linear", layer_decay=0.7),
        coefficients={},
        seed=0,
    )
    optimizer = module.configure_optimizers()["optimizer"]
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in module.parameters() if p.requires_grad}
    assert any(not p.requires_grad for p in module.parameters())


def test_all_groups_follow_the_schedule_at_their_own_peak(bert: dict[str, Any]) -> None:
    module = PairwiseCLIPReward(
        a_reward("vit", bert),
        an_objective(),
        Optimisation(total_steps=10, lr=LR, head_lr=HEAD_LR, warmup_steps=2, schedule="linear", layer_decay=0.5),
        coefficients={},
        seed=0,
    )
    configured = module.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    peaks = [group["initial_lr"] for group in optimizer.param_groups]
    assert len(set(peaks)) > 3
    for factor in (0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0):
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([factor * peak for peak in peaks])
        optimizer.step()
        scheduler.step()
