"""Ratings: missing ones leave no trace, the line from scores to ratings is learned, published values."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.pointwise import RatingObjective, huber, squared_error

NAN = math.nan


def share(objective: RatingObjective, scores: Tensor, ratings: Tensor, counts: list[float] | None = None) -> Any:
    labels: Any = SimpleNamespace(ratings=ratings)
    counted = (~ratings.isnan()).sum(dim=0) if counts is None else torch.tensor(counts)
    step: Any = SimpleNamespace(ratings=counted)
    return objective(RewardOutput(scores=scores), labels, step)


def test_the_two_errors() -> None:
    errors = torch.tensor([0.0, 0.5, -1.0, 3.0])
    assert squared_error(errors, torch.zeros(4)).tolist() == [0, 0.25, 1, 9]
    for delta in (0.7, 1.0, 5.0):
        wanted = torch.nn.functional.huber_loss(errors, torch.zeros(4), reduction="none", delta=delta)
        torch.testing.assert_close(huber(errors, torch.zeros(4), delta), wanted)


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_missing_ratings_leave_no_trace(kind: Any) -> None:
    scores = torch.tensor([[1.0, 2.0], [3.0, 1e30], [0.0, -1e30]], requires_grad=True)
    ratings = torch.tensor([[2.0, NAN], [NAN, NAN], [3.5, NAN]])
    objective = RatingObjective(("a", "b"), kind, middle={"a": 3.0, "b": 3.0}, slope=1.0)
    loss = share(objective, scores, ratings)
    loss.total.backward()
    each = [2.0**2, 0.5**2] if kind == "mse" else [1.5, 0.125]  # predicted 4 and 3
    assert loss.parts["a"].item() == pytest.approx(sum(each) / 2), "divided by those that are rated"
    assert loss.total.item() == pytest.approx(loss.parts["a"].item() / 2)
    assert scores.grad is not None and torch.isfinite(scores.grad).all()
    assert (scores.grad[:, 1] == 0).all() and scores.grad[1, 0] == 0 and scores.grad[0, 0] > 0
    for parameter in objective.parameters():
        assert parameter.grad is not None and parameter.grad[0] != 0 and parameter.grad[1] == 0


def test_the_line_starts_at_the_middle_of_the_scale() -> None:
    objective = RatingObjective(("a", "b"), middle={"a": 3.0}, slope=0.5, score_center=20.0)
    torch.testing.assert_close(
        objective.predicted(torch.tensor([[20.0, 20.0], [24.0, 24.0]])).tolist(), [[3.0, 0.0], [5.0, 2.0]]
    )


def test_the_line_is_learned_and_increases() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = 25 + 3 * torch.randn(200, 1, generator=generator)
    ratings = 3 + 0.4 * (scores - 25)
    objective = RatingObjective(("a",), middle={"a": 3.0}, score_center=25.0)
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        loss = share(objective, scores, ratings).total
        loss.backward()
        optimiser.step()
    assert loss.item() < 1e-4
    assert objective.log_slope.exp().item() == pytest.approx(0.4, rel=1e-2)
    assert objective.offset.item() == pytest.approx(3.0, abs=1e-2)


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match="'mse' or 'huber', not 'mae'"):
        RatingObjective(("a",), "mae")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the slope of mse has to be above 0, not 0"):
        RatingObjective(("a",), slope=0.0)
    with pytest.raises(UserError, match="the delta of huber has to be above 0, not -1"):
        RatingObjective(("a",), "huber", delta=-1.0)
