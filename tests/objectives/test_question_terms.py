"""Losses of an evaluator's answers: options with N/A, written answers, scores of another head."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewardkit.errors import UserError
from rewardkit.models.mllm.model import MLLMOutput
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.answers import AnswerObjective, answer_losses
from rewardkit.objectives.on_scores import OnScores
from rewardkit.objectives.options import OptionObjective, option_loss
from rewardkit.objectives.pointwise import RatingObjective
from rewardkit.objectives.weighted import WeightedObjective

INF = float("-inf")


def options_step(
    logits: Tensor, target: list[list[float]], dimension: list[int], counts: list[float], **kind: Any
) -> Any:
    labels = SimpleNamespace(
        questions=SimpleNamespace(option_target=torch.tensor(target), asked_dimension=torch.tensor(dimension))
    )
    output = RewardOutput(scores=torch.zeros(1, 2), option_logits=logits)
    return OptionObjective(("a", "b"), **kind)(output, labels, SimpleNamespace(options=torch.tensor(counts)))


def test_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0), INF, math.log(4.0)]])  # p = 1/8, 3/8, -, 1/2
    hard = option_loss(logits, torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    assert hard.item() == pytest.approx(-math.log(3 / 8))
    soft = torch.tensor([[0.25, 0.25, 0.0, 0.5]])
    expected = -0.25 * math.log(1 / 8) - 0.25 * math.log(3 / 8) - 0.5 * math.log(0.5)
    assert option_loss(logits, soft).item() == pytest.approx(expected)
    entropy = -2 * 0.25 * math.log(0.25) - 0.5 * math.log(0.5)
    assert option_loss(logits, soft, "kl").item() == pytest.approx(expected - entropy)


def test_weights_count_an_option_as_if_more_had_chosen_it() -> None:
    logits = torch.randn(1, 3, generator=torch.Generator().manual_seed(3))
    shares, weights = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[3.0, 1.0, 1.0]])
    weighed = option_loss(logits, shares, weights=weights)
    as_if = torch.tensor([[0.75, 0.25, 0.0]])
    torch.testing.assert_close(weighed, 2 * option_loss(logits, as_if))
    torch.testing.assert_close(option_loss(logits, shares, "kl", weights), 2 * option_loss(logits, as_if, "kl"))


def test_class_weights_are_those_of_the_question_in_the_columns_of_the_batch() -> None:
    weights = torch.tensor([[1.0, 1.0, 1.0, 1.0], [5.0, 2.0, 9.0, 7.0]])  # a set whose longest question has 3 options
    objective = OptionObjective(("a",), class_weights=weights)
    logits = torch.zeros(3, 3)
    questions = SimpleNamespace(
        option_target=torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]),
        asked_dimension=torch.tensor([0, 0, 0]),
        asked_question=torch.tensor([0, 1, 1]),
    )
    output = RewardOutput(scores=torch.zeros(1, 1), option_logits=logits)
    loss = objective(output, SimpleNamespace(questions=questions), SimpleNamespace(options=torch.tensor([3.0])))
    assert loss.total.item() == pytest.approx(math.log(3) * (1 + 2 + 7) / 3)
    assert "class_weights" not in objective.state_dict()


def test_hard_answers_are_torchs_cross_entropy() -> None:
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    answer = torch.tensor([0, 4, 2, 2, 1, 3, 4])
    found = option_loss(logits, F.one_hot(answer, 5).float())
    torch.testing.assert_close(found, F.cross_entropy(logits, answer, reduction="none"))


@settings(max_examples=60, deadline=None)
@given(
    logits=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6),
    shares=st.lists(st.floats(0, 1), min_size=6, max_size=6),
    missing=st.integers(0, 3),
)
def test_finite_with_columns_that_do_not_exist(logits: list[float], shares: list[float], missing: int) -> None:
    leaf = torch.tensor([logits], requires_grad=True)
    target = torch.tensor([shares[: len(logits)]])
    target = target / target.sum().clamp(min=1e-6)
    wide = torch.cat([leaf, torch.full((1, missing), INF)], dim=-1)
    for kind in ("cross_entropy", "kl"):
        loss = option_loss(wide, F.pad(target, (0, missing)), kind)  # type: ignore[arg-type]
        torch.testing.assert_close(loss, option_loss(leaf, target, kind))  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        assert torch.isfinite(loss).all() and torch.isfinite(gradient).all() and loss.item() > -1e-4


def test_kl_is_zero_at_the_annotators_answers_and_pulls_alike() -> None:
    shares = torch.tensor([[0.2, 0.5, 0.3]])
    assert option_loss(shares.log(), shares, "kl").item() == pytest.approx(0, abs=1e-6)
    leaf = torch.randn(1, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    pulls = [torch.autograd.grad(option_loss(leaf, shares, kind).sum(), leaf)[0] for kind in ("cross_entropy", "kl")]  # type: ignore[arg-type]
    torch.testing.assert_close(*pulls)
    torch.testing.assert_close(pulls[0], leaf.softmax(-1) - shares)


@pytest.mark.parametrize("kind", ["cross_entropy", "kl"])
def test_each_dimension_over_its_own_answers(kind: Any) -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), requires_grad=True)
    target = [[1.0, 0, 0], [0, 0, 0], [0, 0, 3.0], [0, 1.0, 1.0]]  # counts count as shares; N/A is an answer
    loss = options_step(logits, target, [0, 0, 0, 1], [2.0, 1.0], kind=kind)
    shares = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1.0], [0, 0.5, 0.5]])
    single = option_loss(logits, shares, kind)
    assert loss.parts["a"].item() == pytest.approx((single[0] + single[2]).item() / 2)
    assert loss.total.item() == pytest.approx((loss.parts["a"] + single[3].detach()).item() / 2)
    loss.total.backward()
    assert not logits.grad[1].any(), "nobody answered"
    halves = [
        options_step(logits[rows], [target[n] for n in rows], [[0, 0, 0, 1][n] for n in rows], [2.0, 1.0], kind=kind)
        for rows in ([0, 1], [2, 3])
    ]
    assert sum(half.total.item() for half in halves) == pytest.approx(loss.total.item())


def test_without_answers_gradients_are_zero_and_not_none() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    loss = options_step(logits, [[0.0] * 3] * 2, [0, 1], [0.0, 0.0])
    loss.total.backward()
    assert loss.total.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_an_answer_that_the_question_does_not_have_is_no_silent_zero() -> None:
    with pytest.raises(AssertionError, match="no option of its question"):
        options_step(torch.tensor([[0.0, 0.0, INF]]), [[0.0, 0.0, 1.0]], [0], [1.0, 0.0])


def test_unknown_kinds_are_told() -> None:
    with pytest.raises(UserError, match="cross_entropy or kl, not 'ce'"):
        OptionObjective(("a",), "ce")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not 'logits'"):
        OnScores(RatingObjective(("a",)), "logits")  # type: ignore[arg-type]


def written(logits: Tensor, token: list[int], row: list[int], label: list[bool], count: float) -> Any:
    questions = SimpleNamespace(
        answer_token=torch.tensor(token, dtype=torch.long),
        answer_row=torch.tensor(row, dtype=torch.long),
        answer_label=torch.tensor(label, dtype=torch.bool),
        row_asked=torch.arange(4),
    )
    output = RewardOutput(scores=torch.zeros(1, 1), answer_logits=logits)
    step: Any = SimpleNamespace(answers=torch.tensor(count))
    return AnswerObjective()(output, SimpleNamespace(questions=questions), step).total


def test_a_long_answer_counts_as_one() -> None:
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(3))
    token, row = [4, 2, 7, 1, 0], [0, 2, 2, 2, 3]
    single = F.cross_entropy(logits, torch.tensor(token), reduction="none")
    expected = torch.stack([single[0], torch.tensor(0.0) * single[0], single[1:4].mean(), single[4]])
    torch.testing.assert_close(
        answer_losses(logits, torch.tensor(token), torch.tensor(row), 4)[[0, 2, 3]], expected[[0, 2, 3]]
    )
    assert written(logits, token, row, [True] * 5, 3.0).item() == pytest.approx(expected.sum().item() / 3)
    scored_only = written(logits, token, row, [True] * 4 + [False], 2.0)
    assert scored_only.item() == pytest.approx(expected[:3].sum().item() / 2)


def test_no_written_answer_gives_zeros_and_not_none() -> None:
    leaf = torch.randn(3, 4, requires_grad=True)
    loss = written(leaf[:0] @ torch.eye(4), [], [], [], 0.0)
    loss.backward()
    assert loss.item() == 0 and leaf.grad is not None and not leaf.grad.any()


def test_objectives_of_scores_take_the_head_that_is_named() -> None:
    heads = {name: torch.full((2, 1), value, requires_grad=True) for name, value in
             (("ordinal", 1.0), ("regression", 2.0), ("expected", 3.0))}  # fmt: skip
    output = MLLMOutput(scores=heads["ordinal"], **heads)  # type: ignore[arg-type]
    labels: Any = SimpleNamespace(ratings=torch.tensor([[4.0], [float("nan")]]))
    step: Any = SimpleNamespace(ratings=torch.tensor([1.0]))
    terms = {name: OnScores(RatingObjective(("a",), slope=1.0), name) for name in heads}  # type: ignore[arg-type]
    loss = WeightedObjective(terms)(output, labels, step)
    found = [loss.parts[name].item() for name in heads]
    assert found == pytest.approx([9.0, 4.0, 1.0])
    loss.total.backward()
    assert all(head.grad is not None and head.grad[0] != 0 and head.grad[1] == 0 for head in heads.values())
