"""From the options of ``fit`` to the model. Options stop here: library code takes values."""

from __future__ import annotations

from pathlib import Path

import torch

from rewardkit.commands.build_mllm import build_evaluator
from rewardkit.config.recipes import beside_recipe
from rewardkit.config.schema import FitOptions
from rewardkit.data.images import ImageTransform
from rewardkit.models.architecture import image_transform
from rewardkit.models.blip import BLIPReward, build_blip_reward
from rewardkit.models.blip_architecture import read_blip_architecture
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.feature_encoding import freeze_towers
from rewardkit.models.kinds import AnyReward
from rewardkit.models.pretrained_folder import find_architecture


def build_model(options: FitOptions, *, weights: bool = True) -> AnyReward:
    """The reward, with the weights that the options name; random ones are drawn from the seed.

    Args:
        options: All options of ``fit``.
        weights: False leaves all weights random, those too that the options name: the shape of a CLIP or BLIP alone.
    """
    torch.manual_seed(options.seed)
    if options.model.kind == "mllm":
        assert weights, "an evaluator's shape is not to be had without its base"
        return build_evaluator(options)
    return _blip(options, weights) if options.model.kind == "blip" else _clip(options, weights)


def _blip(options: FitOptions, weights: bool) -> BLIPReward:
    model, blip, transform = options.model, options.model.blip, options.transform
    file = beside_recipe(model.architecture, options.recipe) if model.architecture.endswith(".json") else None
    architecture = read_blip_architecture(file or Path(model.architecture), image_size=transform.size)
    return build_blip_reward(
        architecture=architecture,
        pretrained=model.pretrained if weights else None,
        dimensions=model.dimensions,
        text_length=blip.text_length,
        tokenizer=blip.tokenizer,
        head=blip.head,  # type: ignore[arg-type]
        head_init=blip.head_init,  # type: ignore[arg-type]
        head_dropout=blip.head_dropout,
        overall=model.overall,
        overall_gradient=model.overall_gradient,
        drop_path=blip.drop_path,
        transform=ImageTransform(
            size=architecture.image_size,
            resize=transform.resize or "crop",  # type: ignore[arg-type]
            interpolation=transform.interpolation or "bicubic",  # type: ignore[arg-type]
            antialias=transform.antialias,
            decode=transform.decode,  # type: ignore[arg-type]
        ),
        output=model.output or "logit",  # type: ignore[arg-type]
        mean=blip.reward_mean,
        std=blip.reward_std,
        unlocked_image_groups=model.unlocked_image_groups,
        unlocked_text_layers=model.unlocked_text_layers,
        gradient_checkpointing=model.gradient_checkpointing,
    )


def _clip(options: FitOptions, weights: bool) -> CLIPReward:
    model, transform = options.model, options.transform
    file = beside_recipe(model.architecture, options.recipe) if model.architecture.endswith(".json") else None
    architecture = find_architecture(file or Path(model.architecture), model.pretrained, image_size=transform.size)
    reward = build_clip_reward(
        architecture=architecture,
        pretrained=model.pretrained if weights else None,
        tower_weights=weights,
        dimensions=model.dimensions,
        head=model.head,
        overall=model.overall,
        overall_gradient=model.overall_gradient,
        gate_width=model.gate_width,
        uncertainty=model.uncertainty,
        transform=image_transform(
            architecture,
            model.pretrained,
            resize=transform.resize,  # type: ignore[arg-type]
            interpolation=transform.interpolation,  # type: ignore[arg-type]
            antialias=transform.antialias,
            decode=transform.decode,  # type: ignore[arg-type]
        ),
        output=model.output or "cosine",  # type: ignore[arg-type]
        unlocked_image_groups=model.unlocked_image_groups,
        unlocked_text_layers=model.unlocked_text_layers,
        gradient_checkpointing=model.gradient_checkpointing,
        patch_dropout=model.patch_dropout,
        drop_path=model.drop_path,
    )
    if options.data.features:
        freeze_towers(reward)
    return reward
