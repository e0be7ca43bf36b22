"""Notices a training that goes nowhere: a loss stuck at ln 2, scores that have collapsed, a loss that is not finite."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from rewardkit.errors import RewardkitError

LN2 = math.log(2.0)
"""Pairwise loss of a model that scores all candidates alike."""


class TrainingStuck(RewardkitError):
    """Training was stopped by a guard."""


class Guards(Callback):
    """Warns or stops with a message that says what to look at.

    Args:
        action: ``warn`` once per symptom, or ``stop``. A loss that is not finite always stops.
        patience: Steps that a symptom must last.
        stuck_tolerance: The pairwise loss is stuck while its mean over ``patience`` steps is within this of ln 2.
        min_spread: Scores have collapsed while their spread within groups stays below this.
        mean_loss: Whether the pairwise loss is a mean, which is ln 2 where nothing is learned; a sum is not watched.
        console: Where warnings go.
    """

    def __init__(
        self,
        *,
        action: str,
        patience: int,
        stuck_tolerance: float,
        min_spread: float,
        mean_loss: bool = True,
        console: Console | None = None,
    ) -> None:
        self.action = action
        self.patience = patience
        self.stuck_tolerance = stuck_tolerance
        self.min_spread = min_spread
        self.mean_loss = mean_loss
        self.console = console or Console(stderr=True)
        self.losses: list[float] = []
        self.collapsed = 0
        self.said: set[str] = set()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Looks at the figures of each optimiser step."""
        if (index + 1) % trainer.accumulate_grad_batches:
            return
        metrics, step = module.step_metrics, trainer.global_step
        loss = float(metrics["loss"])
        if not math.isfinite(loss):
            raise TrainingStuck(
                f"the loss is {loss} at step {step}. Look at: the learning rate (optim.lr, optim.warmup_steps), "
                "trainer.precision=16 (try bf16 or 32), optim.gradient_clip. The last checkpoint is from before; "
                f"the groups of this step were {', '.join(key for b in module.step_batches for key in b.keys[:4])}, …"
            )
        # A rank of several sees only its share of the step's loss.
        if self.mean_loss and trainer.world_size == 1 and "loss/pairwise" in metrics:
            self.losses = [*self.losses, float(metrics["loss/pairwise"])][-self.patience :]
            mean = sum(self.losses) / len(self.losses)
            if len(self.losses) == self.patience and abs(mean - LN2) < self.stuck_tolerance:
                self._say(
                    "stuck",
                    f"the pairwise loss has stayed at ln 2 = 0.693 for {self.patience} steps (mean {mean:.4f}): the "
                    "model does not tell candidates apart. Look at: optim.lr (too small, or still in warmup?), frozen "
                    "towers (model.unlocked_*), labels that are all ties (`data inspect`), model.pretrained=null.",
                )
        self.collapsed = self.collapsed + 1 if float(metrics["score_spread"]) < self.min_spread else 0
        if self.collapsed >= self.patience:
            self._say(
                "collapsed",
                f"scores within a group have differed by less than {self.min_spread:g} for {self.patience} steps. Look "
                "at: the logit scale (`logit_scale` in metrics.csv), the same image stored for every candidate "
                "(`data verify`), a head that underflows.",
            )

    def _say(self, symptom: str, message: str) -> None:
        if self.action == "stop":
            raise TrainingStuck(f"{message} (callbacks.guards.action=warn goes on)")
        if symptom not in self.said:
            self.said.add(symptom)
            self.console.print(f"[yellow]warning:[/] {message}")
