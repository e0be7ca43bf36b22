"""A plugin of ``fit`` that holds it between optimiser steps until a bench asks for more; see ``worker.py``.

With ``BENCH_IN_MEMORY=N`` in the environment, training goes round and round over the first N micro-batches, which lie
in memory.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

sys.path.insert(0, str(Path(__file__).parent))

from worker import Channel, Pace

IN_MEMORY = "BENCH_IN_MEMORY"


class Kept:
    """A loader of batches in memory; Lightning would take a plain list for many loaders."""

    def __init__(self, batches: list[Any]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


class PacedSteps(Callback):
    """Counts steps and comparisons, and the time between the end of one micro-batch and the start of the next."""

    def __init__(self) -> None:
        self._pace = Pace(Channel())
        self._comparisons, self._waited, self._ended = 0, 0.0, 0.0

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Puts batches in the place of the loader, where that is asked for."""
        count = os.environ.get(IN_MEMORY)
        if count is not None:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            kept = Kept(list(islice(data.train_dataloader(), int(count))))
            data.train_dataloader = lambda: kept

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Waits for the first message; all processes of the loader start after it."""
        self._pace.begin()
        self._ended = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        """The batch is there."""
        self._waited += time.perf_counter() - self._ended
        self._comparisons += batch.first.numel()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """At the end of an optimiser step, waits where no more were asked for."""
        if (index + 1) % trainer.accumulate_grad_batches == 0:
            self._pace.stepped(self._comparisons, self._waited)
            self._comparisons, self._waited = 0, 0.0
        self._ended = time.perf_counter()


def callbacks() -> list[Callback]:
    """For ``plugins=``."""
    return [PacedSteps()]
