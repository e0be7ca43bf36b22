"""A gradient reaches every parameter, whatever a rank has labels for; its norm is that of the whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from rewardkit.models.reward import RewardOutput
from rewardkit.modules.gradients import finish_gradients, reach_all


class Objective(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.5))


def output_of(weights: nn.Parameter) -> RewardOutput:
    scores = weights * torch.tensor([1.0, 2.0])
    return RewardOutput(scores=scores.unsqueeze(0), log_sigma=(weights + 1).log().unsqueeze(0))


def test_what_the_loss_does_not_depend_on_gets_zeros() -> None:
    weights, objective = nn.Parameter(torch.ones(2)), Objective()
    loss = reach_all(torch.zeros((), requires_grad=True) + 3.0, output_of(weights), objective)
    assert loss == 3.0
    loss.backward()
    assert torch.equal(weights.grad, torch.zeros(2)) and objective.threshold.grad == 0  # type: ignore[arg-type]


def test_a_gradient_that_is_there_stays_as_it_is_bit_for_bit() -> None:
    weights, objective = nn.Parameter(torch.tensor([0.3, 0.7])), Objective()
    output = output_of(weights)
    (output.scores.pow(2).sum() * 0.1).backward()
    expected = weights.grad.clone()  # type: ignore[union-attr]
    weights.grad = None
    output = output_of(weights)
    reach_all(output.scores.pow(2).sum() * 0.1, output, objective).backward()
    assert torch.equal(weights.grad, expected)  # type: ignore[arg-type]


def test_an_infinite_value_of_the_output_makes_no_gradient_infinite() -> None:
    weights = nn.Parameter(torch.ones(2))
    output = output_of(weights)
    output.option_logits = output.scores.masked_fill(torch.tensor([[True, False]]), float("-inf"))
    reach_all(output.scores.sum(), output, Objective()).backward()
    assert weights.grad.tolist() == [1.0, 2.0]  # type: ignore[union-attr]


def test_missing_gradients_become_zeros_and_the_norm_is_that_of_all() -> None:
    first, second, frozen = (nn.Parameter(torch.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    first.grad = torch.tensor([3.0, 4.0])
    optimizer: Any = SimpleNamespace(param_groups=[{"params": [first, second, frozen]}])
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(handles_gradient_accumulation=False))
    assert finish_gradients(trainer, optimizer) == 5.0
    assert torch.equal(second.grad, torch.zeros(2)) and frozen.grad is None  # type: ignore[arg-type]
    trainer.strategy.handles_gradient_accumulation = True
    assert finish_gradients(trainer, optimizer) is None, "DeepSpeed holds the gradients itself"
