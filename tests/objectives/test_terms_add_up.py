"""Every term: micro-batches and ranks add up to the step, sparse dimensions and half precision change nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from objective_labels import DIMENSIONS, LEVELS, denominators, labels, part_of, random_step
from torch import Tensor, nn

from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.bradley_terry import CDPO, BradleyTerry, ImageReward, PickScore, Robust
from rewardkit.objectives.centering import Centering
from rewardkit.objectives.listwise import ListNet, RankingHinge, RankingObjective, Top1
from rewardkit.objectives.margins import Hinge, Margin, Scaled
from rewardkit.objectives.ordinal import OrdinalObjective
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.plackett_luce import PlackettLuce
from rewardkit.objectives.pointwise import RatingObjective
from rewardkit.objectives.ties import Davidson, RaoKupper
from rewardkit.objectives.uncertain import Gaussian, Thurstone

FACTORS = {"overall": 2.0, "aesthetic": 1.0, "fidelity": 0.5}
RULES: dict[str, Callable[[], Any]] = {
    "bradley_terry": BradleyTerry,
    "bradley_terry_drop": lambda: BradleyTerry("drop"),
    "pickscore": PickScore,
    "imagereward": ImageReward,
    "cdpo": lambda: CDPO(DIMENSIONS, {"overall": 0.1, "aesthetic": 0.3, "fidelity": 0.0}),
    "robust": lambda: Robust(DIMENSIONS, {"overall": 0.1, "aesthetic": 0.3, "fidelity": 0.0}),
    "margin": lambda: Margin(0.5),
    "margin_of_gap": lambda: Margin(0.5, of="rating_gap"),
    "scaled": lambda: Scaled(2.0, of="constant"),
    "scaled_of_gap": lambda: Scaled(2.0),
    "hinge": Hinge,
    "thurstone": Thurstone,
    "gaussian": Gaussian,
    "gaussian_mean_neg_log": lambda: Gaussian("mean_neg_log", nodes=20),
    "rao_kupper": lambda: RaoKupper(DIMENSIONS, theta=3.0, learned=True),
    "davidson": lambda: Davidson(DIMENSIONS, nu=0.7, learned=True),
    "centering": Centering,
}
TERMS: dict[str, Callable[[], nn.Module]] = {
    **{
        f"{name}-{reduction}": lambda rule=rule, reduction=reduction: PairwiseObjective(  # type: ignore[misc]
            DIMENSIONS, rule(), reduction=reduction, factors=FACTORS
        )
        for name, rule in RULES.items()
        for reduction in ("mean", "sum", "mean_per_group")
    },
    **{
        name: lambda rule=rule: RankingObjective(DIMENSIONS, rule(), factors=FACTORS)  # type: ignore[misc]
        for name, rule in {
            "plackett_luce": PlackettLuce,
            "plackett_luce_top": lambda: PlackettLuce("breslow", top=1),
            "plackett_luce_mean": lambda: PlackettLuce("mean"),
            "top1": Top1,
            "listnet": lambda: ListNet(0.5),
            "ranking_hinge": RankingHinge,
        }.items()
    },
    "mse": lambda: RatingObjective(DIMENSIONS, middle={"overall": 3.0}, factors=FACTORS),
    "huber": lambda: RatingObjective(DIMENSIONS, "huber", slope=1.0, factors=FACTORS),
    "ordinal": lambda: OrdinalObjective(DIMENSIONS, LEVELS, factors=FACTORS),
}
ONCE = [name for name in TERMS if not name.endswith(("-sum", "-mean_per_group"))]


def shares(objective: nn.Module, output: RewardOutput, batch: Any, step: Any, cuts: list[int]) -> list[Tensor]:
    """The sum of the micro-batches' totals, and its gradients: of scores, of sigmas, of the objective's parameters."""
    objective.zero_grad()
    assert output.log_sigma is not None
    scores, sigma = output.scores.clone().requires_grad_(), output.log_sigma.clone().requires_grad_()
    total = torch.zeros(())
    for start, stop in pairwise(cuts):
        rows = slice(4 * start, 4 * stop)
        micro = RewardOutput(scores=scores[rows], log_sigma=sigma[rows])
        share = objective(micro, part_of(batch, start, stop), step).total
        share.backward()
        total = total + share.detach()
    learned = [p.grad.clone() for p in objective.parameters() if p.grad is not None]
    assert len(learned) == len(list(objective.parameters())), "every learned parameter has a gradient"
    assert scores.grad is not None
    return [total, scores.grad, *([] if sigma.grad is None else [sigma.grad]), *learned]


@pytest.mark.parametrize("name", TERMS)
def test_shares_of_micro_batches_add_up_to_the_step(name: str) -> None:
    output, batch = random_step(0, groups=5)
    objective, step = TERMS[name](), denominators(batch)
    whole = shares(objective, output, batch, step, [0, 5])
    # One group, then three, then one: uneven, as ranks and accumulation may be.
    parts = shares(objective, output, batch, step, [0, 1, 4, 5])
    assert whole[0].item() != 0 and whole[1].abs().max() > 0
    for found, wanted in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ONCE)
def test_a_dimension_without_labels_changes_nothing_for_the_others(name: str) -> None:
    output, batch = random_step(1, without=2)
    objective = TERMS[name]()
    scores = output.scores.clone().requires_grad_()
    loss = objective(RewardOutput(scores=scores, log_sigma=output.log_sigma), batch, denominators(batch))
    loss.total.backward()
    assert loss.parts["fidelity"] == 0 and loss.parts["overall"] != 0
    total = 2 * loss.parts["overall"] + loss.parts["aesthetic"]
    torch.testing.assert_close(loss.total.detach(), total / 3.5)
    assert scores.grad is not None and scores.grad[:, 2].abs().max() == 0
    for parameter in objective.parameters():
        assert parameter.grad is not None and parameter.grad[2].abs().max() == 0
        assert parameter.grad[0].abs().max() > 0


@pytest.mark.parametrize("name", TERMS)
def test_no_labels_at_all_give_zero_with_zero_gradients(name: str) -> None:
    objective, batch = TERMS[name](), labels([], [0, 0])
    scores = torch.randn(2, 3, requires_grad=True)
    output = RewardOutput(scores=scores, log_sigma=torch.zeros(2, 3))
    loss = objective(output, batch, denominators(batch)).total
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad is not None and torch.equal(scores.grad, torch.zeros_like(scores))
    for parameter in objective.parameters():
        assert parameter.grad is not None and torch.equal(parameter.grad, torch.zeros_like(parameter))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ONCE)
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    output, batch = random_step(2)
    assert output.log_sigma is not None
    objective, step = TERMS[name](), denominators(batch)
    half = RewardOutput(scores=output.scores.to(dtype), log_sigma=output.log_sigma.to(dtype))
    wide = RewardOutput(scores=half.scores.float(), log_sigma=output.log_sigma.to(dtype).float())
    with torch.autocast("cpu", torch.bfloat16):
        found = objective(half, batch, step).total
    assert found.dtype == torch.float32 and torch.equal(found, objective(wide, batch, step).total)


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ONCE)
def test_scores_far_out_give_finite_losses_and_gradients(name: str, dtype: torch.dtype, size: float) -> None:
    output, batch = random_step(3)
    assert output.log_sigma is not None
    objective = TERMS[name]()
    scores = (output.scores.sign() * size).to(dtype).requires_grad_()
    sigma = output.log_sigma.to(dtype).requires_grad_()
    loss = objective(RewardOutput(scores=scores, log_sigma=sigma), batch, denominators(batch)).total
    loss.backward()
    assert loss.dtype == dtype and torch.isfinite(loss)
    gradients = [scores.grad, sigma.grad, *(p.grad for p in objective.parameters())]
    assert all(torch.isfinite(g).all() for g in gradients if g is not None)


@pytest.mark.parametrize("name", ONCE)
def test_gradcheck(name: str) -> None:
    output, batch = random_step(4, groups=2)
    assert output.log_sigma is not None
    objective, step = TERMS[name]().double(), denominators(batch)
    scores = output.scores.double().requires_grad_()
    sigma = output.log_sigma.double().requires_grad_()

    def total(scores: Tensor, sigma: Tensor, *learned: Tensor) -> Tensor:
        names = [n for n, _ in objective.named_parameters()]
        given = dict(zip(names, learned, strict=True))
        output = RewardOutput(scores=scores, log_sigma=sigma)
        loss: Tensor = torch.func.functional_call(objective, given, (output, batch, step)).total
        return loss

    assert torch.autograd.gradcheck(total, (scores, sigma, *objective.parameters()))


@pytest.mark.parametrize("name", ONCE)
def test_float32_is_near_float64(name: str) -> None:
    output, batch = random_step(5)
    assert output.log_sigma is not None
    found = []
    for dtype in (torch.float32, torch.float64):
        scores = (3 * output.scores).to(dtype).requires_grad_()
        wide = RewardOutput(scores=scores, log_sigma=output.log_sigma.to(dtype))
        loss = TERMS[name]()(wide, batch, denominators(batch)).total
        found.append([loss.double().detach(), torch.autograd.grad(loss, scores)[0].double()])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["plackett_luce", "rao_kupper-mean", "ordinal", "mse"])
def test_learned_parameters_are_of_the_state(name: str) -> None:
    objective = TERMS[name]()
    assert set(objective.state_dict()) == {n for n, _ in objective.named_parameters()}, "nothing else is saved"
