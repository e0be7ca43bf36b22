"""Resumable checkpoints: written atomically, after a step or after the validation that follows it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from rewardkit.engine.interruption import Interruption, TrainingStopped
from rewardkit.errors import CheckpointError


class ResumableCheckpoints(Callback):
    """Keeps ``last.ckpt`` every so many steps and ``best.ckpt`` at the best validation; ends the run where asked.

    Where a validation follows a step, the checkpoint is written after it: a checkpoint between the two would lose the
    validation on resume. This callback stands last, so that the state of all others is in the file.

    Args:
        folder: The run's ``checkpoints/``.
        every: Optimiser steps between checkpoints.
        interruption: Says whether to stop after a step.
        is_best: Whether the validation that just ended is the best so far.
    """

    def __init__(
        self, folder: Path, *, every: int, interruption: Interruption, is_best: Callable[[], bool] = lambda: False
    ) -> None:
        self.folder = folder
        self.every = every
        self.interruption = interruption
        self.is_best = is_best
        self.saved_step = -1

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any) -> None:
        """Saves and stops at the end of an optimiser step, unless a validation comes first."""
        if not trainer.fit_loop._should_accumulate() and not validation_follows(trainer):
            self._step_ended(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Saves after a validation."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._save(trainer)
        if self.is_best() and trainer.is_global_zero:
            scratch = self.folder / "best.ckpt.tmp"
            scratch.unlink(missing_ok=True)
            os.link(self.folder / "last.ckpt", scratch)  # the same file under a second name: no second copy
            os.replace(scratch, self.folder / "best.ckpt")
        self._step_ended(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Notes how many micro-batches a step had, since Lightning counts its progress in those."""
        checkpoint["accumulation"] = trainer.accumulate_grad_batches

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Counts Lightning's progress in the micro-batches of this run, where it has another number of ranks."""
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            recount(counts, then=checkpoint["accumulation"], now=trainer.accumulate_grad_batches)

    def _step_ended(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        code = self.interruption.reason_to_stop(trainer)
        is_over = step >= trainer.max_steps
        if (step % self.every == 0 or code is not None or is_over) and step != self.saved_step:
            self._save(trainer)
        if code is not None and not is_over:
            raise TrainingStopped(step, code)

    def _save(self, trainer: pl.Trainer) -> None:
        """Writes last.ckpt under a scratch name first: a kill leaves the previous one whole."""
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
        scratch, target = self.folder / "last.ckpt.tmp", self.folder / "last.ckpt"
        try:
            trainer.save_checkpoint(scratch)
            if trainer.is_global_zero:
                with scratch.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(scratch, target)
        except OSError as error:
            scratch.unlink(missing_ok=True)  # half a checkpoint on a full disk helps nobody
            raise OSError(error.errno, error.strerror, str(target)) from error
        self.saved_step = trainer.global_step


def recount(counts: dict[str, int], *, then: int, now: int) -> None:
    """Changes counts of micro-batches, taken at the end of an optimiser step, to another accumulation; in place.

    ``completed`` is one behind the others where the checkpoint was written inside the hook at the end of a batch.
    """
    behind = counts["processed"] - counts["completed"]
    for name in ("ready", "started", "processed"):
        assert counts[name] % then == 0, f"{counts} was not written at the end of a step of {then} micro-batches"
        counts[name] = counts[name] // then * now
    counts["completed"] = counts["processed"] - behind


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether Lightning will validate after the current batch (only asked at the end of an optimiser step)."""
    every = trainer.val_check_batch
    done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return isinstance(every, int) and trainer.enable_validation and done % every == 0


def checkpoint_step(path: Path) -> int:
    """The optimiser step that a checkpoint holds.

    Raises:
        CheckpointError: The file is no checkpoint, or is damaged.
    """
    return int(read_checkpoint(path)["global_step"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without unpickling anything but tensors and plain values; tensors stay on disk until used.

    Raises:
        CheckpointError: The file is no checkpoint, or is damaged.
    """
    try:
        record: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint at {path}") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(record, dict) or "state_dict" not in record or "global_step" not in record:
        raise CheckpointError(f"{path} is not a checkpoint of a run (no state_dict and global_step in it)")
    return record
