"""The reduction of comparisons: by hand, factors, decided comparisons, edge cases; and the sum of terms."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from objective_labels import DIMENSIONS, LOSE, TIE, WIN, denominators, labels, random_step
from torch import nn

from rewardkit.data import comparisons
from rewardkit.errors import UserError
from rewardkit.metrics.judged_pairs import FIRST, SECOND, verdicts
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.bradley_terry import BradleyTerry, ImageReward
from rewardkit.objectives.compared import is_decided, without_ties
from rewardkit.objectives.loss import Loss, value_of_each
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.weighted import WeightedObjective

REDUCTIONS = ("mean", "sum", "mean_per_group")


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_reductions_by_hand() -> None:
    # Group 0 has two comparisons on overall, group 1 one of weight 3; aesthetic has one; fidelity none.
    batch = labels(
        [(0, 1, 0, WIN, 1.0), (1, 2, 0, LOSE, 1.0), (3, 4, 0, TIE, 3.0), (0, 1, 1, WIN, 1.0)], [0, 0, 0, 1, 1]
    )
    scores = torch.tensor([[1.0, 0.5], [0.0, 0.0], [2.0, 0.0], [0.5, 0.0], [0.0, 0.0]])
    scores = torch.cat([scores, torch.zeros(5, 1)], dim=1)
    a, b, c = softplus(-1.0), softplus(-2.0), 0.5 * (softplus(0.5) + softplus(-0.5))
    e = softplus(-0.5)
    half = {"sum": (a + b + 3 * c, e), "mean": ((a + b + 3 * c) / 5, e), "mean_per_group": (((a + b) / 2 + c) / 2, e)}
    # Without the tie, group 1 has nothing to say.
    drop = {"sum": (a + b, e), "mean": ((a + b) / 2, e), "mean_per_group": ((a + b) / 2, e)}
    for ties, wanted in (("half", half), ("drop", drop)):
        for reduction, (overall, aesthetic) in wanted.items():
            objective = PairwiseObjective(DIMENSIONS, BradleyTerry(ties), reduction=reduction)  # type: ignore[arg-type]
            loss = objective(RewardOutput(scores=scores), batch, denominators(batch))
            total = overall + aesthetic if reduction == "sum" else (overall + aesthetic) / 3
            assert loss.total.item() == pytest.approx(total, rel=1e-6)
            parts = {name: value.item() for name, value in loss.parts.items()}
            assert parts == pytest.approx({"overall": overall, "aesthetic": aesthetic, "fidelity": 0.0}, rel=1e-6)


def test_factors_choose_and_weigh_dimensions() -> None:
    output, batch = random_step(0)
    step = denominators(batch)
    alone = {d: PairwiseObjective(DIMENSIONS)(output, batch, step).parts[d].item() for d in DIMENSIONS}
    loss = PairwiseObjective(DIMENSIONS, factors={"overall": 3.0, "fidelity": 1.0})(output, batch, step)
    assert loss.total.item() == pytest.approx((3 * alone["overall"] + alone["fidelity"]) / 4)
    assert set(loss.parts) == {"overall", "fidelity"}, "a dimension that is not named has no term"
    loss = PairwiseObjective(DIMENSIONS, reduction="sum", factors={"aesthetic": 0.5})(output, batch, step)
    assert loss.total.item() == pytest.approx(0.5 * alone["aesthetic"] * step.comparisons[1].item(), rel=1e-5)


def test_is_decided_follows_the_verdict_of_the_protocols() -> None:
    votes = torch.tensor(list(itertools.product((0.0, 1.0, 2.0, 3.0, 10.0), repeat=3)), dtype=torch.float64)
    verdict = verdicts(*votes.numpy().T)
    wanted = torch.from_numpy((verdict == FIRST) | (verdict == SECOND))
    assert torch.equal(is_decided(votes), wanted) and 0 < wanted.sum() < len(wanted)
    shares = (votes / votes.sum(dim=1, keepdim=True).clamp(min=1)).float()
    assert torch.equal(is_decided(shares), wanted), "shares decide as votes do"
    assert [bool(comparisons.is_decided(*v)) for v in votes.tolist()] == wanted.tolist()


def test_what_is_not_decided_never_reaches_the_loss() -> None:
    batch = labels([(0, 1, 0, WIN, 1.0), (1, 2, 0, TIE, 5.0), (0, 2, 0, [0.5, 0.0, 0.5], 5.0)], [0, 0, 0])
    leaf = torch.tensor([[1.0], [0.0], [3.0]]).expand(3, 3).clone().requires_grad_()
    loss = PairwiseObjective(DIMENSIONS, ImageReward())(RewardOutput(scores=leaf), batch, denominators(batch))
    loss.total.backward()
    assert loss.parts["overall"].item() == pytest.approx(softplus(-1.0))
    assert leaf.grad is not None and leaf.grad[2].abs().max() == 0


def test_shares_without_ties_sum_to_one() -> None:
    first, second = without_ties(torch.tensor([[0.5, 0.3, 0.2], TIE, [0.0, 0.0, 0.0]]))
    assert first.tolist() == pytest.approx([5 / 7, 0, 0]) and second.tolist() == pytest.approx([2 / 7, 0, 0])


def test_no_labels_at_all_give_zero_with_zero_gradients() -> None:
    leaf = torch.randn(2, 3, requires_grad=True)
    batch = labels([], [0, 0])
    for reduction in REDUCTIONS:
        objective = PairwiseObjective(DIMENSIONS, reduction=reduction)  # type: ignore[arg-type]
        loss = objective(RewardOutput(scores=leaf), batch, denominators(batch)).total
        assert loss.item() == 0.0
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert torch.equal(gradient, torch.zeros_like(leaf))


def test_scores_can_reach_the_floor() -> None:
    scores, batch = torch.zeros(3, 3, requires_grad=True), labels([(0, 1, 0, WIN, 1.0), (1, 2, 1, TIE, 1.0)], [0, 0, 0])
    objective, optimiser = PairwiseObjective(DIMENSIONS), torch.optim.SGD([scores], lr=6.0)
    for _ in range(100):
        optimiser.zero_grad()
        loss = objective(RewardOutput(scores=scores), batch, denominators(batch))
        loss.total.backward()
        optimiser.step()
    assert loss.parts["overall"] < 0.01 and loss.parts["aesthetic"] == pytest.approx(math.log(2), abs=1e-4)


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'mean'"):
        PairwiseObjective(DIMENSIONS, reduction="meen")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="factors for body, but the model judges overall"):
        PairwiseObjective(DIMENSIONS, factors={"body": 1.0})
    with pytest.raises(UserError, match="cannot be negative"):
        PairwiseObjective(DIMENSIONS, factors={"overall": -1.0})
    with pytest.raises(UserError, match="all dimensions are 0"):
        PairwiseObjective(DIMENSIONS, factors={"overall": 0.0})
    with pytest.raises(UserError, match="flip_rate names no value for aesthetic, fidelity"):
        value_of_each("flip_rate", {"overall": 0.1}, DIMENSIONS)
    with pytest.raises(UserError, match="'half' or 'drop'"):
        BradleyTerry("keep")  # type: ignore[arg-type]


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, output: RewardOutput, batch: Any, counts: Any) -> Loss:
        return Loss(total=self.value, parts={"x": self.value.detach()})


def test_a_weighted_sum_names_its_terms() -> None:
    objective = WeightedObjective({"pairwise": Constant(2.0), "caption_contrast": Constant(3.0)})
    output = RewardOutput(scores=torch.zeros(1, 1))
    loss = objective(output, SimpleNamespace(), SimpleNamespace(), coefficients={"caption_contrast": 0.5})
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
