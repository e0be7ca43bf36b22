"""Laws with ties: probabilities, learned parameters that start exactly, impossible values."""

from __future__ import annotations

import math

import pytest
import torch
from objective_labels import TIE, WIN, compared

from rewardkit.errors import UserError
from rewardkit.objectives.bradley_terry import bradley_terry
from rewardkit.objectives.ties import (
    Davidson,
    RaoKupper,
    davidson,
    davidson_log_probabilities,
    inverse_softplus,
    log_softplus,
    rao_kupper,
    rao_kupper_log_probabilities,
)

ONE = ("overall",)


def test_a_tie_of_equals() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    assert rao_kupper_log_probabilities(zero, math.log(5)).exp()[0, 1].item() == pytest.approx(2 / 3)
    assert davidson_log_probabilities(zero, 0.0).exp()[0, 1].item() == pytest.approx(1 / 3)


def test_the_published_probabilities() -> None:
    delta = torch.tensor([0.7], dtype=torch.float64)
    found = rao_kupper_log_probabilities(delta, math.log(5)).exp()[0].tolist()
    assert found == pytest.approx([0.287115, 0.622541, 0.090344], abs=1e-6)
    found = davidson_log_probabilities(delta, 0.0).exp()[0].tolist()
    assert found == pytest.approx([0.454283, 0.320127, 0.225590], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_ties_both_are_bradley_terry_and_a_tie_is_clamped(dtype: torch.dtype) -> None:
    delta, won = torch.linspace(-5, 5, 11, dtype=dtype), torch.tensor([WIN], dtype=dtype)
    for found in (rao_kupper(delta, won, 0.0), davidson(delta, won, -math.inf)):
        torch.testing.assert_close(found, bradley_terry(delta, won))
    tie = torch.tensor([TIE], dtype=dtype)
    for found in (rao_kupper(delta, tie, 0.0), davidson(delta, tie, -math.inf)):
        assert torch.isfinite(found).all() and (found > 20).all()


@pytest.mark.parametrize("value", [1e-3, 0.1, 1.0, 4.0, 50.0])
def test_the_learned_value_starts_where_it_is_told(value: float) -> None:
    theta = RaoKupper(("a", "b"), theta=1 + value, learned=True)
    nu = Davidson(("a", "b"), nu=value, learned=True)
    assert theta.theta.tolist() == pytest.approx([1 + value] * 2, rel=1e-6)
    assert nu.nu.tolist() == pytest.approx([value] * 2, rel=1e-6)
    assert [tuple(p.shape) for p in (*theta.parameters(), *nu.parameters())] == [(2,), (2,)]
    delta, target = torch.tensor([0.3, -2.0]), torch.tensor([WIN, TIE])
    seen = compared(delta, target)
    torch.testing.assert_close(theta(seen), RaoKupper(ONE, theta=1 + value)(seen), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(nu(seen), Davidson(ONE, nu=value)(seen), rtol=1e-5, atol=1e-6)
    assert not list(RaoKupper(ONE).parameters()) and not RaoKupper(ONE).state_dict()


@pytest.mark.parametrize("law", [RaoKupper, Davidson])
def test_learning_finds_the_share_of_ties(law: type[RaoKupper] | type[Davidson]) -> None:
    rule = law(ONE, learned=True)
    seen = compared(torch.zeros(10), torch.tensor([TIE] * 2 + [WIN] * 4 + [[0.0, 0.0, 1.0]] * 4))
    optimiser = torch.optim.Adam(rule.parameters(), lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        rule(seen).mean().backward()
        optimiser.step()
    # (theta - 1) / (theta + 1) and nu / (2 + nu) are the share of ties among equals: 1 in 5.
    found = rule.theta.item() if isinstance(rule, RaoKupper) else rule.nu.item()
    assert found == pytest.approx(1.5 if law is RaoKupper else 0.5, rel=1e-2)


@pytest.mark.parametrize("law", [RaoKupper, Davidson])
def test_a_learned_value_that_fell_comes_back(law: type[RaoKupper] | type[Davidson]) -> None:
    rule = law(ONE, learned=True)
    with torch.no_grad():
        next(rule.parameters()).fill_(-18.0)
    rule(compared(torch.zeros(1), torch.tensor([TIE]))).sum().backward()
    (gradient,) = [p.grad for p in rule.parameters()]
    assert gradient is not None and gradient.item() == pytest.approx(-1, abs=1e-3)


@pytest.mark.parametrize("value", [1.0, 0.5, -2.0, math.nan, math.inf])
def test_impossible_values_are_refused(value: float) -> None:
    with pytest.raises(UserError, match="theta of the Rao-Kupper law has to be above 1"):
        RaoKupper(ONE, theta=value)
    if not 0 < value < math.inf:
        with pytest.raises(UserError, match="nu of the Davidson law has to be above 0"):
            Davidson(ONE, nu=value)


def test_softplus_and_back() -> None:
    for value in (1e-9, 0.1, 3.0, 100.0):
        raw = torch.tensor(inverse_softplus(value), dtype=torch.float64)
        assert torch.nn.functional.softplus(raw).item() == pytest.approx(value)
        assert log_softplus(raw).item() == pytest.approx(math.log(value))
