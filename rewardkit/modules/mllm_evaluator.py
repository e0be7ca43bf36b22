"""The LightningModule that trains an evaluator: a multimodal language model that answers questions (EvalAlign)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from rewardkit.data.batch import Batch
from rewardkit.metrics.live import OptionAccuracy, PairAccuracy
from rewardkit.models.mllm.answers import likeliest_answers, scores_of
from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.models.mllm.model import MLLMOutput, MLLMReward
from rewardkit.modules.gradients import finish_gradients, norm_of_engine, reach_all
from rewardkit.modules.optimisation import (
    Optimisation,
    can_fuse,
    coefficients_at,
    draw_seed,
    make_optimizer,
)
from rewardkit.modules.step_figures import StepFigures
from rewardkit.objectives.loss import Loss


class MLLMEvaluator(pl.LightningModule):
    """Trains ``model`` to give ``objective`` a small loss.

    Args:
        model: The evaluator; ``tune`` has said what trains.
        objective: Called with the model's output, the batch, its denominators and the coefficients of its terms.
        optimisation: AdamW and its schedule.
        coefficients: Factor of each term of the objective at the first and at the last step.
        seed: With the step, decides all that the model draws (dropout), so that a resumed run draws the same.
    """

    def __init__(
        self,
        model: MLLMReward,
        objective: nn.Module,
        optimisation: Optimisation,
        *,
        coefficients: Mapping[str, tuple[float, float]],
        seed: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.optimisation = optimisation
        self.coefficients = dict(coefficients)
        self.seed = seed
        self.train_accuracy = PairAccuracy(model.dimensions)
        self.train_answers = OptionAccuracy(model.dimensions)
        self.train_accuracy.persistent(True)  # a resumed run logs what an uninterrupted one would
        self.train_answers.persistent(True)
        self.step = StepFigures()

    def forward(self, batch: Batch) -> MLLMOutput:
        """Scores and answers of a batch."""
        output: MLLMOutput = self.model(batch)
        return output

    def on_train_start(self) -> None:
        """Puts every module in train mode.

        ``from_pretrained`` gives eval mode and Lightning leaves it so: dropout and activation checkpointing would be
        off inside the backbone, silently (Lightning#19820, #20105).
        """
        self.train()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one micro-batch, scaled so that Lightning's averaging gives the loss of the optimiser step.

        Shares of micro-batches and ranks add up (``Loss.total``); Lightning divides by the accumulation, DDP by the
        number of ranks.
        """
        assert self.model.base.training, "the base is in eval mode while it trains"
        accumulation = self.trainer.accumulate_grad_batches
        if batch_index % accumulation == 0:
            self.step.restart()
        torch.manual_seed(draw_seed(self.seed, self.global_step, batch_index, self.global_rank))
        output = self(batch)
        loss = self.objective(output, batch, batch.denominators, coefficients=self.step_coefficients())
        self._note(batch, output, loss)
        total = loss.total * accumulation * self.trainer.world_size
        return reach_all(total, output, self.objective)

    def _note(self, batch: Batch, output: MLLMOutput, loss: Loss) -> None:
        """Adds a micro-batch to the figures of its step; the published form scores no option while it learns one."""
        assert self.model.rows is not None and output.option_logits is not None
        scored = self.model.rows.style != "published"
        self.step.add(batch, output.scores if scored else None, loss)
        if scored:
            self.train_accuracy.update(output.scores.detach(), batch)
            self.train_answers.update(output.option_logits.detach(), batch.questions)

    def validation_step(self, batch: Batch, batch_index: int) -> MLLMOutput:  # type: ignore[override]
        """What the evaluator says of a validation batch, for the callbacks.

        Scores are those of the answers that count: NaN where nothing was asked, or a gate is closed.
        """
        output = self(batch)
        assert self.model.rows is not None and isinstance(batch.questions, QuestionBatch)
        assert output.asked_scores is not None
        answers = likeliest_answers(self.model.rows, batch.questions, output)
        counted = scores_of(answers, output.asked_scores, len(output.scores), self.model.dimensions)
        return replace(output, scores=counted)

    def step_coefficients(self) -> dict[str, float]:
        """Factor of each term of the objective at the current step."""
        return coefficients_at(self.global_step, self.coefficients, total_steps=self.optimisation.total_steps)

    @property
    def live_metrics(self) -> dict[str, Metric]:
        """What counts on over optimiser steps until a callback logs and resets it."""
        assert self.model.rows is not None
        if self.model.rows.style == "published":
            return {}
        return {"accuracy": self.train_accuracy, "option_accuracy": self.train_answers}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Takes the step."""
        super().optimizer_step(*args, **kwargs)
        self.step.note_norm(norm_of_engine(self.trainer))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Completes the gradient, and notes its norm before it is clipped."""
        self.step.note_norm(finish_gradients(self.trainer, optimizer))

    def configure_optimizers(self) -> Any:
        """AdamW over the trainable parameters, and the schedule as a function of the step."""
        fused = can_fuse(self._trainer, self.model)
        return make_optimizer(self.model, self.objective, self.optimisation, fused=fused)
