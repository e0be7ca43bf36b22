"""Normalised scores and ``Reward``: the formula, gradients, ensembles of strangers, precision, mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from two_rewards import PROMPTS, STATISTICS

from rewardkit.errors import DataError, UserError
from rewardkit.models.load import LoadedReward
from rewardkit.rewards.reward import Reward, spread_of


class Numbers:
    """A member whose normalised score is a given function of the mean pixel."""

    differentiable = True
    dimensions = ("overall",)

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.calibration = {"overall": {"mean": 0.0, "std": 1.0}}

    def score(self, images: Tensor, prompts: object, *, batch_size: int = 1, normalised: bool = False) -> Tensor:
        return self.function(images.mean(dim=(1, 2, 3))).unsqueeze(1)


def test_normalised_scores_are_by_the_bundles_statistics(clip: LoadedReward, images: Tensor) -> None:
    plain = clip.score(images, PROMPTS)
    normalised = clip.score(images, PROMPTS, normalised=True)
    expected = torch.stack([(plain[:, 0] - 0.1) / 0.2, (plain[:, 1] + 0.2) / 0.05], dim=1)
    torch.testing.assert_close(normalised, expected)
    torch.testing.assert_close(clip.score(images, PROMPTS, output="cosine", normalised=True), expected)
    with pytest.raises(UserError, match="normalised=True with output='logit'"):
        clip.score(images, PROMPTS, output="logit", normalised=True)


@pytest.mark.parametrize(
    ("statistics", "words"),
    [
        ({}, "none of overall, aesthetic; .fit. records them at its validation"),
        ({"overall": STATISTICS["overall"]}, "none of aesthetic;"),
        (
            {**STATISTICS, "aesthetic": {"mean": 0.0, "std": 0.0}},
            "spread of aesthetic: its mean is 0.0 and its std 0.0",
        ),
    ],
)
def test_missing_statistics_are_told_with_the_way_out(
    clip: LoadedReward, images: Tensor, statistics: dict, words: str
) -> None:
    clip.calibration = statistics
    with pytest.raises(UserError, match=words) as told:
        clip.score(images, PROMPTS, normalised=True)
    assert "estimate_statistics" in str(told.value)
    with pytest.raises(UserError, match=words):
        Reward(clip)
    assert clip.score(images, PROMPTS).shape == (4, 2), "plain scores need none"


def test_weights_make_a_weighed_mean(clip: LoadedReward, images: Tensor) -> None:
    overall, aesthetic = clip.score(images, PROMPTS, normalised=True).unbind(1)
    torch.testing.assert_close(Reward(clip)(images, PROMPTS), overall)
    reward = Reward(clip, {"overall": 3.0, "aesthetic": -1.0})
    torch.testing.assert_close(reward(images, PROMPTS), 0.75 * overall - 0.25 * aesthetic)
    assert set(reward.judge(images, PROMPTS).dimensions[0]) == {"overall", "aesthetic"}


def test_an_ensemble_of_strangers_and_its_penalty(clip: LoadedReward, blip: LoadedReward, images: Tensor) -> None:
    reward = Reward([clip, blip], disagreement=0.5)
    judged = reward.judge(images, PROMPTS)
    first = clip.score(images, PROMPTS, normalised=True)[:, 0]
    second = blip.score(images, PROMPTS, normalised=True)[:, 0]
    torch.testing.assert_close(judged.members, torch.stack([first, second]))
    torch.testing.assert_close(judged.spread, (first - second).abs() / 2)
    torch.testing.assert_close(judged.total, (first + second) / 2 - 0.25 * (first - second).abs())
    each = Reward([clip, blip], [{"aesthetic": 1.0}, None]).judge(images, PROMPTS)
    assert [list(one) for one in each.dimensions] == [["aesthetic"], ["overall"]]


def test_gradients_go_through_every_member_and_the_penalty(
    clip: LoadedReward, blip: LoadedReward, images: Tensor
) -> None:
    reward = Reward([clip, blip], disagreement=1.0, batch_size=3)
    images = (0.1 + 0.8 * images.double()).requires_grad_()
    value = reward(images, PROMPTS)
    (slope,) = torch.autograd.grad(value.sum(), images)
    step = 1e-3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        up, down = reward(images + step, PROMPTS, gradient=False), reward(images - step, PROMPTS, gradient=False)
    torch.testing.assert_close((slope * step).sum(dim=(1, 2, 3)).float(), (up - down) / 2, rtol=0.02, atol=2e-4)
    assert not reward(images, PROMPTS, gradient=False).requires_grad
    with torch.no_grad():
        assert not reward(images, PROMPTS).requires_grad
    assert not any(p.grad is not None for m in (clip, blip) for p in m.model.parameters())


def test_members_that_agree_leave_a_gradient_that_is_a_number() -> None:
    images = torch.rand(3, 3, 2, 2, requires_grad=True)
    same = Reward([Numbers(lambda x: 2 * x), Numbers(lambda x: 2 * x)], disagreement=1.0)
    (slope,) = torch.autograd.grad(same(images, "a").sum(), images)
    torch.testing.assert_close(slope, torch.full_like(slope, 2 / 12))
    members = torch.tensor([[1.0, 2.0], [1.0, 4.0]], requires_grad=True)
    spread_of(members).sum().backward()
    torch.testing.assert_close(members.grad, torch.tensor([[0.0, -0.5], [0.0, 0.5]]))


def test_an_image_that_fools_one_member_is_worth_less() -> None:
    trusting = Numbers(lambda x: 10 * x)
    plain, careful = (Reward([trusting, Numbers(lambda x: 0 * x)], disagreement=penalty) for penalty in (0.0, 1.0))
    bright = torch.full((1, 3, 2, 2), 0.9)
    assert plain(bright, "a").item() == pytest.approx(4.5)
    assert careful(bright, "a").item() == pytest.approx(0.0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_images_and_towers(clip: LoadedReward, images: Tensor, kind: torch.dtype) -> None:
    reward, half = Reward(clip), images.to(kind).requires_grad_()
    scores = reward(half, PROMPTS)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, reward(half.detach().float(), PROMPTS))
    (slope,) = torch.autograd.grad(scores.sum(), half)
    assert slope.dtype == kind
    assert torch.isfinite(slope).all() and slope.abs().sum() > 0
    exact = clip.score(images, PROMPTS)
    clip.model.to_low_precision(torch.bfloat16)
    low = clip.score(images.requires_grad_(), PROMPTS)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, exact, rtol=0, atol=0.02)
    assert len(low[:, 0].unique()) == 4, "similarities are taken in float32, so near scores stay apart"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(reward(images, PROMPTS), reward(images, PROMPTS))
        assert reward(images, PROMPTS).dtype == torch.float32


def test_batches_and_batch_mates_change_nothing(clip: LoadedReward, images: Tensor) -> None:
    whole = Reward(clip)(images, PROMPTS)
    torch.testing.assert_close(Reward(clip, batch_size=1)(images, PROMPTS), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(Reward(clip)(images[2:3], PROMPTS[2]), whole[2:3], rtol=0, atol=1e-5)
    assert clip.to("cpu") is clip


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda x: 2 * x - 1, UserError, r"reaches from -1 to 1; pixels are in \[0, 1\]"),
        (lambda x: x * 255, UserError, r"reaches from .* to 25\d"),
        (lambda x: x * torch.nan, DataError, "not finite; look for an overflow of half precision"),
        (lambda x: x * torch.inf, DataError, "not finite"),
        (lambda x: [x[0], 3 * x[1], x[2], x[3]], UserError, "image 1 reaches from"),
    ],
)
def test_pixels_that_are_none(
    clip: LoadedReward, images: Tensor, change: Callable, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Reward(clip)(change(images), PROMPTS)


def test_mistakes_in_what_counts(clip: LoadedReward, blip: LoadedReward) -> None:
    with pytest.raises(
        UserError, match=r"no dimension 'asthetic'; it judges overall, aesthetic\. Did you mean 'aesthetic'"
    ):
        Reward(clip, {"asthetic": 1.0})
    with pytest.raises(UserError, match="no dimension 'aesthetic'"):
        Reward([clip, blip], {"aesthetic": 1.0})
    with pytest.raises(UserError, match="all are 0"):
        Reward(clip, {"overall": 0.0})
    with pytest.raises(UserError, match="finite number"):
        Reward(clip, {"overall": torch.inf})
    with pytest.raises(UserError, match="at least two models"):
        Reward(clip, disagreement=0.5)
    with pytest.raises(UserError, match="at least 0"):
        Reward([clip, blip], disagreement=-1)
    with pytest.raises(UserError, match="2 models but 1 mappings"):
        Reward([clip, blip], [None])
    with pytest.raises(UserError, match="at least one model"):
        Reward([])
    clip.dimensions = ("a", "b")
    with pytest.raises(UserError, match="judges a, b, and none is called overall; say what counts"):
        Reward(clip)


def test_a_member_without_gradient_or_without_a_score(clip: LoadedReward, images: Tensor) -> None:
    asked = Numbers(lambda x: x / 255)
    asked.differentiable = False
    asked.function = lambda x: x
    original = asked.score
    asked.score = lambda images, *a, **k: original(images.float() / 255, *a, **k)  # type: ignore[method-assign]
    mixed = Reward([clip, asked])
    assert not mixed.differentiable
    assert mixed(images, PROMPTS).shape == (4,), "it gets whole grey levels"
    with pytest.raises(UserError, match="a member of this reward has none"):
        mixed(images.requires_grad_(), PROMPTS)
    silent = Numbers(lambda x: torch.where(torch.arange(len(x)) == 2, torch.nan, x))
    with pytest.raises(DataError, match="image 2 has no finite score of overall by model 0"):
        Reward(silent)(images.detach(), PROMPTS)
