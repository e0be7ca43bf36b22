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
from rewardkit.metrics.live import PairAccuracy
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
        self.train_accuracy = PairAccuracy(model.dimensions)
        self.train_accuracy.persistent(True)  # a resumed run logs what an uninterrupted one would
        self.step_metrics: dict[str, Tensor] = {}
        self.step_batches: list[Batch] = []

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
        accumulation = self.trainer.accumulate_grad_batches
        if batch_index % accumulation == 0:
            self.step_metrics, self.step_batches = {}, []
        torch.manual_seed(_draw_seed(self.seed, self.global_step, batch_index, self.global_rank))
        output = self(batch)
        loss = self.objective(output, batch, batch.denominators, coefficients=self.step_coefficients())
        self._add_to_step(batch, output, {"loss": loss.total, **{f"loss/{k}": v for k, v in loss.parts.items()}})
        total: Tensor = loss.total * accumulation * self.trainer.world_size
        return total

    def validation_step(self, batch: Batch, batch_index: int) -> RewardOutput:  # type: ignore[override]
        """Scores of a validation batch, for the callbacks."""
        return self(batch)

    def step_coefficients(self) -> dict[str, float]:
        """Factor of each term of the objective at the current step."""
        total = self.optimisation.total_steps
        return {
            name: linear(self.global_step, total_steps=total, start=start, end=end)
            for name, (start, end) in self.coefficients.items()
        }

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Takes the step, then clamps the logit scale to [1, max] as CLIP and HPS v2 do."""
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, self.max_log_scale)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Notes the norm of the whole gradient, before it is clipped."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.step_metrics["gradient_norm"] = torch.nn.utils.get_total_norm(gradients)

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

    def _add_to_step(self, batch: Batch, output: RewardOutput, shares: dict[str, Tensor]) -> None:
        """Adds one micro-batch to the figures of the optimiser step; callbacks read them when the step is done.

        ``step_metrics`` are this rank's shares: they add up over ranks to the loss of the step. ``score_spread`` is the
        standard deviation of scores within groups, of the last micro-batch. ``train_accuracy`` counts on until a
        callback logs and resets it.
        """
        for name, value in shares.items():
            self.step_metrics[name] = self.step_metrics.get(name, torch.zeros(())) + value.detach().float().cpu()
        self.step_metrics["score_spread"] = spread_within_groups(output.scores.detach(), batch.group)
        self.step_batches.append(batch)
        self.train_accuracy.update(output.scores.detach(), batch)


def spread_within_groups(scores: Tensor, group: Tensor) -> Tensor:
    """Root mean square distance of scores ``[N, D]`` from the mean of their group (``group`` int64 ``[N]``); ``[]``."""
    groups = int(group.max()) + 1
    sums = scores.new_zeros(groups, scores.shape[1]).index_add_(0, group, scores)
    counts = torch.bincount(group, minlength=groups).clamp(min=1).unsqueeze(1)
    return (scores - (sums / counts)[group]).pow(2).mean().sqrt()


def _draw_seed(seed: int, step: int, batch_index: int, rank: int) -> int:
    """One 63-bit seed for what a micro-batch draws."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + batch_index * 8191 + rank
    return mixed & 0x7FFF_FFFF_FFFF_FFFF
