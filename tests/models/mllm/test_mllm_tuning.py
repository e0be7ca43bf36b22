"""What trains: adapters in the language layers alone, parts that are frozen, groups for the optimiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_mllm import picture, questions

from rewardkit.data.question_labels import Answered
from rewardkit.errors import UserError
from rewardkit.models.mllm.groups import HEADS, mllm_layer_groups, part_factors
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.tuning import LoraOptions, merged_state, tune
from rewardkit.modules.parameter_groups import parameter_groups

VISION = ("visual.", "vision_tower.", "vision_model.")


def trained(evaluator: MLLMReward) -> set[str]:
    return {name for name, parameter in evaluator.named_parameters() if parameter.requires_grad}


def step(evaluator: MLLMReward, optimiser: torch.optim.Optimizer) -> None:
    rows = QuestionRows(evaluator.processor, questions(), evaluator.dimensions)
    batch = rows.collate([rows.read(picture(1), "a cat", {key: Answered(said=1) for key in ("body", "Hand")})])
    out = evaluator(batch)
    loss = torch.nn.functional.cross_entropy(out.answer_logits, batch.answer_token)
    (loss + (out.ordinal - 1).square().sum() + (out.regression - 1).square().sum()).backward()
    optimiser.step()
    optimiser.zero_grad()


def test_adapters_sit_in_the_language_layers_alone(evaluator: MLLMReward) -> None:
    everything = {name for name, module in evaluator.base.named_modules() if isinstance(module, torch.nn.Linear)}
    matched = tune(evaluator, language="lora", projector="frozen")
    text = evaluator.base.config.get_text_config()
    assert len(matched) == 7 * text.num_hidden_layers
    assert set(matched) < everything and any(name.removeprefix("model.").startswith(VISION) for name in everything)
    assert not any(name.removeprefix("model.").startswith(VISION) for name in matched)
    assert all(".lora_" in name for name in trained(evaluator) if not name.startswith(HEADS))
    assert {name for name in trained(evaluator) if name.startswith(HEADS)} == {
        "score_token.row",
        *(f"head.{kind}.{part}" for kind in ("ordinal", "regression") for part in ("weight", "bias")),
    }


def test_each_trained_tensor_moves_and_no_other(evaluator: MLLMReward) -> None:
    torch.manual_seed(0)
    tune(evaluator, language="lora", projector="full")
    evaluator.train()
    before = {name: parameter.detach().clone() for name, parameter in evaluator.named_parameters()}
    optimiser = torch.optim.AdamW([p for p in evaluator.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(2):  # an adapter's first factor has no gradient while the second is 0
        step(evaluator, optimiser)
    moved = {name for name, parameter in evaluator.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == trained(evaluator)


def test_fresh_adapters_change_nothing_and_merged_weights_say_the_same(evaluator: MLLMReward) -> None:
    rows = QuestionRows(evaluator.processor, questions(), evaluator.dimensions)
    batch = rows.collate([rows.read(picture(1), "a cat", [questions()["face"]])])
    with torch.no_grad():
        plain = evaluator(batch).option_logits
        names = set(evaluator.base.state_dict())
        tune(evaluator, language="lora")
        assert torch.equal(evaluator(batch).option_logits, plain)
        for name, parameter in evaluator.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.05)
        adapted = evaluator(batch).option_logits
        assert (adapted - plain).abs().max() > 1e-3
        state = merged_state(evaluator.base)
        assert set(state) == names
        other = MLLMReward(type(evaluator.base)(evaluator.base.config), evaluator.processor, evaluator.dimensions)
        other.base.load_state_dict(state)
        other.score_token.load_state_dict(evaluator.score_token.state_dict())
        torch.testing.assert_close(other.eval()(batch).option_logits, adapted, rtol=0, atol=1e-4)
        assert torch.equal(evaluator(batch).option_logits, adapted), "merging left the model as it was"


@pytest.mark.parametrize("vision", ["frozen", "full"])
@pytest.mark.parametrize("projector", ["frozen", "full"])
@pytest.mark.parametrize("language", ["frozen", "full"])
def test_parts_train_each_for_itself(evaluator: MLLMReward, language: Any, projector: Any, vision: Any) -> None:
    assert tune(evaluator, language=language, projector=projector, vision=vision) == ()
    groups = mllm_layer_groups(evaluator)
    for tower, members in groups.items():
        for group in members:
            how = language if tower == "text" else projector if group.name == "image.projection" else vision
            assert all(evaluator.get_parameter(n).requires_grad == (how == "full") for n in group.parameters)
    assert all(parameter.requires_grad for parameter in evaluator.head.parameters())


def test_every_parameter_of_the_base_is_in_one_group(evaluator: MLLMReward) -> None:
    for adapters in (False, True):
        if adapters:  # they are in the groups of their blocks
            tune(evaluator, language="lora")
        groups = mllm_layer_groups(evaluator)
        members = [name for tower in groups.values() for group in tower for name in group.parameters]
        base = [name for name, _ in evaluator.named_parameters() if not name.startswith(HEADS)]
        assert sorted(members) == sorted(base) and len(set(members)) == len(members)
        names = [group.name for tower in groups.values() for group in tower]
        assert names[0] == "image.stem" and "image.projection" in names and "image.block.1" in names
        assert "text.embeddings" in names and "text.block.1" in names and names[-1] == "text.head"
        vision = [n for group in groups["image"] if group.name != "image.projection" for n in group.parameters]
        assert all(name.removeprefix("base.model.").startswith(VISION) for name in vision)


def test_each_part_has_its_own_rate(evaluator: MLLMReward) -> None:
    tune(evaluator, language="lora", vision="full", projector="full")
    groups = mllm_layer_groups(evaluator)
    found = parameter_groups(
        list(evaluator.named_parameters()),
        lr=1e-3,
        head_lr=1e-2,
        weight_decay=0.1,
        head_prefixes=HEADS,
        factors=part_factors(groups, vision=0.1, projector=0.5),
        layers={name: group.name for tower in groups.values() for group in tower for name in group.parameters},
    )
    rate = {id(parameter): group["lr"] for group in found for parameter in group["params"]}
    for name, parameter in evaluator.named_parameters():
        if parameter.requires_grad:
            part = name.removeprefix("base.model.")
            projection = any(word in part for word in ("merger", "projector", "connector", "image_newline"))
            expected = 1e-3 if ".lora_" in name else 5e-4 if projection else 1e-4 if part.startswith(VISION) else 1e-2
            assert rate[id(parameter)] == pytest.approx(expected), name


def test_wrong_words_are_told(evaluator: MLLMReward) -> None:
    with pytest.raises(UserError, match="language='half' is not one of full, lora, frozen"):
        tune(evaluator, language="half")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"fits none of mlp\.down_proj, .*self_attn\.q_proj"):
        tune(evaluator, language="lora", lora=LoraOptions(layers="qkv"))
    with pytest.raises(UserError, match="no regular expression"):
        tune(evaluator, language="lora", lora=LoraOptions(layers="("))
    tune(evaluator, language="lora")
    with pytest.raises(UserError, match="has adapters already"):
        tune(evaluator, language="lora")
