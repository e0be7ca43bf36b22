"""PickScore with in-batch negatives: by hand, who is a negative of whom, and two ranks that take one rank's step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from objective_labels import LOSE, TIE, WIN, denominators, labels
from torch import Tensor
from two_ranks import TwoRanks

from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.gather import gather_rows
from rewardkit.objectives.in_batch import InBatchPickScore, prompt_keys

SCALE = 4.0
SIZES = (2, 4, 3, 2)
"""Candidates of each group: groups of a rank then differ in size, and ranks in number of groups."""


def random_batch(seed: int = 0) -> tuple[Tensor, Tensor, Any]:
    """Features of images and texts, and comparisons with ties, in groups of ``SIZES``; two prompts are equal."""
    generator = torch.Generator().manual_seed(seed)
    group = [g for g, size in enumerate(SIZES) for _ in range(size)]
    pairs = []
    for g in range(len(SIZES)):
        rows = [n for n, of in enumerate(group) if of == g]
        pairs += [(a, b, 0, (WIN, LOSE, TIE)[(a + b) % 3], 1 / (g + 1)) for a in rows for b in rows if a < b]
    batch = labels(pairs, group)
    batch.prompts = ["a cat", "a dog", "a cat", "a bird"]
    image = torch.randn(len(group), 6, generator=generator, dtype=torch.float64)
    text = torch.randn(len(SIZES), 6, generator=generator, dtype=torch.float64)
    return image, text, batch


def output_of(image: Tensor, text: Tensor, group: Tensor, scale: Tensor) -> RewardOutput:
    scores = scale * F.cosine_similarity(image, text[group], dim=-1).unsqueeze(1)
    return RewardOutput(scores=scores, image_features=image, text_features=text, logit_scale=scale)


def part(batch: Any, start: int, stop: int) -> Any:
    """Groups ``start`` to ``stop`` of ``random_batch``."""
    low, high = sum(SIZES[:start]), sum(SIZES[:stop])
    kept = (batch.first >= low) & (batch.first < high)
    one = labels([], (batch.group[low:high] - start).tolist())
    one.first, one.second = batch.first[kept] - low, batch.second[kept] - low
    one.dimension, one.target, one.weight = batch.dimension[kept], batch.target[kept], batch.weight[kept]
    one.prompts = batch.prompts[start:stop]
    return one


def by_hand(image: Tensor, text: Tensor, batch: Any, *, mask: bool) -> float:
    """One comparison after the other, with plain sums."""
    logits = SCALE * F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).T
    prompts = batch.prompts
    total = 0.0
    for p in range(len(batch.first)):
        pair = [int(batch.first[p]), int(batch.second[p])]
        own = int(batch.group[pair[0]])
        shares = [
            float(batch.target[p, 0] + batch.target[p, 1] / 2),
            float(batch.target[p, 2] + batch.target[p, 1] / 2),
        ]
        images = [
            n for n in range(len(image)) if n in pair or not mask or prompts[int(batch.group[n])] != prompts[own]
        ]  # fmt: skip
        texts = [g for g in range(len(text)) if g == own or not mask or prompts[g] != prompts[own]]
        loss = 0.0
        for n, y in zip(pair, shares, strict=True):
            of_text = math.log(sum(math.exp(logits[own, m]) for m in images)) - float(logits[own, n])
            of_image = math.log(sum(math.exp(logits[g, n]) for g in texts)) - float(logits[own, n])
            loss += y * (of_text + of_image)
        loss -= math.log(2) if shares[0] == shares[1] else 0
        total += float(batch.weight[p]) * loss / 2
    return total / float(batch.weight.sum())


@pytest.mark.parametrize("mask", [True, False])
def test_by_hand(mask: bool) -> None:
    image, text, batch = random_batch()
    objective = InBatchPickScore(("overall",), mask_duplicate_prompts=mask)
    output = output_of(image, text, batch.group, torch.tensor(SCALE, dtype=torch.float64))
    found = objective(output, batch, one_dimension(batch)).total.item()
    assert found == pytest.approx(by_hand(image, text, batch, mask=mask))
    assert found != pytest.approx(by_hand(image, text, batch, mask=not mask))


def one_dimension(batch: Any) -> Any:
    step = denominators(batch)
    for name, values in vars(step).items():
        setattr(step, name, values[:1])
    return step


def test_a_dummy_is_nobodys_negative() -> None:
    image, text, batch = random_batch()
    scale = torch.tensor(SCALE, dtype=torch.float64)
    objective = InBatchPickScore(("overall",))
    without = objective(output_of(image, text, batch.group, scale), batch, one_dimension(batch)).total
    step = one_dimension(batch)
    batch.group = torch.cat([batch.group, torch.tensor([4])])
    batch.valid = torch.cat([batch.valid, torch.tensor([False])])
    batch.tokens = torch.zeros(5, 1)
    batch.prompts = [*batch.prompts, ""]
    image, text = (torch.cat([x, x[:1]]).requires_grad_() for x in (image, text))
    found = objective(output_of(image, text, batch.group, scale), batch, step).total
    torch.testing.assert_close(found, without)
    found.backward()
    assert image.grad is not None and text.grad is not None
    assert (image.grad[-1] == 0).all() and (text.grad[-1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    image, text, batch = random_batch()
    scale = torch.tensor(SCALE)
    half = output_of(image.to(dtype), text.to(dtype), batch.group, scale)
    wide = output_of(image.to(dtype).float(), text.to(dtype).float(), batch.group, scale)
    objective, step = InBatchPickScore(("overall",)), one_dimension(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = objective(half, batch, step).total
    assert found.dtype == torch.float32 and torch.equal(found, objective(wide, batch, step).total)


def test_no_comparisons_give_zero_with_a_gradient() -> None:
    image, text, batch = random_batch()
    empty = part(batch, 0, 2)
    for name in ("first", "second", "dimension", "target", "weight"):
        setattr(empty, name, getattr(empty, name)[:0])
    leaves = [image[:6].clone().requires_grad_(), text[:2].clone().requires_grad_()]
    output = output_of(leaves[0], leaves[1], empty.group, torch.tensor(SCALE, dtype=torch.float64))
    loss = InBatchPickScore(("overall",))(output, empty, one_dimension(empty)).total
    loss.backward()
    assert loss.item() == 0 and all(x.grad is not None and (x.grad == 0).all() for x in leaves)


def test_models_that_it_cannot_be_used_with_are_refused() -> None:
    with pytest.raises(UserError, match="one dimension, not overall, aesthetic"):
        InBatchPickScore(("overall", "aesthetic"))
    _, _, batch = random_batch()
    with pytest.raises(UserError, match="needs a model of two towers"):
        InBatchPickScore(("overall",))(RewardOutput(scores=torch.zeros(11, 1)), batch, one_dimension(batch))


def test_equal_prompts_have_equal_keys_on_every_rank() -> None:
    keys = prompt_keys(["a cat", "a dog", "a cat", "A cat"], torch.device("cpu")).tolist()
    assert keys[0] == keys[2] and len(set(keys)) == 3
    assert prompt_keys(["a cat"], torch.device("cpu")).item() == keys[0]


def test_one_process_gathers_its_own_rows() -> None:
    rows = torch.randn(3, 2)
    gathered, start = gather_rows(rows)
    assert gathered is rows and start == 0


def step_of(image: Tensor, text: Tensor, scale: Tensor, batch: Any, step: Any, reduction: Any) -> list[Tensor]:
    """This rank's share and the gradients of a shared projection (a parameter) and of the scale."""
    weight = torch.eye(6, dtype=torch.float64).mul(1.5).requires_grad_()
    scale = scale.clone().requires_grad_()
    objective = InBatchPickScore(("overall",), reduction=reduction)
    loss = objective(output_of(image @ weight, text @ weight.T, batch.group, scale), batch, step).total
    loss.backward()
    assert weight.grad is not None and scale.grad is not None
    return [loss.detach(), weight.grad, scale.grad]


