"""The pairwise objective: published values, denominators that make micro-batches add up, edge cases."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import Loss
from rewardkit.objectives.pairwise import PairwiseObjective, bradley_terry
from rewardkit.objectives.weighted import WeightedObjective

DIMENSIONS = ("overall", "aesthetic", "fidelity")
WIN, TIE, LOSE, NOTHING = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]


def labels(pairs: list[tuple[int, int, int, list[float], float]], group: list[int]) -> Any:
    """A batch's labels from (first, second, dimension, target, weight)."""
    columns = list(zip(*pairs, strict=True)) or [(), (), (), (), ()]
    first, second, dimension = (torch.tensor(c, dtype=torch.long) for c in columns[:3])
    return SimpleNamespace(
        first=first,
        second=second,
        dimension=dimension,
        target=torch.tensor(columns[3], dtype=torch.float32).reshape(-1, 3),
        weight=torch.tensor(columns[4], dtype=torch.float32),
        group=torch.tensor(group),
        tokens=torch.zeros(max(group, default=0) + 1, 1, dtype=torch.long),
    )


def denominators(batch: Any) -> Any:
    comparisons, groups = torch.zeros(len(DIMENSIONS)), torch.zeros(len(DIMENSIONS))
    comparisons.index_add_(0, batch.dimension, batch.weight)
    for d in range(len(DIMENSIONS)):
        groups[d] = len(set(batch.group[batch.first[batch.dimension == d]].tolist()))
    return SimpleNamespace(comparisons=comparisons, groups=groups)


