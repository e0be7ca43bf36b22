"""Resumable checkpoints: when they are written, by all ranks together, and how a run goes on from one.

How files get on to the disk is in ``checkpoint_files``, how a checkpoint takes its name in ``checkpoint_folder``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback

from rewardkit.engine.checkpoint_files import FileWriter, Written
from rewardkit.engine.checkpoint_folder import CheckpointFolder, Contents, read_contents, write_contents
from rewardkit.engine.interruption import Interruption, TrainingStopped
from rewardkit.engine.loading_across import note_parameters, optimizer_state
from rewardkit.errors import CheckpointError
from rewardkit.models.stored.opening import open_training
from rewardkit.models.stored.single_file import read_checkpoint

_STORED = "stored_training"
"""Where a loaded checkpoint holds the folder that its optimiser's state is still to be read from."""

_log = logging.getLogger("rewardkit.checkpoints")


@dataclass(frozen=True, slots=True)
class _Pending:
    """A checkpoint that is being written."""

    step: int
    best: bool
    held_up: float


class ResumableCheckpoints(Callback):
    """Writes a checkpoint every so many steps and at each validation; ends the run where asked.

    Where a validation follows a step, the checkpoint is written after it: a checkpoint between the two would lose the
    validation on resume. This callback stands last, so that the state of all others is in the file.

    A checkpoint counts when every rank has its part on the disk; rank 0 then gives it its name. With a writer in the
    background, that is at the end of the first step by which all are done.

    Args:
        folder: The run's checkpoints.
        every: Optimiser steps between checkpoints.
        interruption: Says whether to stop after a step.
        writer: Writes this rank's files; the strategy and ``DurableIO`` use the same.
        is_best: Whether the validation that just ended is the best so far.
        unreadable: Newer checkpoints than the one that the run goes on from, and why they cannot be read.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        *,
        every: int,
        interruption: Interruption,
        writer: FileWriter,
        is_best: Callable[[], bool] = lambda: False,
        unreadable: Mapping[Path, str] | None = None,
    ) -> None:
        self.folder = folder
        self.every = every
        self.interruption = interruption
        self.writer = writer
        self.is_best = is_best
        self.unreadable = dict(unreadable or {})
        self.saved_step = -1
        self._pending: _Pending | None = None

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Lets the strategy write through the same writer."""
        trainer.strategy.checkpoint_io = DurableIO(self.writer)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Puts the folder in order, once all ranks have read what they go on from."""
        if trainer.is_global_zero:
            self.folder.begin(trainer.global_step, unreadable=self.unreadable)
        trainer.strategy.barrier("checkpoints in order")

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any) -> None:
        """Saves and stops at the end of an optimiser step, unless a validation comes first."""
        if trainer.fit_loop._should_accumulate():
            return
        if self._pending is not None and _all_ranks(trainer, self.writer.is_done):
            self._finish(trainer)
        if not validation_follows(trainer):
            self._step_ended(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Saves after a validation."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._save(trainer, best=self.is_best())
        self._step_ended(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Waits for what is still being written."""
        self._finish(trainer)

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Keeps a checkpoint that was being written; of several ranks, none knows whether the others have theirs."""
        if self._pending is not None and trainer.world_size == 1 and not isinstance(exception, OSError):
            self._finish(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Notes how many micro-batches a step had, since Lightning counts its progress in those, and names."""
        checkpoint["accumulation"] = trainer.accumulate_grad_batches
        if not hasattr(trainer.strategy, "checkpoint_layout"):
            note_parameters(trainer, checkpoint)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Counts Lightning's progress in the micro-batches of this run, where it has another number of ranks.

        The optimiser's state of a folder becomes that of a single file, where ``DurableIO`` has read it.
        """
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            recount(counts, then=checkpoint["accumulation"], now=trainer.accumulate_grad_batches)
        stored = checkpoint.pop(_STORED, None)
        if stored is not None:
            checkpoint["optimizer_states"] = [optimizer_state(module, stored)]

    def _step_ended(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        code = self.interruption.reason_to_stop(trainer)
        is_over = step >= trainer.max_steps
        if (step % self.every == 0 or code is not None or is_over) and step != self.saved_step:
            self._save(trainer, best=False)
        if code is not None and not is_over:
            self._finish(trainer)
            raise TrainingStopped(step, code)

    def _save(self, trainer: pl.Trainer, *, best: bool) -> None:
        """Writes the state of all ranks under a scratch name, or starts to."""
        self._finish(trainer)
        for logger in trainer.loggers:
            logger.save()  # what a checkpoint stands behind must not be lost with the machine either
        started = time.monotonic()
        trainer.save_checkpoint(self.folder.scratch(trainer.global_step))
        self.saved_step = trainer.global_step
        self._pending = _Pending(trainer.global_step, best, time.monotonic() - started)
        if not self.writer.background:
            self._finish(trainer)

    def _finish(self, trainer: pl.Trainer) -> None:
        """Waits for the checkpoint that is being written and gives it its name.

        Raises:
            OSError: This rank could not write its part.
            CheckpointError: Another rank could not.
        """
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        written, error = self.writer.finish()
        scratch = self.folder.scratch(pending.step)
        own = {"" if path == scratch else str(path.relative_to(scratch)): w for path, w in written.items()}
        parts = _gather(trainer, (own, None if error is None else str(error)))
        seconds, self.writer.seconds = self.writer.seconds, 0.0
        failed = [message for _, message in parts if message is not None]
        if failed:
            if trainer.is_global_zero:
                self.folder.discard(pending.step)
            raise error or CheckpointError(f"another rank could not write its part of the checkpoint: {failed[0]}")
        if not trainer.is_global_zero:
            return
        files = {name: w for part, _ in parts for name, w in part.items()}
        if scratch.is_dir():
            layout = trainer.strategy.checkpoint_layout  # type: ignore[attr-defined]
            write_contents(scratch, Contents(pending.step, layout, trainer.world_size, files))
        target = self.folder.commit(pending.step, best=pending.best)
        size = sum(w.bytes for w in files.values()) / 1e6
        _log.info("%s: %.1f MB in %.2f s, training held up %.2f s", target.name, size, seconds, pending.held_up)
        for logger in trainer.loggers:
            figures = {"mb": size, "seconds": seconds, "held_up_s": pending.held_up}
            names = {f"train/throughput/checkpoint_{name}": value for name, value in figures.items()}
            logger.log_metrics(names, step=pending.step)


class DurableIO(CheckpointIO):
    """Lightning's door to single-file checkpoints: rank 0 writes through a ``FileWriter``, all ranks read.

    Args:
        writer: Writes.
    """

    def __init__(self, writer: FileWriter) -> None:
        self.writer = writer

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes one file, or starts to."""
        self.writer.make_folder(Path(path).parent)
        self.writer.save(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a file into memory, as it may be removed while training goes on; or a folder of another strategy."""
        if Path(path).is_dir():
            stored = open_training(Path(path))
            return {**stored.record, "state_dict": {name: stored[name] for name in stored}, _STORED: stored}
        return read_checkpoint(Path(path), in_memory=True)

    def remove_checkpoint(self, path: Any) -> None:
        """Never asked for: ``CheckpointFolder`` removes."""
        raise AssertionError("checkpoints are removed by their folder")


def _all_ranks(trainer: pl.Trainer, here: bool) -> bool:
    """Whether something holds on every rank."""
    return here if trainer.world_size == 1 else bool(trainer.strategy.reduce_boolean_decision(here, all=True))


def _gather(trainer: pl.Trainer, part: tuple[dict[str, Written], str | None]) -> list[Any]:
    """The parts of all ranks, on every rank."""
    if trainer.world_size == 1:
        return [part]
    parts: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(parts, part)
    return parts


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
        CheckpointError: It is no checkpoint, or is damaged.
    """
    return read_contents(path).step if path.is_dir() else int(read_checkpoint(path)["global_step"])
