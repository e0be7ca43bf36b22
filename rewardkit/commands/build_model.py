"""From the options of ``fit`` to the model. Options stop here: library code takes values."""

from __future__ import annotations

from pathlib import Path

import torch

from rewardkit.config.recipes import beside_recipe
from rewardkit.config.schema import FitOptions
from rewardkit.models.architecture import image_transform, read_architecture
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.feature_encoding import freeze_towers


def build_model(options: FitOptions) -> CLIPReward:
    """The reward, with the weights that the options name; random ones are drawn from the seed."""
    torch.manual_seed(options.seed)
    model, transform = options.model, options.transform
    file = beside_recipe(model.architecture, options.recipe) if model.architecture.endswith(".json") else None
    architecture = read_architecture(file or Path(model.architecture), image_size=transform.size)
    reward = build_clip_reward(
        architecture=architecture,
        pretrained=model.pretrained,
        dimensions=model.dimensions,
        head=model.head,
        transform=image_transform(
            architecture,
            model.pretrained,
            resize=transform.resize,  # type: ignore[arg-type]
            interpolation=transform.interpolation,  # type: ignore[arg-type]
            antialias=transform.antialias,
            decode=transform.decode,  # type: ignore[arg-type]
        ),
        output=model.output,  # type: ignore[arg-type]
        unlocked_image_groups=model.unlocked_image_groups,
        unlocked_text_layers=model.unlocked_text_layers,
        gradient_checkpointing=model.gradient_checkpointing,
    )
    if options.data.features:
        freeze_towers(reward)
    return reward
