"""Where metrics go: a CSV that survives kills and can be cut back, TensorBoard, and Weights & Biases."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from rewardkit.config.layout import RunLayout
from rewardkit.engine.wandb_run import WandbRun, WandbValues
from rewardkit.report.metrics_log import HEADER, read_metrics


class MetricsCSV(Logger):
    """Appends one line per figure (step, name, value), so that a kill loses at most the line being written.

    Lightning's own CSV logger rewrites the file when a new name appears and deletes an older run's file on resume.

    Args:
        path: The file.
        cut_after: Lines of later steps are removed first: the resumed checkpoint's step, 0 for a new run.
    """

    def __init__(self, path: Path, *, cut_after: int) -> None:
        super().__init__()
        self.path = path
        self.cut_after = cut_after
        self._prepared = False

    @property
    def name(self) -> str:
        """Short name."""
        return "csv"

    @property
    def version(self) -> str:
        """A run has one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends the figures of one step."""
        assert step is not None, "metrics are logged with the optimiser step"
        if not self._prepared:
            cut_back(self.path, self.cut_after)
            self._prepared = True
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows((step, name, f"{value:.9g}") for name, value in metrics.items())

    @rank_zero_only
    def save(self) -> None:
        """Brings all lines on to the disk, for the checkpoint that stands behind them."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())


def cut_back(path: Path, last_step: int) -> None:
    """Removes the lines of steps after ``last_step``, atomically; makes the file where there is none."""
    kept = [row for row in read_metrics(path) if row[0] <= last_step] if path.is_file() else []
    scratch = path.with_name(f"{path.name}.tmp")
    with scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows((step, name, f"{value:.9g}") for step, name, value in kept)
    os.replace(scratch, path)


def make_loggers(
    names: Sequence[str], layout: RunLayout, *, resumed_step: int, wandb: WandbValues | None = None
) -> list[Logger]:
    """The loggers of those names, cut back to the resumed step (0 for a new run).

    Args:
        names: Of ``csv``, ``tensorboard`` and ``wandb``.
        layout: The run.
        resumed_step: Optimiser step of the checkpoint that the run goes on from.
        wandb: How the run appears on W&B, where it is among the names; it is to be started before the first figure.
    """
    made: list[Logger] = []
    if "csv" in names:
        made.append(MetricsCSV(layout.metrics, cut_after=resumed_step))
    if "tensorboard" in names:
        purge = resumed_step + 1 if resumed_step else None
        made.append(TensorBoardLogger(layout.root, name="", version=layout.tensorboard.name, purge_step=purge))
    if "wandb" in names and wandb is not None:
        made.append(WandbRun(layout.root, wandb, resumed_step=resumed_step, metrics=layout.metrics))
    return made
