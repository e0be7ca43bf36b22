"""What a person sees while training: a progress bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 10.0


class ProgressBar(Callback):
    """Shows step, loss and speed.

    Args:
        console: Where to show it.
        total_steps: Steps of the whole run.
    """

    def __init__(self, console: Console, *, total_steps: int) -> None:
        self.console = console
        self.total_steps = total_steps
        self.progress: Progress | None = None
        self._last_line = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Opens the bar at the step the run is at."""
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.progress.start()
        self.task = self.progress.add_task("", total=self.total_steps, completed=trainer.global_step, figures="")

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Moves on at the end of an optimiser step."""
        if (index + 1) % trainer.accumulate_grad_batches or not trainer.is_global_zero:
            return
        metrics, step = module.step.metrics, trainer.global_step
        speed = metrics.get("throughput/images_per_s")
        figures = f"loss {float(metrics['loss']):.3f}" + (f"  {float(speed):.0f} images/s" if speed else "")
        if self.progress is not None:
            self.progress.update(self.task, completed=step, figures=figures)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES or step == self.total_steps:
            self._last_line = time.monotonic()
            self.console.print(f"step {step}/{self.total_steps}  {figures}", highlight=False)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Closes the bar before anything else is printed."""
        self._close()

    def _close(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
