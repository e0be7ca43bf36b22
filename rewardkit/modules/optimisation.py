"""AdamW, its schedule and the factors of an objective's terms, as functions of the optimiser step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.distributed.tensor import DTensor

from rewardkit.modules.parameter_groups import model_parameter_groups
from rewardkit.modules.schedule import linear, rate_factor


@dataclass(frozen=True, slots=True)
class Optimisation:
    """AdamW and its schedule. The defaults are HPS v2's.

    Attributes:
        lr: Peak learning rate of the towers.
        head_lr: Peak learning rate of the dimension heads and of the objective's own parameters.
        layer_decay: Factor of the rate from each layer group of a tower to the one below (``rate_factors``).
        vision_factor: Factor of the rate of an evaluator's vision tower.
        projector_factor: Likewise of its projector.
        total_steps: Length of the schedule, from the recipe: Lightning's own estimate would build the loader too early
            and lose its place on resume.
        schedule: ``cosine``, ``linear`` or ``constant``.
    """

    total_steps: int
    lr: float = 3.3e-6
    head_lr: float = 3.3e-6
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.35
    warmup_steps: int = 500
    schedule: str = "cosine"
    layer_decay: float = 1.0
    vision_factor: float = 1.0
    projector_factor: float = 1.0


def make_optimizer(
    model: nn.Module, objective: nn.Module, optimisation: Optimisation, *, fused: bool = False
) -> dict[str, Any]:
    """AdamW over the trainable parameters and the schedule by step, as ``configure_optimizers`` returns them.

    Args:
        model: The reward.
        objective: With parameters of its own, or none.
        optimisation: Rates, decay and schedule.
        fused: One pass over the memory of all parameters instead of one for each operation; see ``can_fuse``.
    """
    o = optimisation
    groups = model_parameter_groups(
        model,
        objective,
        lr=o.lr,
        head_lr=o.head_lr,
        weight_decay=o.weight_decay,
        layer_decay=o.layer_decay,
        vision_factor=o.vision_factor,
        projector_factor=o.projector_factor,
    )
    optimizer = torch.optim.AdamW(groups, lr=o.lr, betas=o.betas, eps=o.eps, foreach=False, fused=fused)

    def factor(step: int) -> float:
        return rate_factor(step, total_steps=o.total_steps, warmup_steps=o.warmup_steps, schedule=o.schedule)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def can_fuse(trainer: pl.Trainer | None, model: nn.Module) -> bool:
    """Whether AdamW may be PyTorch's fused one, which rounds otherwise in the last bits (below 1e-6 of a step).

    On one thread of a CPU it takes a fifth of the time of one operation after the other (``docs/performance.md``). Not
    under ZeRO, whose engine updates parameters of its own; not where parameters lie in parts (FSDP); not with the
    scaled gradients of precision 16; not where gradients are clipped under autocast, which Lightning refuses then; and
    not where there is no trainer to take a step.
    """
    if trainer is None or trainer.strategy.handles_gradient_accumulation:
        return False
    if isinstance(trainer.precision_plugin, MixedPrecision) and (
        trainer.precision_plugin.scaler is not None or trainer.gradient_clip_val
    ):
        return False
    return not any(isinstance(parameter, DTensor) for parameter in model.parameters())


def coefficients_at(
    step: int, coefficients: Mapping[str, tuple[float, float]], *, total_steps: int
) -> dict[str, float]:
    """Factor of each term of the objective at a step, on the straight line from its first to its last."""
    return {
        name: linear(step, total_steps=total_steps, start=start, end=end) for name, (start, end) in coefficients.items()
    }


def draw_seed(seed: int, step: int, batch_index: int, rank: int) -> int:
    """One 63-bit seed for what a micro-batch draws (dropout), so that a resumed run draws the same."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + batch_index * 8191 + rank
    return mixed & 0x7FFF_FFFF_FFFF_FFFF
