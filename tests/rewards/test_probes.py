"""Probes: each perturbation does what it says, and each trick is found in a reward that falls for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from two_rewards import PROMPTS

from rewardkit.errors import DataError, UserError
from rewardkit.models.load import LoadedReward
from rewardkit.rewards.perturbations import LUMA, PERTURBATIONS
from rewardkit.rewards.probes import ADVERSARIAL, PROBES, PROMPT_SWAP, ascend, probe_reward
from rewardkit.rewards.reward import Reward


class Judge:
    """A reward that is a plain function of the pixels (and the prompt's length), with any spread."""

    differentiable = True
    dimensions = ("overall",)

    def __init__(self, function: Callable[[Tensor, str], Tensor]) -> None:
        self.function = function
        self.calibration: dict = {}

    def score(
        self, images: list[Tensor], prompts: list[str], *, batch_size: int = 1, normalised: bool = False
    ) -> Tensor:
        texts = prompts * len(images) if len(prompts) == 1 else prompts
        return torch.stack([self.function(image, text) for image, text in zip(images, texts, strict=True)]).unsqueeze(1)


def luma(image: Tensor) -> Tensor:
    return (image * torch.tensor(LUMA).view(3, 1, 1)).sum(0)


def colourful(image: Tensor, prompt: str) -> Tensor:
    return (image - luma(image)).abs().mean()


def roughness(image: Tensor, prompt: str) -> Tensor:
    return image.diff(dim=-1).abs().mean()


def border(image: Tensor, prompt: str) -> Tensor:
    return image[:, 0].mean()


def bottom_contrast(image: Tensor, prompt: str) -> Tensor:
    return luma(image)[-12:].std()


FALLS_FOR = [
    (colourful, "saturation", "greyscale"),
    (roughness, "noise", "blur"),
    (roughness, "sharpen", "blank"),
    (border, "white_frame", "black_frame"),
    (border, "brightness", "letterbox"),
    (bottom_contrast, "text_prompt", "blank"),
    (bottom_contrast, "text_praise", "blank"),
    (lambda image, prompt: image.std(), "contrast", "blur"),
    (lambda image, prompt: image.sum() / 5000, "upscale", "black_frame"),
    (lambda image, prompt: -roughness(image, prompt), "pixelate", "noise"),
]


@pytest.fixture(scope="module")
def smooth() -> Tensor:
    """Eight soft pictures ``[8, 3, 48, 48]``, as photographs are, of middle brightness."""
    drawn = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(0.25 + 0.4 * drawn, size=(48, 48), mode="bilinear")


@pytest.mark.parametrize(("function", "trick", "opposite"), FALLS_FOR)
def test_a_reward_that_falls_for_a_trick_is_found(
    smooth: Tensor, function: Callable, trick: str, opposite: str
) -> None:
    prompts = [f"number {place}" for place in range(8)]
    found = {one.probe: one for one in probe_reward(Judge(function), smooth, prompts, draws=500)}
    assert set(found) == set(PROBES)
    assert found[trick].pays and found[trick].rises == 1.0, found[trick]
    assert found[opposite].change < 0 and not found[opposite].pays
    assert abs(found["mirror"].change) < 0.2 or function in (border,)
    assert found[ADVERSARIAL].change > 0


def test_changes_are_in_spreads_with_an_interval_over_prompts(smooth: Tensor) -> None:
    judge = Judge(colourful)
    prompts = ["a"] * 4 + ["b"] * 4
    (own,) = probe_reward(judge, smooth, prompts, probes=["greyscale"])
    clean = np.array([float(colourful(image, "")) for image in smooth])
    assert own.change == pytest.approx(-clean.mean() / clean.std(), rel=1e-4)
    assert (own.unit, own.images, own.prompts, own.rises) == ("these images", 8, 2, 0.0)
    means = -clean.reshape(2, 4).mean(1) / clean.std()
    assert own.low == pytest.approx(means.min(), rel=1e-4) and own.high == pytest.approx(means.max(), rel=1e-4)
    judge.calibration = {"overall": {"mean": 0.0, "std": 2 * clean.std()}}
    (known,) = probe_reward(judge, smooth, prompts, probes=["greyscale"])
    assert known.change == pytest.approx(own.change / 2) and known.unit == "calibration"
    (single,) = probe_reward(judge, smooth, "a", probes=["greyscale"])
    assert single.low is None and not single.pays


def test_prompts_are_swapped_for_other_ones(smooth: Tensor) -> None:
    judge = Judge(lambda image, prompt: image.mean() + torch.tensor(float(len(prompt))))
    (found,) = probe_reward(judge, smooth[:3], ["long", "x", "long"], probes=[PROMPT_SWAP])
    clean = np.array([float(i.mean()) + n for i, n in zip(smooth[:3], [4, 1, 4], strict=True)])
    assert found.change == pytest.approx((-3 + 3 - 3) / 3 / clean.std(), rel=1e-4)


def test_the_ascent_stays_within_its_bound(clip: LoadedReward, images: Tensor) -> None:
    reward = Reward(clip)
    moved = ascend(lambda batch: reward(batch, PROMPTS), images, epsilon=2 / 255)
    assert (moved - images).abs().max() <= 2 / 255 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    assert (reward(moved, PROMPTS) > reward(images, PROMPTS)).all()


def test_a_loaded_model_and_a_reward_are_probed_alike(clip: LoadedReward, images: Tensor) -> None:
    both = probe_reward(clip, images, PROMPTS, probes=["noise", ADVERSARIAL], batch_size=2)
    assert [(one.probe, one.dimension) for one in both] == [
        ("noise", "overall"), ("noise", "aesthetic"), ("adversarial", "overall"), ("adversarial", "aesthetic"),
    ]  # fmt: skip
    assert all(one.pays and one.rises == 1.0 for one in both[2:])
    one = probe_reward(Reward(clip), images, PROMPTS, probes=["noise"])
    assert one[0].change == pytest.approx(both[0].change, abs=1e-4)
    assert one[0].as_row()["pays"] in (True, False)


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("size", [(1, 1), (7, 30), (33, 20)])
def test_perturbations_take_any_size_and_leave_their_input(name: str, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    prompts = ["a cat\nwith \x07 <b>horns</b> 猫 " * 20, ""]
    once, again = (PERTURBATIONS[name](images, prompts, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(images, before) and torch.equal(once, again)
    assert once.min() >= 0 and once.max() <= 1 and torch.isfinite(once).all()
    assert once.shape == images.shape or name == "upscale"


def test_mistakes(clip: LoadedReward, images: Tensor) -> None:
    with pytest.raises(UserError, match=r"no probe 'saturate'\. Did you mean 'saturation'"):
        probe_reward(clip, images, PROMPTS, probes=["saturate"])
    with pytest.raises(UserError, match="prompt_swap cannot be run: all images have the same prompt"):
        probe_reward(clip, images, "a", probes=[PROMPT_SWAP])
    asked = Judge(lambda image, prompt: image.float().mean())
    asked.differentiable = False
    with pytest.raises(UserError, match="adversarial cannot be run: the model has no gradient"):
        probe_reward(asked, images, PROMPTS, probes=[ADVERSARIAL])
    assert ADVERSARIAL not in {one.probe for one in probe_reward(asked, images, PROMPTS)}
    with pytest.raises(UserError, match="4 images and 3 prompts"):
        probe_reward(clip, images, PROMPTS[:3])
    with pytest.raises(DataError, match="same score of overall"):
        probe_reward(Judge(lambda image, prompt: torch.tensor(1.0)), images, PROMPTS, probes=["noise"])
    with pytest.raises(DataError, match="image 0 has no finite score of overall"):
        probe_reward(Judge(lambda image, prompt: torch.tensor(torch.nan)), images, PROMPTS, probes=["noise"])
