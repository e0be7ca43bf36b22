"""Best of n, and a reward in the forms that trainers of generators ask for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from two_rewards import PROMPTS

from rewardkit.errors import DataError, UserError
from rewardkit.models.load import LoadedReward
from rewardkit.rewards.adapters import alignprop_reward, ddpo_reward, grpo_reward, reward_loss
from rewardkit.rewards.best_of import best_of
from rewardkit.rewards.reward import Reward


def given(values: list[float]) -> object:
    return lambda images, prompts, gradient: torch.tensor(values)


def test_the_best_of_each_prompt(clip: LoadedReward, images: Tensor) -> None:
    reward = Reward(clip)
    scores = reward(images, ["a", "a", "b", "b"])
    found = best_of(reward, images.requires_grad_(), ["a", "b"], 2)
    torch.testing.assert_close(found.scores.flatten(), scores)
    assert found.index.tolist() == [int(scores[:2].argmax()), 2 + int(scores[2:].argmax())]
    torch.testing.assert_close(found.images, images[found.index])
    as_list = best_of(reward, list(images.detach()), ["a", "b"], 2)
    assert isinstance(as_list.images, list) and torch.equal(as_list.images[1], images[found.index[1]])


def test_equals_are_drawn_not_taken_in_order() -> None:
    images = torch.zeros(4, 3, 2, 2)
    drawn = {int(best_of(given([1.0, 1.0, 0.0, 1.0]), images, ["a"], 4, seed=seed).index[0]) for seed in range(30)}
    assert drawn == {0, 1, 3}
    once, again = (best_of(given([1.0] * 4), images, ["a"], 4, seed=5).index for _ in range(2))
    assert torch.equal(once, again)


def test_mistakes_of_best_of() -> None:
    images = torch.zeros(4, 3, 2, 2)
    with pytest.raises(UserError, match="4 images, but 3 prompts with n=2 make 6"):
        best_of(given([]), images, ["a", "b", "c"], 2)
    with pytest.raises(UserError, match=r"give \[prompt\]"):
        best_of(given([]), images, "a", 4)
    with pytest.raises(UserError, match="n=0"):
        best_of(given([]), images, ["a"], 0)
    with pytest.raises(DataError, match="image 2 has no reward"):
        best_of(given([1.0, 1.0, torch.nan, 1.0]), images, ["a"], 4)


def test_ddpo_takes_tensors_arrays_and_pillow_images(clip: LoadedReward, blip: LoadedReward, images: Tensor) -> None:
    reward = Reward([clip, blip])
    score = ddpo_reward(reward)
    levels = (images * 255).round().to(torch.uint8)
    array = levels.permute(0, 2, 3, 1).numpy()
    expected = reward(levels, PROMPTS)
    rewards, metadata = score(levels, tuple(PROMPTS), ({},) * 4)
    torch.testing.assert_close(rewards, expected)
    assert metadata["members"].shape == (2, 4) and metadata["spread"].shape == (4,)
    torch.testing.assert_close(score(array, PROMPTS, None)[0], expected)
    torch.testing.assert_close(score([Image.fromarray(one) for one in array], PROMPTS, None)[0], expected)
    assert not score(images.requires_grad_(), PROMPTS, None)[0].requires_grad
    with pytest.raises(UserError, match=r"uint8 \[N, H, W, 3\], not float64"):
        score(array / 255.0, PROMPTS, None)


def test_grpo_gives_a_list_of_floats_whatever_else_it_is_told(clip: LoadedReward, images: Tensor) -> None:
    score = grpo_reward(Reward(clip), name="hps")
    pictures = [Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)) for _ in range(2)]
    found = score(prompts=["a", "b"], completions=pictures, style=["x", "y"], trainer_state=None)
    assert len(found) == 2 and all(isinstance(value, float) for value in found)
    assert score.__name__ == "hps"


def test_alignprop_has_the_gradient(clip: LoadedReward, images: Tensor) -> None:
    rewards, _ = alignprop_reward(Reward(clip))(images.requires_grad_(), tuple(PROMPTS), ({},) * 4)
    (10 - rewards.mean()).backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_a_loss_for_training_scripts(clip: LoadedReward, images: Tensor) -> None:
    reward = Reward(clip)
    expected = -reward(images, PROMPTS).mean()
    torch.testing.assert_close(reward_loss(reward, images, PROMPTS, pixels=(0, 1)), expected)
    decoded = (2 * images - 1).half()
    decoded[0, 0, 0, 0] = 1.25  # as a VAE does
    decoded.requires_grad_()
    loss = reward_loss(reward, decoded, PROMPTS)
    torch.testing.assert_close(loss, expected, rtol=0, atol=0.02)
    loss.backward()
    assert decoded.grad is not None
    assert decoded.grad[0, 0, 0, 0] == 0 and decoded.grad.abs().sum() > 0
    with pytest.raises(UserError, match="what black and white are"):
        reward_loss(reward, images, PROMPTS, pixels=(0, 255))
    with pytest.raises(DataError, match="not finite"):
        reward_loss(reward, images * torch.nan, PROMPTS)


def test_what_follows_a_gradient_needs_one(clip: LoadedReward, images: Tensor) -> None:
    class Asked:
        dimensions = clip.dimensions
        calibration = clip.calibration
        score = clip.score

    reward = Reward(Asked())
    with pytest.raises(UserError, match="a loss needs a gradient"):
        reward_loss(reward, images, PROMPTS)
    with pytest.raises(UserError, match="AlignProp follows"):
        alignprop_reward(reward)
    assert len(grpo_reward(reward)(PROMPTS, images)) == 4
