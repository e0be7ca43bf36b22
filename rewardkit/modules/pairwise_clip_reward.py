"""The LightningModule that trains a reward model: a CLIP reward (HPS v2 and kin), or any other of that protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from rewardkit.data.batch import Batch
from rewardkit.metrics.live import PairAccuracy
from rewardkit.models.reward import RewardOutput
from rewardkit.models.sharded import clamp_parameter
from rewardkit.modules.gradients import finish_gradients, norm_of_engine, reach_all
from rewardkit.modules.optimisation import (
    Optimisation,
    can_fuse,
    coefficients_at,
    draw_seed,
    make_optimizer,
)
from rewardkit.modules.step_figures import StepFigures


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
        self.step = StepFigures()

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
            self.step.restart()
        torch.manual_seed(draw_seed(self.seed, self.global_step, batch_index, self.global_rank))
        output = self(batch)
        loss = self.objective(output, batch, batch.denominators, coefficients=self.step_coefficients())
        self.step.add(batch, output.scores, loss)
        self.train_accuracy.update(output.scores.detach(), batch)
        total = loss.total * accumulation * self.trainer.world_size
        return reach_all(total, output, self.objective)

    def validation_step(self, batch: Batch, batch_index: int) -> RewardOutput:  # type: ignore[override]
        """Scores of a validation batch, for the callbacks."""
        return self(batch)

    def step_coefficients(self) -> dict[str, float]:
        """Factor of each term of the objective at the current step."""
        return coefficients_at(self.global_step, self.coefficients, total_steps=self.optimisation.total_steps)

    @property
    def live_metrics(self) -> dict[str, Metric]:
        """What counts on over optimiser steps until a callback logs and resets it."""
        return {"accuracy": self.train_accuracy}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Takes the step, then clamps the logit scale to [1, max] as CLIP and HPS v2 do."""
        super().optimizer_step(*args, **kwargs)
        self.step.note_norm(norm_of_engine(self.trainer))
        logarithm = getattr(self.model, "logit_scale", None)
        if isinstance(logarithm, nn.Parameter) and logarithm.requires_grad:
            clamp_parameter(logarithm, 0.0, self.max_log_scale)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Completes the gradient, and notes its norm before it is clipped."""
        self.step.note_norm(finish_gradients(self.trainer, optimizer))

    def configure_optimizers(self) -> Any:
        """AdamW over the trainable parameters, and the schedule as a function of the step."""
        fused = can_fuse(self._trainer, self.model)
        return make_optimizer(self.model, self.objective, self.optimisation, fused=fused)
