"""Builds Lightning's Trainer from values and trains; says how the run ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from rewardkit.engine.checkpoints import ResumableCheckpoints
from rewardkit.engine.hardware import Hardware
from rewardkit.engine.interruption import Interruption, TrainingStopped
from rewardkit.engine.precision import PRECISIONS
from rewardkit.engine.strategies import make_strategy
from rewardkit.errors import EXIT_DONE, UserError


def make_trainer(
    *,
    hardware: Hardware,
    max_steps: int,
    accumulation: int,
    validate_every: int,
    gradient_clip: float | None,
    loggers: Sequence[Logger],
    callbacks: Sequence[Callback],
) -> pl.Trainer:
    """Lightning's Trainer. Steps are optimiser steps; data order, checkpoints and the console are rewardkit's own.

    Args:
        hardware: Devices and precision.
        max_steps: Length of the run.
        accumulation: Micro-batches in one optimiser step of one rank.
        validate_every: Optimiser steps between validations.
        gradient_clip: Largest gradient norm.
        loggers: Where metrics go.
        callbacks: In the order in which they are called.

    Raises:
        UserError: The precision is not to be had on this machine.
    """
    if hardware.precision == "16" and not torch.cuda.is_available():
        raise UserError("trainer.precision: 16 needs a GPU; on a CPU take bf16 or 32")
    return pl.Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=make_strategy(hardware),
        # ZeRO brings arithmetic of its own.
        precision=None if hardware.zero_stage else PRECISIONS[hardware.precision],  # type: ignore[arg-type]
        max_steps=max_steps,
        max_epochs=-1,
        accumulate_grad_batches=accumulation,
        val_check_interval=validate_every * accumulation,
        check_val_every_n_epoch=None,
        gradient_clip_val=gradient_clip,
        logger=list(loggers),
        callbacks=list(callbacks),
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=_environments(),
    )


def _environments() -> list[Any]:
    """Under SLURM, its ranks without Lightning's own requeueing: ``tools/launch/slurm.sbatch`` does that on code 75.

    Raises:
        UserError: SLURM was asked for tasks in a way that does not say how many a machine has.
    """
    if not SLURMEnvironment.detect() or TorchElasticEnvironment.detect():
        return []
    try:
        return [SLURMEnvironment(auto_requeue=False)]
    except RuntimeError as error:
        raise UserError(f"SLURM: {error}") from None


def train(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    *,
    interruption: Interruption,
    checkpoint: Path | None,
) -> TrainingStopped | None:
    """Trains to the end, or to where it was told to stop.

    Returns:
        None at the end of the schedule, else where and why it stopped.
    """
    assert isinstance(trainer.callbacks[-1], ResumableCheckpoints), "checkpoints must see the state of all callbacks"  # type: ignore[attr-defined]
    with interruption:
        try:
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except TrainingStopped as stopped:
            return _end_together(trainer, stopped)
    return None


def _end_together(trainer: pl.Trainer, stopped: TrainingStopped) -> TrainingStopped:
    """Waits for all ranks, since launchers kill what is left when one process ends with another code than 0.

    Of the processes that Lightning starts on a machine, the first one's code is seen; it kills that one where another
    ends with a code, so these end with 0.
    """
    if trainer.world_size > 1:
        trainer.strategy.barrier("all stopped")
    started_here = isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher)
    if started_here and trainer.local_rank > 0:
        return TrainingStopped(stopped.step, EXIT_DONE)
    return stopped


def describe_stop(stopped: TrainingStopped, *, command: str) -> str:
    """What to tell a person of a run that ended early."""
    reason = "stopped" if stopped.exit_code == EXIT_DONE else "interrupted"
    return f"{reason} and saved after step {stopped.step}; continue with: {command}"


def quieten(log: Path | None) -> None:
    """Sends warnings and log lines of the libraries to a file instead of the console; None drops them."""
    logging.captureWarnings(True)
    handler: logging.Handler = logging.FileHandler(log, encoding="utf-8") if log else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    handler.set_name("rewardkit")
    logging.getLogger("rewardkit").setLevel(logging.INFO)  # sizes and times of checkpoints
    # Lightning and torch attach handlers of their own to these, which would write to the console.
    for name in ("", "lightning", "lightning.pytorch", "lightning.fabric", "py.warnings", "torch"):
        logger = logging.getLogger(name)
        for old in logger.handlers:
            if old.get_name() == "rewardkit":
                old.close()
        logger.handlers = [handler]
        logger.propagate = False


def set_threads(threads: int | None) -> None:
    """CPU threads of torch in this process; None leaves torch's choice."""
    if threads is not None:
        torch.set_num_threads(threads)
