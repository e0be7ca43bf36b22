"""Rewards with a spread: Thurstone, and the two forms of the Gaussian objective."""

from __future__ import annotations

import math

import pytest
import torch
from objective_labels import WIN, compared

from rewardkit.errors import UserError
from rewardkit.objectives.bradley_terry import bradley_terry
from rewardkit.objectives.uncertain import Gaussian, Thurstone, gaussian, sigma_of_difference, thurstone

WON = torch.tensor([WIN], dtype=torch.float64)


def flat(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("mu", "sigma", "mean_log", "log_mean"),
    [
        (0.5, 1.4, 0.671715, 0.527041),
        (-1, 1, 1.406856, 1.193147),
        (1, 1, 0.406856, 0.361351),
        (-2, 0.01, 2.126933, 2.126894),
    ],
)
def test_the_published_expectations(mu: float, sigma: float, mean_log: float, log_mean: float) -> None:
    for nodes in (20, 64):
        found = gaussian(flat(mu), WON, flat(sigma), form="mean_neg_log", nodes=nodes).item()
        assert found == pytest.approx(mean_log, abs=1e-6)
        assert gaussian(flat(mu), WON, flat(sigma), nodes=nodes).item() == pytest.approx(log_mean, abs=1e-6)


def test_by_drawing() -> None:
    draws = 0.7 + 1.3 * torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = -torch.sigmoid(draws).mean().log()
    assert gaussian(flat(0.7), WON, flat(1.3)).item() == pytest.approx(wanted.item(), abs=2e-3)


def test_the_gradient_of_sigma_says_who_was_right() -> None:
    for mu, slope in ((-1.0, -0.17352), (1.0, 0.07553)):
        sigma = flat(1.0).requires_grad_()
        (found,) = torch.autograd.grad(gaussian(flat(mu), WON, sigma).sum(), sigma)
        assert found.item() == pytest.approx(slope, abs=1e-5)
        # HPSv3's form shrinks sigma in both cases.
        (found,) = torch.autograd.grad(gaussian(flat(mu), WON, sigma, form="mean_neg_log").sum(), sigma)
        assert found.item() > 0.1


def test_without_spread_the_gaussian_is_bradley_terry() -> None:
    delta = torch.linspace(-4, 4, 9, dtype=torch.float64)
    for form in ("neg_log_mean", "mean_neg_log"):
        found = gaussian(delta, WON, torch.zeros_like(delta), form=form)  # type: ignore[arg-type]
        torch.testing.assert_close(found, bradley_terry(delta, WON))


def test_thurstone_takes_the_models_sigmas_or_one() -> None:
    seen = compared(flat(0.7), WON, log_sigma=None)
    assert Thurstone()(seen).item() == pytest.approx(0.371512, abs=1e-6)
    seen.log_sigma = (flat(math.log(0.5)), flat(math.log(2.0)))
    assert Thurstone()(seen).item() == pytest.approx(0.457439, abs=1e-6)
    torch.testing.assert_close(sigma_of_difference(seen.log_sigma), flat(math.sqrt(4.25)))


def test_thurstone_far_out_in_float32_has_its_true_gradient() -> None:
    for dtype in (torch.float32, torch.float64):
        delta = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4], dtype=dtype, requires_grad=True)
        loss = thurstone(delta, torch.tensor([WIN], dtype=dtype), 1.0)
        (gradient,) = torch.autograd.grad(loss.sum(), delta)
        assert gradient.tolist() == pytest.approx([-1e4, -50.02, -math.sqrt(2 / math.pi), 0, 0], rel=1e-4)


def test_sigmas_out_of_range_are_clamped() -> None:
    wild = (torch.tensor([-500.0, 500.0, 0.0]), torch.tensor([-500.0, 500.0, -500.0]))
    sigma = sigma_of_difference(wild)
    assert torch.isfinite(sigma).all() and (sigma > 0).all() and sigma[2].item() == pytest.approx(1.0)
    delta = torch.tensor([1e4, -1e4, 1e4])
    assert torch.isfinite(thurstone(delta, WON.float(), sigma)).all()
    assert torch.isfinite(gaussian(delta, WON.float(), sigma)).all()


def test_a_model_without_sigma_is_told_what_to_set() -> None:
    with pytest.raises(UserError, match=r"set model\.uncertainty=true"):
        Gaussian()(compared(flat(0.7), WON, log_sigma=None))


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match="'neg_log_mean' or 'mean_neg_log', not 'log'"):
        Gaussian("log")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="2 to 128 nodes, not 1"):
        Gaussian(nodes=1)
    assert torch.isfinite(Gaussian(nodes=128)(compared(flat(0.7), WON))).all()
