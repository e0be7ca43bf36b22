"""A reward in the forms that trainers of generators ask for. None of those libraries is imported here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewardkit.errors import UserError
from rewardkit.models.pictures import Picture
from rewardkit.rewards.reward import Reward

Metadata = dict[str, Any]


def ddpo_reward(reward: Reward) -> Callable[..., tuple[Tensor, Metadata]]:
    """For TRL's ``DDPOTrainer``, ddpo-pytorch and Flow-GRPO: ``f(images, prompts, metadata) -> rewards, metadata``.

    ::

        trainer = DDPOTrainer(config, ddpo_reward(reward), prompt_function, pipeline)

    Images are a tensor ``[N, 3, H, W]`` in [0, 1], a list of pictures, or an array uint8 ``[N, H, W, 3]``. Rewards are
    ``[N]`` without gradient; the metadata of the answer are the members' rewards and their spread.
    """

    def score(images: Any, prompts: Sequence[str], metadata: Any = None) -> tuple[Tensor, Metadata]:
        judged = reward.judge(_pictures(images), list(prompts), gradient=False)
        return judged.total, {"members": judged.members, "spread": judged.spread}

    return score


def alignprop_reward(reward: Reward) -> Callable[..., tuple[Tensor, Metadata]]:
    """For TRL's ``AlignPropTrainer``: the same call, with rewards that have a gradient in the images.

    That trainer minimises 10 - mean(reward); the constant does not matter.

    Raises:
        UserError: A member has no gradient.
    """
    if not reward.differentiable:
        raise UserError("AlignProp follows the reward's gradient, and a member of this reward has none (an evaluator)")

    def score(images: Tensor, prompts: Sequence[str], metadata: Any = None) -> tuple[Tensor, Metadata]:
        return reward(images, list(prompts)), {}

    return score


def grpo_reward(reward: Reward, *, name: str = "rewardkit") -> Callable[..., list[float]]:
    """For trainers in the style of TRL's ``GRPOTrainer``: ``f(prompts, completions, **columns) -> list of floats``.

    The completions are images; the trainer makes advantages within the group of each prompt itself (elsewhere
    ``tuning_losses.group_advantages`` does). ``name`` is what the trainer logs the reward as.
    """

    def score(prompts: Sequence[str], completions: Any, **columns: Any) -> list[float]:
        numbers: list[float] = reward(_pictures(completions), list(prompts), gradient=False).tolist()
        return numbers

    score.__name__ = name
    return score


def reward_loss(
    reward: Reward,
    images: Tensor,
    prompts: str | Sequence[str],
    *,
    pixels: tuple[float, float] = (-1.0, 1.0),
) -> Tensor:
    """For training scripts of diffusers: a loss to add to others, -mean(reward), differentiable in the images.

    Args:
        reward: All its members have a gradient.
        images: ``[N, 3, H, W]``, of any floating type, as a VAE or a pixel-space model gives them; what lies outside
            the range is cut off and gets no gradient.
        prompts: One for all, or one for each.
        pixels: What black and white are: (-1, 1) as a VAE of diffusers decodes, or (0, 1).

    Returns:
        ``[]`` float32.

    Raises:
        UserError: A member has no gradient, or the range is neither of the two.
    """
    if not reward.differentiable:
        raise UserError("a loss needs a gradient, and a member of this reward has none (an evaluator)")
    if tuple(pixels) not in ((-1, 1), (0, 1)):
        raise UserError(f"pixels={pixels}: what black and white are, (-1, 1) or (0, 1)")
    scaled = images.float()
    scaled = scaled / 2 + 0.5 if pixels[0] == -1 else scaled
    return -reward(scaled.clamp(0, 1), prompts).mean()


def _pictures(images: Any) -> Tensor | Sequence[Picture]:
    """Images as trainers hand them over: an array of grey levels ``[N, H, W, 3]`` becomes a tensor."""
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise UserError(f"an array of images is uint8 [N, H, W, 3], not {images.dtype} {list(images.shape)}")
        return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return images  # type: ignore[no-any-return]
