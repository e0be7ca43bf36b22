"""The caption contrast: CLIP's image-to-text loss over distinct captions, masked and divided by the whole step."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.caption_contrast import CaptionContrastObjective, caption_contrast


def output(image: Tensor, captions: Tensor | None, scale: float = 5.0) -> RewardOutput:
    return RewardOutput(
        scores=image.sum(dim=1, keepdim=True),
        image_features=image,
        caption_features=captions,
        logit_scale=torch.tensor(scale),
    )


def share(out: RewardOutput, caption: Tensor, count: float) -> Any:
    labels: Any = SimpleNamespace(caption=caption)
    denominators: Any = SimpleNamespace(captions=torch.tensor(count))
    return CaptionContrastObjective()(out, labels, denominators)


def test_by_hand() -> None:
    image = torch.tensor([[2.0, 0.0], [0.0, 0.5], [1.0, 1.0]])
    captions = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    found = caption_contrast(image, captions, torch.tensor([0, 0, 1]), torch.tensor(2.0))
    # Cosines (1, 0), (0, 1), (r, r) with scale 2.
    expected = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(2)), math.log(2)]
    assert found.tolist() == pytest.approx(expected)


def test_equals_clips_loss_where_every_caption_is_its_own() -> None:
    torch.manual_seed(0)
    image, text = torch.randn(6, 8), torch.randn(6, 8)
    logits = 7.0 * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    expected = F.cross_entropy(logits, torch.arange(6))
    assert torch.allclose(caption_contrast(image, text, torch.arange(6), torch.tensor(7.0)).mean(), expected)


def test_images_of_one_caption_are_not_each_others_negatives() -> None:
    torch.manual_seed(0)
    image, text = torch.randn(1, 4), torch.randn(3, 4)
    alone = caption_contrast(image, text, torch.tensor([1]), torch.tensor(3.0))
    twice = caption_contrast(image.repeat(2, 1), text, torch.tensor([1, 1]), torch.tensor(3.0))
    assert torch.allclose(twice, alone.repeat(2))


def test_approaches_zero_for_the_right_features() -> None:
    assert float(caption_contrast(torch.eye(5), torch.eye(5), torch.arange(5), torch.tensor(100.0)).max()) < 1e-6


def test_candidates_without_a_caption_are_left_out() -> None:
    torch.manual_seed(0)
    image, text = torch.randn(4, 4, requires_grad=True), torch.randn(2, 4)
    loss = share(output(image, text), torch.tensor([0, -1, 1, -1]), 2.0)
    kept = caption_contrast(image.detach()[[0, 2]], text, torch.tensor([0, 1]), torch.tensor(5.0))
    assert loss.total.item() == pytest.approx(kept.mean().item())
    loss.total.backward()
    assert image.grad is not None
    assert image.grad[[1, 3]].abs().max() == 0
    assert image.grad[[0, 2]].abs().min() > 0


def test_shares_of_micro_batches_are_divided_by_the_whole_step() -> None:
    torch.manual_seed(0)
    image, text, caption = torch.randn(6, 4), torch.randn(3, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    whole = share(output(image, text), caption, 6.0)
    halves = [share(output(image[rows], text), caption[rows], 6.0) for rows in (slice(0, 3), slice(3, 6))]
    assert sum(h.total.item() for h in halves) == pytest.approx(whole.total.item())
    assert sum(h.parts["accuracy"].item() for h in halves) == pytest.approx(whole.parts["accuracy"].item())


def test_accuracy_counts_images_that_find_their_caption() -> None:
    image, text = torch.eye(3), torch.eye(3)
    assert share(output(image, text), torch.tensor([0, 1, 0]), 3.0).parts["accuracy"].item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("captions", [None, torch.zeros(0, 4)])
def test_a_batch_without_captions_costs_nothing_and_still_has_a_gradient(captions: Tensor | None) -> None:
    image = torch.randn(2, 4, requires_grad=True)
    loss = share(output(image, captions), torch.tensor([-1, -1]), 0.0)
    loss.total.backward()
    assert loss.total.item() == 0
    assert image.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    image, text, caption = torch.randn(6, 8).to(dtype), torch.randn(3, 8).to(dtype), torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.autocast("cpu", torch.bfloat16):
        found = share(output(image, text), caption, 6.0).total
    wanted = share(output(image.float(), text.float()), caption, 6.0).total
    assert found.dtype == torch.float32 and torch.equal(found, wanted)


def test_a_scale_of_its_own_is_clips_at_first_is_learned_and_bounded() -> None:
    torch.manual_seed(0)
    image, text, caption = torch.randn(6, 4), torch.randn(3, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    objective = CaptionContrastObjective(own_scale=True)
    made = RewardOutput(scores=torch.zeros(6, 1), image_features=image, caption_features=text)
    labels: Any = SimpleNamespace(caption=caption)
    counted: Any = SimpleNamespace(captions=torch.tensor(6.0))
    loss = objective(made, labels, counted)
    assert loss.total.item() == pytest.approx(
        caption_contrast(image, text, caption, torch.tensor(1 / 0.07)).mean().item()
    )
    loss.total.backward()
    assert objective.log_scale is not None and objective.log_scale.grad is not None
    assert objective.log_scale.shape == (1,)  # FSDP and ZeRO take no scalar
    assert objective.log_scale.grad.abs() > 0
    with torch.no_grad():
        objective.log_scale.fill_(10.0)
    wanted = caption_contrast(image, text, caption, torch.tensor(100.0)).mean().item()
    assert objective(made, labels, counted).total.item() == pytest.approx(wanted)
