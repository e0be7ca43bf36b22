"""The gradient of an optimiser step: it reaches every parameter on every rank, and its norm is known.

A rank may have no label of some dimension, no comparison, no image that could be read: then its loss does not depend on
parameters that another rank's loss does. Ranks that exchange gradients layer by layer (ZeRO, FSDP) would wait for each
other for ever or mix up what they exchange, and AdamW would pass over a parameter under one strategy that decays under
another. So a gradient may be zero, and is never missing.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from rewardkit.models.reward import RewardOutput


class _Reach(torch.autograd.Function):
    """The loss itself; its gradient with respect to all else is zero, even where a value is infinite."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *tensors: Tensor) -> Tensor:
        ctx.like = [(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors]
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        zeros = (torch.zeros(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.like)
        return (gradients[0], *zeros)


def reach_all(loss: Tensor, output: RewardOutput, objective: nn.Module) -> Tensor:
    """The same loss, which now depends on all that the model said and on all parameters of the objective.

    Args:
        loss: ``[]``.
        output: What the model said of the batch.
        objective: With parameters of its own (tie thresholds, cut points), or none.
    """
    said = [getattr(output, field.name) for field in fields(output)]
    tensors = [value for value in said if isinstance(value, Tensor) and value.requires_grad]
    tensors += [parameter for parameter in objective.parameters() if parameter.requires_grad]
    reached: Tensor = _Reach.apply(loss, *tensors)
    return reached


def finish_gradients(trainer: pl.Trainer, optimizer: torch.optim.Optimizer) -> Tensor | None:
    """Completes the gradient before the optimiser's step, and takes its norm before it is clipped.

    Parameters that no output depends on get zeros, as ZeRO has it.

    Returns:
        ``[]``, the same on every rank; None under DeepSpeed, which holds the gradients itself (``norm_of_engine``).
    """
    if trainer.strategy.handles_gradient_accumulation:
        return None
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def norm_of_engine(trainer: pl.Trainer) -> Tensor | None:
    """The norm of the gradient of DeepSpeed's last step, before it was clipped; None under other strategies."""
    if not trainer.strategy.handles_gradient_accumulation:
        return None
    norm = trainer.strategy.deepspeed_engine.get_global_grad_norm()  # type: ignore[attr-defined]
    return None if norm is None else torch.as_tensor(norm).float()
