"""The losses that generators are tuned with, as pure functions: policy gradients, Diffusion-DPO and ReFL."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardkit.errors import UserError

REFL_MARGIN = 2.0
"""Rewards above it are good enough (ImageReward's ReFL.py; arXiv 2304.05977)."""

REFL_SCALE = 1e-3
"""Weight of the reward's loss beside the pre-training loss (the same)."""


def group_advantages(rewards: Tensor, prompts: Sequence[str], *, eps: float = 1e-6) -> Tensor:
    """Each reward against the others of its prompt: (r - mean) / (std + eps), ddof 0.

    DDPO's per-prompt statistics (arXiv 2305.13301, section 4) of one batch, and GRPO's group-relative advantage
    (arXiv 2402.03300). A prompt with one image has nothing to be compared with and gets 0.

    Args:
        rewards: ``[N]``.
        prompts: N texts; equal ones are one group.
        eps: Added to the standard deviation.

    Returns:
        ``[N]``, without gradient.
    """
    if len(rewards) != len(prompts):
        raise UserError(f"{len(rewards)} rewards but {len(prompts)} prompts")
    advantages = torch.zeros_like(rewards.detach())
    rows: dict[str, list[int]] = {}
    for row, prompt in enumerate(prompts):
        rows.setdefault(prompt, []).append(row)
    for members in rows.values():
        own = rewards.detach()[members]
        advantages[members] = (own - own.mean()) / (own.std(correction=0) + eps)
    return advantages


def clipped_policy_loss(log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, *, clip: float) -> Tensor:
    """PPO's clipped objective, to be minimised: mean of max(-A·ρ, -A·clip(ρ, 1 - c, 1 + c)), ρ = exp(new - old).

    Schulman et al. 2017 (arXiv 1707.06347), as DDPO (arXiv 2305.13301, its importance-sampling form) uses it with the
    denoising step as the action. At the first step ρ is 1 and the gradient is that of REINFORCE.

    Args:
        log_prob: ``[N]`` of the actions under the policy that is tuned.
        old_log_prob: ``[N]`` under the one that acted.
        advantages: ``[N]``.
        clip: c, above 0.
    """
    if clip <= 0:
        raise UserError(f"clip={clip}: how far the ratio may leave 1, above 0")
    ratio = (log_prob - old_log_prob.detach()).exp()
    fixed = advantages.detach()
    return torch.maximum(-fixed * ratio, -fixed * ratio.clamp(1 - clip, 1 + clip)).mean()


def diffusion_dpo_loss(
    error_better: Tensor, error_worse: Tensor, base_better: Tensor, base_worse: Tensor, *, beta: float
) -> Tensor:
    """Diffusion-DPO: mean of -log σ(-β · ((e_w - b_w) - (e_l - b_l))), Wallace et al. 2023 (arXiv 2311.12908, eq. 14).

    The paper's factor T·ω(λ_t) is constant in practice and belongs to ``beta`` (its experiments: 2000 to 5000). At the
    start, where the generator is its own base, the loss is ln 2.

    Args:
        error_better: ``[P]`` squared error of the predicted noise of the better image, mean over its values, by the
            generator that is tuned.
        error_worse: ``[P]`` likewise of the worse image.
        base_better: ``[P]`` likewise by the generator as it was, at the same noise and timestep.
        base_worse: ``[P]`` likewise.
        beta: How much the generator is held to what it was, above 0.
    """
    if beta <= 0:
        raise UserError(f"beta={beta}: above 0")
    gained = (error_better - base_better.detach()) - (error_worse - base_worse.detach())
    return F.softplus(beta * gained).mean()


def refl_loss(
    rewards: Tensor, pretraining: Tensor, *, margin: float = REFL_MARGIN, scale: float = REFL_SCALE
) -> tuple[Tensor, Tensor]:
    """ReFL's loss: scale · mean(relu(margin - r)) + the pre-training loss (ImageReward, arXiv 2304.05977, section 4).

    The released script leaves the pre-training loss out, and images degrade without it (ImageReward issue 95), so here
    there is no form without.

    Args:
        rewards: ``[N]``, differentiable in the generator.
        pretraining: ``[]``, the denoising loss on real images.
        margin: A reward above it teaches nothing more. ImageReward's are about standard normal, as are normalised ones.
        scale: Weight of the first part.

    Returns:
        The total, and of it the reward's part; ``[]`` each.
    """
    part = scale * F.relu(margin - rewards).mean()
    return part + pretraining, part
