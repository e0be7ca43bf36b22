"""Answers on levels: probabilities, ordered cuts, scales of different length, answers that do not apply."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.ordinal import OrdinalObjective, level_log_probabilities, ordinal


def share(
    objective: OrdinalObjective, scores: Tensor, answers: list[tuple[int, int, list[float]]], counts: list[float]
) -> Any:
    """Of answers (candidate, dimension, shares over levels and N/A)."""
    labels: Any = SimpleNamespace(
        answer_candidate=torch.tensor([a[0] for a in answers]),
        answer_dimension=torch.tensor([a[1] for a in answers]),
        answer_target=torch.tensor([a[2] for a in answers]),
    )
    step: Any = SimpleNamespace(ratings=torch.tensor(counts))
    return objective(RewardOutput(scores=scores), labels, step)


def test_probabilities_by_hand() -> None:
    # reference: cuts -1.5, -0.5, 0.5, 1.5 at score 0.7
    found = level_log_probabilities(
        torch.tensor([0.7], dtype=torch.float64), torch.tensor([-1.5, -0.5, 0.5, 1.5]).double()
    )
    above = [1.0, *(1 / (1 + math.exp(-(0.7 - c))) for c in (-1.5, -0.5, 0.5, 1.5)), 0.0]
    assert found.exp()[0].tolist() == pytest.approx([a - b for a, b in itertools.pairwise(above)])
    assert found.exp()[0].tolist() == pytest.approx([0.099750, 0.131725, 0.218691, 0.239808, 0.310026], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    score=st.floats(-1e4, 1e4),
    cuts=st.lists(st.floats(-20, 20), min_size=1, max_size=6, unique=True).map(sorted),
    missing=st.integers(0, 2),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_probabilities_sum_to_one_and_are_finite(
    score: float, cuts: list[float], missing: int, dtype: torch.dtype
) -> None:
    leaf = torch.tensor([score], dtype=dtype, requires_grad=True)
    padded = torch.tensor([*cuts, *[math.inf] * missing], dtype=dtype, requires_grad=True)
    found = level_log_probabilities(leaf, padded)
    levels = len(cuts) + 1
    assert torch.isfinite(found[0, :levels]).all() and (found[0, levels:] == -math.inf).all()
    # Cuts that are closer than the smallest step count as that far apart.
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-3 if dtype == torch.float32 else 1e-4)
    shares = torch.zeros(1, levels + missing, dtype=dtype)
    shares[0, :levels] = 1 / levels
    gradients = torch.autograd.grad(ordinal(leaf, shares, padded).sum(), (leaf, padded))
    assert all(torch.isfinite(g).all() for g in gradients)


def test_at_the_start_every_level_is_equally_likely() -> None:
    objective = OrdinalObjective(("a", "b", "c"), {"a": 5, "b": 3, "c": 2}, score_center=20.0)
    cuts = objective.cuts()
    assert (cuts[1, 2:] == math.inf).all() and (cuts[2, 1:] == math.inf).all()
    found = level_log_probabilities(torch.full((3,), 20.0), cuts).exp()
    for row, levels in zip(found.tolist(), (5, 3, 2), strict=True):
        assert row == pytest.approx([1 / levels] * levels + [0] * (5 - levels))


def test_answers_that_do_not_apply_are_left_out() -> None:
    objective = OrdinalObjective(("a", "b"), {"a": 3, "b": 2})
    scores = torch.zeros(3, 2, requires_grad=True)
    answers = [(0, 0, [0.25, 0.0, 0.25, 0.5]), (1, 0, [0.0, 0.0, 0.0, 1.0]), (2, 1, [1.0, 0.0, 0.0, 0.0])]
    loss = share(objective, scores, answers, [1.0, 1.0])
    assert loss.parts["a"].item() == pytest.approx(math.log(3)) and loss.parts["b"].item() == pytest.approx(math.log(2))
    loss.total.backward()
    assert scores.grad is not None and (scores.grad[1] == 0).all() and scores.grad[2, 1] > 0


def test_a_dimension_without_levels_has_no_term() -> None:
    objective = OrdinalObjective(("a", "free"), {"a": 3})
    loss = share(objective, torch.zeros(2, 2), [(0, 0, [0, 1.0, 0, 0, 0]), (1, 1, [0, 0, 0, 1.0, 0])], [1.0, 1.0])
    assert set(loss.parts) == {"a"} and loss.total.item() == pytest.approx(math.log(3))


def test_cuts_are_learned_and_stay_in_order() -> None:
    shares = torch.tensor([[0.1, 0.2, 0.6, 0.1]])
    objective = OrdinalObjective(("a",), {"a": 4})
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.05)
    answers = [(0, 0, [*shares[0].tolist(), 0.0])]
    for _ in range(500):
        optimiser.zero_grad()
        loss = share(objective, torch.zeros(1, 1), answers, [1.0]).total
        loss.backward()
        optimiser.step()
    assert loss.item() == pytest.approx(-(shares * shares.log()).sum().item(), abs=1e-4), "the entropy of the answers"
    assert (objective.cuts().diff() > 0).all()
    with torch.no_grad():
        objective.raw_steps.fill_(-500.0)
    assert torch.isfinite(share(objective, torch.zeros(1, 1), answers, [1.0]).total)


def test_higher_answers_raise_the_score() -> None:
    scores = torch.zeros(5, 1, requires_grad=True)
    objective = OrdinalObjective(("a",), {"a": 5})
    optimiser = torch.optim.SGD([scores], lr=5.0)
    answers = [(n, 0, [float(n == level) for level in range(5)] + [0.0]) for n in range(5)]
    for _ in range(100):
        optimiser.zero_grad()
        share(objective, scores, answers, [5.0]).total.backward()
        optimiser.step()
    assert (scores.diff(dim=0) > 0.3).all()


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match="the data has none for a, b"):
        OrdinalObjective(("a", "b"), {})
    with pytest.raises(UserError, match="at least 2 levels, and b has none"):
        OrdinalObjective(("a", "b"), {"a": 5}, factors={"a": 1.0, "b": 1.0})
    with pytest.raises(UserError, match="at least 2 levels, and a has 1"):
        OrdinalObjective(("a",), {"a": 1})
