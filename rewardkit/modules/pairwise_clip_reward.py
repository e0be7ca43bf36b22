"""The LightningModule that trains a reward model: a CLIP reward (HPS v2 and kin), or any other of that protocol."""

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
from rewardkit.models.reward import RewardOutput
from rewardkit.modules.parameter_groups import model_parameter_groups
from rewardkit.modules.schedule import linear, rate_factor
from rewardkit.modules.step_figures import figures_of, score_sums


@dataclass(frozen=True, slots=True)
class Optimisation:
    """AdamW and its schedule. The defaults are HPS v2's.

    Attributes:
        lr: Peak learning rate of the towers.
        head_lr: Peak learning rate of the dimension heads and of the objective's own parameters.
        layer_decay: Factor of the rate from each layer group of a tower to the one below (``rate_factors``).
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


class PairwiseCLIPReward(pl.LightningModule):
    """Trains ``model`` to give ``objective`` a small loss.

    Args:
        model: The reward: any module that keeps ``rewardkit.models.reward.RewardModel``.
        objective: Called with the model's output, the batch, its denominators and the coefficients of its terms.
        optimisation: AdamW and its schedule.
        coefficients: Factor of each term of the objective at the first and at the last step.
        seed: With the step, decides all that the model draws (dropout), so that a resumed run draws the same.
        max_logit_scale: The logit scale is clamped to [1, this] after each step, in a model that has one.
    """

    def __init__(
        self,
        model: nn.Module,
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
        self.train_accuracy = PairAccuracy(model.dimensions)  # type: ignore[arg-type]
        self.train_accuracy.persistent(True)  # a resumed run logs what an uninterrupted one would
        self.step_metrics: dict[str, Tensor] = {}
        self.step_batches: list[Batch] = []
        self.step_sums = torch.zeros(5)

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
            self.step_metrics, self.step_batches, self.step_sums = {}, [], torch.zeros(5)
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
        logarithm = getattr(self.model, "logit_scale", None)
        if isinstance(logarithm, nn.Parameter) and logarithm.requires_grad:
            with torch.no_grad():
                logarithm.clamp_(0.0, self.max_log_scale)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Notes the norm of the whole gradient, before it is clipped."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.step_metrics["gradient_norm"] = torch.nn.utils.get_total_norm(gradients)

    def configure_optimizers(self) -> Any:
        """AdamW over the trainable parameters, and the schedule as a function of the step."""
        o = self.optimisation
        groups = model_parameter_groups(
            self.model,
            self.objective,
            lr=o.lr,
            head_lr=o.head_lr,
            weight_decay=o.weight_decay,
            layer_decay=o.layer_decay,
        )
        optimizer = torch.optim.AdamW(groups, lr=o.lr, betas=o.betas, eps=o.eps, foreach=False, fused=False)

        def factor(step: int) -> float:
            return rate_factor(step, total_steps=o.total_steps, warmup_steps=o.warmup_steps, schedule=o.schedule)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _add_to_step(self, batch: Batch, output: RewardOutput, shares: dict[str, Tensor]) -> None:
        """Adds one micro-batch to the figures of the optimiser step; callbacks read them when the step is done.

        Losses in ``step_metrics`` are this rank's shares: they add up over ranks to those of the step. The figures of
        its scores (``figures_of``) are this rank's too; ``step_sums``, which they are made of, add up over ranks.
        ``train_accuracy`` counts on until a callback logs and resets it.
        """
        for name, value in shares.items():
            self.step_metrics[name] = self.step_metrics.get(name, torch.zeros(())) + value.detach().float().cpu()
        scores = output.scores.detach()
        self.step_sums = self.step_sums.to(scores.device) + score_sums(scores, batch)
        self.step_metrics |= figures_of(self.step_sums)
        self.step_batches.append(batch)
        self.train_accuracy.update(scores, batch)


def _draw_seed(seed: int, step: int, batch_index: int, rank: int) -> int:
    """One 63-bit seed for what a micro-batch draws."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + batch_index * 8191 + rank
    return mixed & 0x7FFF_FFFF_FFFF_FFFF
