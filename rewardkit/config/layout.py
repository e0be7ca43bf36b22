"""Where each thing lies in a run's folder, and in which state a run is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Paths inside one run's folder. Nothing is created here."""

    root: Path

    @property
    def config(self) -> Path:
        """The composed options; a recipe that runs the same again."""
        return self.root / "config.yaml"

    @property
    def overrides(self) -> Path:
        """The command line, one argument a line."""
        return self.root / "overrides.txt"

    @property
    def environment(self) -> Path:
        """Git revision, versions, hardware, seed."""
        return self.root / "environment.json"

    @property
    def metrics(self) -> Path:
        """Training and validation metrics: step, name, value."""
        return self.root / "metrics.csv"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """Resumable checkpoints by step; last.ckpt and best.ckpt are links to two of them."""
        return self.root / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The newest resumable checkpoint."""
        return self.checkpoints / "last.ckpt"

    @property
    def predictions(self) -> Path:
        """Predictions tables, one a validation."""
        return self.root / "predictions"

    @property
    def gallery(self) -> Path:
        """Contact sheets of validations."""
        return self.root / "gallery"

    @property
    def wandb(self) -> Path:
        """W&B's own files, and the run's id there."""
        return self.root / "wandb"

    @property
    def bundle(self) -> Path:
        """The exported best model."""
        return self.root / "bundle"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report.html"

    @property
    def data_errors(self) -> Path:
        """Bad samples by name."""
        return self.root / "data_errors.jsonl"

    @property
    def console_log(self) -> Path:
        """Warnings and log lines of the libraries, kept off the console."""
        return self.root / "console.log"

    @property
    def summary(self) -> Path:
        """The final accuracies; its presence says that the run is finished."""
        return self.root / "summary.json"

    @property
    def is_finished(self) -> bool:
        """Whether the run went to its end."""
        return self.summary.is_file()

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return self.config.is_file()

    def read_summary(self) -> dict[str, Any]:
        """The final accuracies as written."""
        record: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
        return record