RANKS = ((0, 1), (1, 4))
"""Each rank's groups."""


def of_one_rank(rank: int, folder: str) -> None:
    """Takes a rank's share; losses and gradients are added over ranks, as training does."""
    image, text, batch = random_batch()
    start, stop = RANKS[rank]
    low, high = sum(SIZES[:start]), sum(SIZES[:stop])
    scale = torch.tensor(SCALE, dtype=torch.float64)
    for reduction in ("mean", "mean_per_group"):
        mine = part(batch, start, stop)
        found = step_of(image[low:high], text[start:stop], scale, mine, one_dimension(batch), reduction)
        for value in found:
            torch.distributed.all_reduce(value)
        torch.save(found, f"{folder}/{rank}-{reduction}.pt")


@pytest.mark.slow
@pytest.mark.xdist_group("two_ranks")
def test_two_ranks_take_the_step_of_one(tmp_path: Path, two_ranks: TwoRanks) -> None:
    image, text, batch = random_batch()
    two_ranks.call(of_one_rank, str(tmp_path))
    scale = torch.tensor(SCALE, dtype=torch.float64)
    for reduction in ("mean", "mean_per_group"):
        alone = step_of(image, text, scale, batch, one_dimension(batch), reduction)
        for rank in range(2):
            found = torch.load(tmp_path / f"{rank}-{reduction}.pt", weights_only=True)
            for value, wanted in zip(found, alone, strict=True):
                torch.testing.assert_close(value, wanted)
        # Without the other rank's images as negatives the loss is another.
        apart = 0.0
        for start, stop in RANKS:
            rows = slice(sum(SIZES[:start]), sum(SIZES[:stop]))
            mine = part(batch, start, stop)
            apart += step_of(image[rows], text[start:stop], scale, mine, one_dimension(batch), reduction)[0].item()
        assert abs(apart - alone[0].item()) > 0.1