def random_labels(seed: int, groups: int = 3) -> tuple[Tensor, Any]:
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for g in range(groups):
        for i in range(4):
            for j in range(i + 1, 4):
                for d in range(3):
                    if torch.rand(1, generator=generator) < 0.6:
                        votes = torch.rand(3, generator=generator)
                        weight = float(torch.rand(1, generator=generator)) + 0.1
                        pairs.append((4 * g + i, 4 * g + j, d, (votes / votes.sum()).tolist(), weight))
    scores = torch.randn(4 * groups, 3, generator=generator)
    return scores, labels(pairs, [n // 4 for n in range(4 * groups)])


@pytest.mark.parametrize(
    ("delta", "target", "loss"),
    [
        (0.7, WIN, 0.403186),
        (0.7, LOSE, 1.103186),
        (0.7, [0.7, 0.0, 0.3], 0.613186),
        (0.7, TIE, 0.753186),
        (0.0, WIN, math.log(2)),
        (0.7, NOTHING, 0.0),
        (1e4, WIN, 0.0),
        (-1e4, WIN, 1e4),
        (1e4, TIE, 5e3),
    ],
)
def test_published_values(delta: float, target: list[float], loss: float) -> None:
    found = bradley_terry(torch.tensor([delta]), torch.tensor([target]))
    assert found.item() == pytest.approx(loss, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(delta=st.floats(-1e4, 1e4), votes=st.tuples(*[st.floats(0, 100)] * 3).filter(lambda v: sum(v) > 0))
def test_swap_symmetry_finiteness_and_floor(delta: float, votes: tuple[float, float, float]) -> None:
    target = torch.tensor([votes], dtype=torch.float64) / sum(votes)
    d = torch.tensor([delta], dtype=torch.float64, requires_grad=True)
    loss = bradley_terry(d, target)
    (gradient,) = torch.autograd.grad(loss.sum(), d)
    assert torch.isfinite(loss).all() and torch.isfinite(gradient).all() and (gradient.abs() <= 1).all()
    assert bradley_terry(-d, target.flip(1)).item() == pytest.approx(loss.item(), abs=1e-9)
    # The entropy of the two-sided label is the least that any score can reach.
    y = float(target[0, 0] + target[0, 1] / 2)
    entropy = -sum(p * math.log(p) for p in (y, 1 - y) if p > 0)
    assert loss.item() >= entropy - 1e-9


def test_gradcheck() -> None:
    delta = torch.randn(5, dtype=torch.float64, requires_grad=True)
    target = torch.softmax(torch.randn(5, 3, dtype=torch.float64), dim=1)
    assert torch.autograd.gradcheck(lambda d: bradley_terry(d, target), (delta,))


def test_reductions_by_hand() -> None:
    # Group 0 has two comparisons on overall, group 1 one of weight 3; aesthetic has one; fidelity none.
    batch = labels(
        [(0, 1, 0, WIN, 1.0), (1, 2, 0, LOSE, 1.0), (3, 4, 0, TIE, 3.0), (0, 1, 1, WIN, 1.0)], [0, 0, 0, 1, 1]
    )
    scores = torch.tensor([[1.0, 0.5], [0.0, 0.0], [2.0, 0.0], [0.5, 0.0], [0.0, 0.0]])
    scores = torch.cat([scores, torch.zeros(5, 1)], dim=1)

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    a, b, c = softplus(-1.0), softplus(-2.0), 0.5 * (softplus(0.5) + softplus(-0.5))
    e = softplus(-0.5)
    wanted = {
        "sum": (a + b + 3 * c, e),
        "mean": ((a + b + 3 * c) / 5, e),
        "mean_per_group": (((a + b) / 2 + c) / 2, e),
    }
    for reduction, (overall, aesthetic) in wanted.items():
        objective = PairwiseObjective(DIMENSIONS, reduction=reduction)  # type: ignore[arg-type]
        loss = objective(RewardOutput(scores=scores), batch, denominators(batch))
        total = overall + aesthetic if reduction == "sum" else (overall + aesthetic) / 3
        assert loss.total.item() == pytest.approx(total, rel=1e-6)
        parts = {name: value.item() for name, value in loss.parts.items()}
        assert parts == pytest.approx({"overall": overall, "aesthetic": aesthetic, "fidelity": 0.0}, rel=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_per_group"])
def test_shares_of_micro_batches_add_up_to_the_step(reduction: str) -> None:
    scores, whole = random_labels(0, groups=4)
    objective = PairwiseObjective(DIMENSIONS, reduction=reduction, coefficients={"overall": 2.0})  # type: ignore[arg-type]
    step = denominators(whole)
    leaf = scores.clone().requires_grad_()
    total = objective(RewardOutput(scores=leaf), whole, step).total
    total.backward()
    # One group, then three: uneven, as ranks and accumulation may be.
    shares, gradients = [], []
    for start, stop in ((0, 4), (4, 16)):
        mask = (whole.first >= start) & (whole.first < stop)
        part = SimpleNamespace(
            first=whole.first[mask] - start,
            second=whole.second[mask] - start,
            dimension=whole.dimension[mask],
            target=whole.target[mask],
            weight=whole.weight[mask],
            group=whole.group[start:stop] - start // 4,
            tokens=torch.zeros((stop - start) // 4, 1),
        )
        micro = scores[start:stop].clone().requires_grad_()
        share = objective(RewardOutput(scores=micro), part, step).total
        share.backward()
        shares.append(share.detach())
        gradients.append(micro.grad)
    torch.testing.assert_close(sum(shares), total.detach())
    torch.testing.assert_close(torch.cat(gradients), leaf.grad)


def test_a_dimension_without_labels_changes_nothing_for_the_others() -> None:
    scores, batch = random_labels(1)
    keep = batch.dimension != 2
    fewer = SimpleNamespace(**{**vars(batch), **{n: getattr(batch, n)[keep] for n in ("first", "second", "dimension")}})
    fewer.target, fewer.weight = batch.target[keep], batch.weight[keep]
    objective = PairwiseObjective(DIMENSIONS)
    full = objective(RewardOutput(scores=scores), batch, denominators(batch))
    part = objective(RewardOutput(scores=scores), fewer, denominators(fewer))
    assert part.parts["overall"] == full.parts["overall"] and part.parts["fidelity"] == 0
    torch.testing.assert_close(part.total, full.total - full.parts["fidelity"] / 3)


def test_no_labels_at_all_give_zero_with_zero_gradients() -> None:
    leaf = torch.randn(2, 3, requires_grad=True)
    batch = labels([], [0, 0])
    for reduction in ("mean", "sum", "mean_per_group"):
        objective = PairwiseObjective(DIMENSIONS, reduction=reduction)  # type: ignore[arg-type]
        loss = objective(RewardOutput(scores=leaf), batch, denominators(batch)).total
        assert loss.item() == 0.0
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert torch.equal(gradient, torch.zeros_like(leaf))


def test_half_precision_scores_give_a_float32_loss() -> None:
    scores, batch = random_labels(2)
    found = PairwiseObjective(DIMENSIONS)(RewardOutput(scores=scores.bfloat16()), batch, denominators(batch))
    wanted = PairwiseObjective(DIMENSIONS)(RewardOutput(scores=scores.bfloat16().float()), batch, denominators(batch))
    assert found.total.dtype == torch.float32 and torch.equal(found.total, wanted.total)


def test_scores_can_reach_the_floor() -> None:
    scores, batch = torch.zeros(3, 3, requires_grad=True), labels([(0, 1, 0, WIN, 1.0), (1, 2, 1, TIE, 1.0)], [0, 0, 0])
    objective, optimiser = PairwiseObjective(DIMENSIONS), torch.optim.SGD([scores], lr=3.0)
    for _ in range(400):
        optimiser.zero_grad()
        loss = objective(RewardOutput(scores=scores), batch, denominators(batch))
        loss.total.backward()
        optimiser.step()
    assert loss.parts["overall"] < 0.01 and loss.parts["aesthetic"] == pytest.approx(math.log(2), abs=1e-4)


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'mean'"):
        PairwiseObjective(DIMENSIONS, reduction="meen")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="coefficients for body, but the model judges overall"):
        PairwiseObjective(DIMENSIONS, coefficients={"body": 1.0})


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, output: RewardOutput, batch: Any, counts: Any) -> Loss:
        return Loss(total=self.value, parts={"x": self.value.detach()})


def test_a_weighted_sum_names_its_terms() -> None:
    objective = WeightedObjective({"pairwise": Constant(2.0), "caption_contrast": Constant(3.0)})
    output = RewardOutput(scores=torch.zeros(1, 1))
    loss = objective(output, None, None, coefficients={"caption_contrast": 0.5})
    assert loss.total.item() == 3.5
    assert {name: value.item() for name, value in loss.parts.items()} == {
        "pairwise": 2.0,
        "pairwise/x": 2.0,
        "caption_contrast": 3.0,
        "caption_contrast/x": 3.0,
    }
    loss.total.backward()
    assert objective.terms["caption_contrast"].value.grad == 0.5
    assert len(list(objective.parameters())) == 2, "learned parameters of the terms are its own"
