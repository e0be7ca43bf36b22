"""Hands the figures of optimiser steps to the loggers, under one step axis: the number of optimiser steps taken."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from rewardkit.modules.step_figures import figures_of


class StepLog(Callback):
    """Logs ``train/*`` every so many steps: figures of that step, and accuracies on all since the last one.

    Each rank holds a share of the step's losses, and of the sums that figures of its scores are made of; they are added
    up over ranks.

    Args:
        every: Optimiser steps between logged ones; the first and the last are logged too.
    """

    def __init__(self, *, every: int) -> None:
        self.every = every

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Logs at the end of an optimiser step."""
        step = trainer.global_step
        if (index + 1) % trainer.accumulate_grad_batches:
            return
        if step % self.every and step not in (1, trainer.max_steps):
            return
        metrics = {name: torch.as_tensor(value).float() for name, value in module.step.metrics.items()}
        if trainer.world_size > 1:
            shares = [name for name in metrics if name.split("/")[0] == "loss"]
            mine = [*(metrics[n].to(module.device) for n in shares), *module.step.sums]
            summed = trainer.strategy.reduce(torch.stack(mine), reduce_op="sum")
            metrics |= {**dict(zip(shares, summed, strict=False)), **figures_of(summed[len(shares) :])}
        for prefix, metric in module.live_metrics.items():
            live = metric.compute()
            metrics |= {f"{prefix}/{name}": value for name, value in live.items() if not value.isnan()}
            metric.reset()
        metrics["lr"] = torch.tensor(trainer.optimizers[0].param_groups[0]["lr"])
        for logger in trainer.loggers:
            logger.log_metrics({f"train/{name}": float(value) for name, value in metrics.items()}, step=step)
