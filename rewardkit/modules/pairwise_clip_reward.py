"""The LightningModule that trains a CLIP reward on comparisons (HPS v2 and kin)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from rewardkit.data.batch import Batch
from rewardkit.models.clip import CLIPReward
from rewardkit.models.reward import RewardOutput
from rewardkit.modules.parameter_groups import parameter_groups
from rewardkit.modules.schedule import linear, rate_factor


@dataclass(frozen=True, slots=True)
class Optimisation:
    """AdamW and its schedule. The defaults are HPS v2's.

    Attributes:
        lr: Peak learning rate of the towers.
        head_lr: Peak learning rate of the dimension heads.
        total_steps: Length of the schedule, from the recipe: Lightning's own estimate would build the loader too early
            and lose its place on resume.
        schedule: ``cosine`` or ``constant``.
    """

    total_steps: int
    lr: float = 3.3e-6
    head_lr: float = 3.3e-6
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.35
    warmup_steps: int = 500
    schedule: str = "cosine"


class PairwiseCLIPReward(pl.LightningModule):
    """Trains ``model`` to give ``objective`` a small loss.

    Args:
        model: The reward.
        objective: Called with the model's output, the batch, its denominators and the coefficients of its terms.
        optimisation: AdamW and its schedule.
        coefficients: Factor of each term of the objective at the first and at the last step.
        seed: With the step, decides all that the model draws (dropout), so that a resumed run draws the same.
        max_logit_scale: The logit scale is clamped to [1, this] after each step.
    """

    def __init__(
        self,
        model: CLIPReward,
        objective: nn.Module,
        optimisation: Optimisation,
        *,
        coefficients: Mapping[str, tuple[float, float]],
        seed: int,
        max_logit_scale: float = 100.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.optimisation = optimisation
        self.coefficients = dict(coefficients)
        self.seed = seed
        self.max_log_scale = math.log(max_logit_scale)

    def forward(self, batch: Batch) -> RewardOutput:
        """Scores of a batch."""
        output: RewardOutput = self.model(batch)
        return output

    def on_train_start(self) -> None:
        """Puts every module in train mode: a backbone that was loaded in eval mode would stay there."""
        self.train()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one micro-batch, scaled so that Lightning's averaging gives the loss of the optimiser step.

        Shares of micro-batches and ranks add up (``Loss.total``); Lightning divides by the accumulation, DDP by the
        number of ranks.
        """
        torch.manual_seed(_draw_seed(self.seed, self.global_step, batch_index, self.global_rank))
        output = self(batch)
        loss = self.objective(output, batch, batch.denominators, coefficients=self.step_coefficients())
        shares = self.trainer.accumulate_grad_batches * self.trainer.world_size
        self._log_training(loss.total.detach(), loss.parts, output, batch)
        total: Tensor = loss.total * shares
        return total

    def validation_step(self, batch: Batch, batch_index: int) -> RewardOutput:
        """Scores of a validation batch, for the callbacks."""
        return self(batch)

    def step_coefficients(self) -> dict[str, float]:
        """Factor of each term of the objective at the current step."""
        total = self.optimisation.total_steps
        return {
            name: linear(self.global_step, total_steps=total, start=start, end=end)
            for name, (start, end) in self.coefficients.items()
        }

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Clamps the logit scale to [1, max] as CLIP and HPS v2 do after each step."""
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, self.max_log_scale)

    def configure_optimizers(self) -> Any:
        """AdamW over the trainable parameters, and the schedule as a function of the step."""
        o = self.optimisation
        named = [*self.model.named_parameters(), *self.objective.named_parameters(prefix="objective")]
        groups = parameter_groups(named, lr=o.lr, head_lr=o.head_lr, weight_decay=o.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=o.lr, betas=o.betas, eps=o.eps, foreach=False, fused=False)

        def factor(step: int) -> float:
            return rate_factor(step, total_steps=o.total_steps, warmup_steps=o.warmup_steps, schedule=o.schedule)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _log_training(self, total: Tensor, parts: dict[str, Tensor], output: RewardOutput, batch: Batch) -> None:
        """Hands the step's figures to the callbacks and loggers (``engine/step_metrics.py`` adds micro-batches up)."""
        self.step_figures = {
            "loss": total,
            **{f"loss/{name}": value for name, value in parts.items()},
            "logit_scale": self.model.logit_scale.detach().exp().squeeze(),
        }


def _draw_seed(seed: int, step: int, batch_index: int, rank: int) -> int:
    """One 63-bit seed for what a micro-batch draws."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + batch_index * 8191 + rank
    return mixed & 0x7FFF_FFFF_FFFF_FFFF
