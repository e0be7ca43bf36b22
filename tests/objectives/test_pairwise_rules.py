"""Every pairwise rule: published values, swap symmetry, probabilities, monotony, floors, what indifference costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_labels import LOSE, NOTHING, TIE, WIN, compared
from torch import Tensor

from rewardkit.errors import UserError
from rewardkit.objectives.bradley_terry import CDPO, BradleyTerry, ImageReward, PickScore, Robust, robust
from rewardkit.objectives.centering import Centering
from rewardkit.objectives.compared import Compared
from rewardkit.objectives.margins import Hinge, Margin, Scaled
from rewardkit.objectives.ties import Davidson, RaoKupper
from rewardkit.objectives.uncertain import Gaussian, Thurstone

ONE = ("overall",)
RULES: dict[str, Callable[[], Any]] = {
    "bradley_terry": BradleyTerry,
    "bradley_terry_drop": lambda: BradleyTerry("drop"),
    "pickscore": PickScore,
    "imagereward": ImageReward,
    "margin": lambda: Margin(0.57),
    "margin_of_gap": lambda: Margin(0.5, of="rating_gap"),
    "scaled": lambda: Scaled(2.0, of="constant"),
    "scaled_of_gap": lambda: Scaled(0.5),
    "hinge": lambda: Hinge(1.0),
    "cdpo": lambda: CDPO(ONE, 0.1),
    "robust": lambda: Robust(ONE, 0.1),
    "thurstone": Thurstone,
    "gaussian": Gaussian,
    "gaussian_mean_neg_log": lambda: Gaussian("mean_neg_log"),
    "rao_kupper": lambda: RaoKupper(ONE, theta=3.0, learned=True),
    "davidson": lambda: Davidson(ONE, nu=0.5, learned=True),
}
TWO_OUTCOMES = ("bradley_terry", "bradley_terry_drop", "pickscore", "imagereward", "thurstone", "gaussian")
THREE_OUTCOMES = ("rao_kupper", "davidson")
MONOTONE = tuple(name for name in RULES if name != "cdpo")
GAP = 1.5

deltas = st.floats(-1e4, 1e4)
votes_of_three = st.tuples(*[st.floats(0, 100)] * 3).filter(lambda v: sum(v) > 1e-3)


def loss_of(rule: Any, delta: Tensor, target: list[float] | Tensor, *, gap: float = GAP) -> Tensor:
    target = torch.as_tensor(target, dtype=delta.dtype).expand(len(delta), 3)
    found: Tensor = rule(compared(delta, target, gap=torch.full_like(delta, gap)))
    return found


def flat(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("rule", "target", "wanted"),
    [
        (BradleyTerry(), WIN, 0.403186),
        (BradleyTerry(), LOSE, 1.103186),
        (BradleyTerry(), [0.7, 0.0, 0.3], 0.613186),
        (BradleyTerry(), TIE, 0.753186),
        (BradleyTerry(), NOTHING, 0.0),
        (BradleyTerry("drop"), [0.49, 0.3, 0.21], 0.613186),
        (PickScore(), TIE, 0.060039),
        (PickScore(), [0.5, 0.0, 0.5], 0.060039),
        (PickScore(), WIN, 0.403186),
        (PickScore(), NOTHING, 0.0),
        (CDPO(ONE, 0.1), WIN, 0.473186),
        (Robust(ONE, 0.1), WIN, 0.315686),
        (Hinge(1.0), WIN, 0.3),
        (Hinge(1.0), LOSE, 1.7),
        (Margin(0.7), WIN, math.log(2)),
        (Scaled(2.0, of="constant"), WIN, 0.806372),
        (RaoKupper(ONE, theta=5.0), WIN, 1.247873),
        (RaoKupper(ONE, theta=5.0), TIE, 0.473946),
        (Davidson(ONE, nu=1.0), WIN, 0.789036),
        (Davidson(ONE, nu=1.0), [0.5, 0.5, 0.0], (0.789036 - math.log(0.320127)) / 2),
    ],
)
def test_published_values(rule: Any, target: list[float], wanted: float) -> None:
    assert loss_of(rule, flat(0.7), target).item() == pytest.approx(wanted, abs=2e-6)


def test_rating_gaps_set_the_margin_and_the_factor() -> None:
    softplus = torch.nn.functional.softplus
    delta, gaps = flat(0.3, 0.3, 0.3), flat(2.0, -2.0, math.nan)
    for target, sign in ((WIN, 1), (LOSE, -1)):
        seen = compared(delta, torch.tensor(target).expand(3, 3), gap=gaps)
        # The sign of the gap says which one is first, not who won; without ratings it is Bradley-Terry.
        wanted = softplus(torch.tensor([1.0, 1.0, 0.0]) - sign * delta)
        torch.testing.assert_close(Margin(0.5, of="rating_gap")(seen), wanted, check_dtype=False)
        wanted = torch.tensor([1.0, 1.0, 1.0]) * softplus(-sign * delta)
        torch.testing.assert_close(Scaled(0.5)(seen), wanted, check_dtype=False)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=30, deadline=None)
@given(delta=deltas, votes=votes_of_three)
def test_swapping_the_two_changes_nothing(name: str, delta: float, votes: tuple[float, float, float]) -> None:
    rule, target = RULES[name](), torch.tensor(votes, dtype=torch.float64) / sum(votes)
    seen = compared(flat(delta), target.expand(1, 3), gap=flat(GAP))
    assert seen.log_sigma is not None
    swapped = Compared(-seen.delta, seen.total, target.flip(0).expand(1, 3), seen.dimension, -seen.gap)
    swapped.log_sigma = (seen.log_sigma[1], seen.log_sigma[0])
    torch.testing.assert_close(rule(swapped), rule(seen))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*RULES, "centering"])
@settings(max_examples=30, deadline=None)
@given(delta=deltas | st.sampled_from([1e4, -1e4, 0.0]), votes=votes_of_three)
def test_values_and_gradients_are_finite(
    name: str, dtype: torch.dtype, delta: float, votes: tuple[float, float, float]
) -> None:
    rule = {**RULES, "centering": Centering}[name]()
    leaf = torch.tensor([delta], dtype=dtype, requires_grad=True)
    seen = compared(leaf, torch.tensor([votes], dtype=dtype) / sum(votes), gap=torch.tensor([GAP], dtype=dtype))
    seen.total = 2 * leaf  # the other score is 0
    loss = rule(seen).sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    if name not in ("thurstone", "centering"):  # their gradients grow with delta
        assert gradient.abs() <= 3
    for parameter in rule.parameters():
        (gradient,) = torch.autograd.grad(rule(seen).sum(), parameter)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", TWO_OUTCOMES + THREE_OUTCOMES)
def test_probabilities_sum_to_one(name: str) -> None:
    delta = torch.cat([torch.linspace(-30, 30, 61, dtype=torch.float64), flat(-1e4, 1e4)])
    outcomes = (WIN, TIE, LOSE) if name in THREE_OUTCOMES else (WIN, LOSE)
    total = sum(torch.exp(-loss_of(RULES[name](), delta, outcome)) for outcome in outcomes)
    torch.testing.assert_close(total, torch.ones_like(delta))


@pytest.mark.parametrize("name", RULES)
def test_a_win_costs_less_the_further_first_leads(name: str) -> None:
    delta = torch.linspace(-40, 40, 321, dtype=torch.float64)
    won, lost = loss_of(RULES[name](), delta, WIN), loss_of(RULES[name](), delta, LOSE)
    if name in MONOTONE:
        assert (won.diff() <= 1e-12).all() and (won[:200].diff() < 0).sum() > 100
        assert (lost.diff() >= -1e-12).all()
    else:
        # Smoothed labels have their least value at a finite lead.
        assert delta[won.argmin()].item() == pytest.approx(math.log(9), abs=0.25)


def entropy(*shares: float) -> float:
    return -sum(p * math.log(p) for p in shares if p > 0)


@pytest.mark.parametrize(
    ("name", "target", "floor"),
    [
        *[(name, WIN, 0.0) for name in RULES if name not in ("cdpo", "robust")],
        ("bradley_terry", [0.6, 0.2, 0.2], entropy(0.7, 0.3)),
        ("bradley_terry_drop", [0.6, 0.2, 0.2], entropy(0.75, 0.25)),
        ("pickscore", TIE, 0.0),
        ("imagereward", [0.6, 0.2, 0.2], 0.0),
        ("cdpo", WIN, entropy(0.9, 0.1)),
        ("thurstone", [0.8, 0.0, 0.2], entropy(0.8, 0.2)),
        ("gaussian", [0.8, 0.0, 0.2], entropy(0.8, 0.2)),
        # theta = 3 gives a tie 1/2 at most; nu = 1/2 gives it 1/5.
        ("rao_kupper", TIE, math.log(2)),
        ("rao_kupper", [0.25, 0.5, 0.25], entropy(0.25, 0.5, 0.25)),
        ("davidson", TIE, math.log(5)),
        ("davidson", [0.4, 0.2, 0.4], entropy(0.4, 0.2, 0.4)),
    ],
)
def test_the_least_value_is_reached(name: str, target: list[float], floor: float) -> None:
    delta = torch.cat([torch.linspace(-200, 200, 40001, dtype=torch.float64), flat(1e4)])
    losses = loss_of(RULES[name](), delta, target)
    assert losses.min().item() == pytest.approx(floor, abs=1e-4)
    assert losses.min().item() >= floor - 1e-7  # a learned theta is a float32


def test_the_robust_loss_is_unbiased_under_flips_and_unbounded_below() -> None:
    delta, rate = torch.linspace(-5, 5, 11, dtype=torch.float64), 0.2
    won, lost = (robust(delta, torch.tensor([t], dtype=torch.float64), rate) for t in (WIN, LOSE))
    torch.testing.assert_close((1 - rate) * won + rate * lost, loss_of(BradleyTerry(), delta, WIN))
    assert loss_of(Robust(ONE, rate), flat(1e4), WIN).item() == pytest.approx(-rate * 1e4 / (1 - 2 * rate))
    torch.testing.assert_close(loss_of(Robust(ONE, 0.0), delta, WIN), loss_of(BradleyTerry(), delta, WIN))


def test_a_flip_rate_belongs_to_its_dimension() -> None:
    rates = {"overall": 0.0, "body": 0.4}
    for law in (CDPO, Robust):
        seen = compared(flat(0.7, 0.7), torch.tensor([WIN, WIN], dtype=torch.float64))
        seen.dimension = torch.tensor([1, 0])
        found = law(("overall", "body"), rates)(seen).tolist()
        assert found == pytest.approx([loss_of(law(ONE, r), flat(0.7), WIN).item() for r in (0.4, 0.0)])
        for wrong in (0.5, -0.1, math.nan):
            with pytest.raises(UserError, match="flip_rate of body is"):
                law(("overall", "body"), {"overall": 0.1, "body": wrong})


@pytest.mark.parametrize("name", RULES)
def test_what_indifference_costs(name: str) -> None:
    rule = RULES[name]()
    losses = [loss_of(rule, flat(0.0), target).item() for target in (WIN, LOSE)]
    if rule.indifferent is None:
        assert name in ("margin_of_gap", "scaled_of_gap", "gaussian_mean_neg_log", "rao_kupper", "davidson")
    else:
        assert losses == pytest.approx([rule.indifferent] * 2)


def test_wrong_options_are_named() -> None:
    for rule in (Margin, Scaled, Hinge):
        with pytest.raises(UserError, match="has to be a number of at least 0, not -1"):
            rule(-1.0)
    with pytest.raises(UserError, match="'constant' or 'rating_gap', not 'gap'"):
        Margin(of="gap")  # type: ignore[arg-type]
