"""How fast training goes and what it waits for: comparisons and images a second, seconds waiting for data, memory."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from rewardkit.data.batch import Batch


class Throughput(Callback):
    """Puts ``throughput/*`` into the metrics of every optimiser step, averaged over a window of steps.

    ``comparisons_per_s`` and ``images_per_s`` count this rank's work; ``data_wait_s`` is the time a step spent waiting
    for the loader, ``step_s`` the whole of it; ``peak_memory_gb`` is the device's, or the process's on CPU.

    Args:
        window: Steps that one figure is averaged over.
    """

    def __init__(self, *, window: int) -> None:
        self.window = window
        self.steps: list[dict[str, float]] = []
        self._since = self._ended = 0.0
        self._current = {"comparisons": 0.0, "images": 0.0, "waited": 0.0}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._since = self._ended = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Leaves the time of a validation out."""
        self._since = self._ended = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, index: int) -> None:
        """Time since the last batch ended is time spent waiting for this one."""
        self._current["waited"] += time.perf_counter() - self._ended
        self._current["comparisons"] += batch.first.numel()
        self._current["images"] += batch.pixels.shape[0]

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Batch, index: int) -> None:
        """At the end of an optimiser step, adds the figures of the window."""
        self._ended = time.perf_counter()
        if (index + 1) % trainer.accumulate_grad_batches:
            return
        self.steps = [*self.steps, {**self._current, "seconds": self._ended - self._since}][-self.window :]
        self._since = self._ended
        self._current = dict.fromkeys(self._current, 0.0)
        total = {name: sum(step[name] for step in self.steps) for name in self.steps[0]}
        seconds = max(total["seconds"], 1e-9)
        module.step.metrics |= {
            "throughput/comparisons_per_s": total["comparisons"] / seconds,
            "throughput/images_per_s": total["images"] / seconds,
            "throughput/data_wait_s": total["waited"] / len(self.steps),
            "throughput/step_s": seconds / len(self.steps),
            "throughput/peak_memory_gb": peak_memory_gb(),
        }


def peak_memory_gb() -> float:
    """Peak memory so far in GB: allocated on the GPU where there is one, else resident in this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9
