"""Losses that tune generators, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rewardkit.errors import UserError
from rewardkit.rewards.tuning_losses import clipped_policy_loss, diffusion_dpo_loss, group_advantages, refl_loss


def test_advantages_are_within_the_prompt() -> None:
    rewards = torch.tensor([1.0, 10.0, 3.0, 10.0, 5.0])
    found = group_advantages(rewards, ["a", "b", "a", "b", "alone"], eps=0.0 + 1e-9)
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.0, 1.0, 0.0, 0.0]))
    with pytest.raises(UserError, match="2 rewards but 1 prompts"):
        group_advantages(rewards[:2], ["a"])


def test_the_first_step_is_reinforce() -> None:
    new = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss = clipped_policy_loss(new, new.detach().clone(), torch.tensor([2.0, -1.0]), clip=0.1)
    assert loss.item() == pytest.approx(-0.5)
    loss.backward()
    torch.testing.assert_close(new.grad, torch.tensor([-1.0, 0.5]))


def test_the_clip_stops_what_went_far_enough_and_nothing_else() -> None:
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    new = ratio.log().requires_grad_()
    loss = clipped_policy_loss(new, torch.zeros(4), advantages, clip=0.2)
    assert loss.item() == pytest.approx((-1.2 + 1.5 - 0.5 + 0.8) / 4)
    loss.backward()
    torch.testing.assert_close(new.grad, torch.tensor([0.0, 1.5, -0.5, 0.0]) / 4)
    with pytest.raises(UserError, match="clip=0"):
        clipped_policy_loss(new, new, advantages, clip=0)


def test_dpo_starts_at_ln_2_and_falls_with_the_better_images_error() -> None:
    base = torch.tensor([0.3, 0.5]), torch.tensor([0.4, 0.1])
    better = base[0].clone().requires_grad_()
    worse = base[1].clone().requires_grad_()
    start = diffusion_dpo_loss(better, worse, *base, beta=10.0)
    assert start.item() == pytest.approx(math.log(2), abs=1e-6)
    start.backward()
    torch.testing.assert_close(better.grad, torch.full((2,), 2.5))
    torch.testing.assert_close(worse.grad, torch.full((2,), -2.5))
    moved = diffusion_dpo_loss(base[0] - 0.1, base[1], *base, beta=10.0)
    assert moved.item() == pytest.approx(math.log1p(math.exp(-1.0)), abs=1e-6)
    assert torch.isfinite(diffusion_dpo_loss(base[0] + 1e3, base[1], *base, beta=5000.0))
    with pytest.raises(UserError, match="beta=0"):
        diffusion_dpo_loss(better, worse, *base, beta=0)


def test_refl_has_its_pretraining_loss_in_the_total() -> None:
    rewards = torch.tensor([1.0, 3.0], requires_grad=True)
    pretraining = torch.tensor(0.7, requires_grad=True)
    total, part = refl_loss(rewards, pretraining, margin=2.0, scale=0.1)
    assert part.item() == pytest.approx(0.05)
    assert total.item() == pytest.approx(0.75)
    total.backward()
    torch.testing.assert_close(rewards.grad, torch.tensor([-0.05, 0.0]))
    assert pretraining.grad.item() == 1.0
