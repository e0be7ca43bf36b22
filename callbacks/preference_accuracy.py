"""Held-out preference accuracy: each validation becomes predictions tables, and every figure comes from those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed
from lightning.pytorch.callbacks import Callback

from rewardkit.data.batch import Batch
from rewardkit.data.predictions import (
    PredictionRows,
    Predictions,
    labels_path,
    merge_predictions,
    write_predictions,
)
from rewardkit.metrics.breakdown import evaluation_rows
from rewardkit.models.reward import RewardOutput


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation of one set.

    Attributes:
        step: Optimiser steps taken before it.
        set: Name of the validation set.
        path: The predictions table.
        predictions: The same in memory.
        rows: One per dimension, from ``evaluation_rows``.
    """

    step: int
    set: str
    path: Path
    predictions: Predictions
    rows: list[dict[str, Any]]


class PreferenceAccuracy(Callback):
    """Writes ``predictions/STEP-SET.parquet`` at each validation and logs ``val/PROTOCOL/DIMENSION`` from it.

    Args:
        sets: Names of the validation sets, in the order of their loaders.
        dimensions: The model's dimensions.
        dimension_map: Data's dimension to the model's.
        protocol: The rule by which accuracy is counted.
        draws: Resamples behind each interval.
        folder: The run's ``predictions/``; None keeps the tables in memory only.
        keep_all: Keep the tables of every validation, not only those of the newest and of the best.
        seed: Of the resamples.
    """

    def __init__(
        self,
        *,
        sets: Sequence[str],
        dimensions: Sequence[str],
        dimension_map: Mapping[str, str | None],
        protocol: str,
        draws: int,
        folder: Path | None,
        keep_all: bool = True,
        seed: int = 0,
    ) -> None:
        self.sets = list(sets)
        self.dimensions = tuple(dimensions)
        self.dimension_map = dict(dimension_map)
        self.protocol = protocol
        self.draws = draws
        self.folder = folder
        self.keep_all = keep_all
        self.seed = seed
        self.latest: list[Validation] = []
        self.history: list[dict[str, Any]] = []
        self._rows: list[PredictionRows] = []

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Starts empty tables."""
        self._rows = [PredictionRows(self.dimensions, dimension_map=self.dimension_map) for _ in self.sets]

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Adds the groups of one batch."""
        output: RewardOutput = outputs
        scores = output.scores.detach().float().cpu()  # [N, D]
        for row, record in enumerate(batch.records):
            mine = scores[(batch.group == row).cpu()].tolist()
            self._rows[dataloader_idx].add(
                record.group,
                mine,
                number=record.number,
                key=record.key,
                source=self.sets[dataloader_idx],
                place=record.place,
            )

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Joins the ranks' tables, writes them, and logs the accuracies."""
        step = trainer.global_step
        self.latest = [
            self._evaluate(name, step, joined(rows.predictions(), trainer.world_size))
            for name, rows in zip(self.sets, self._rows, strict=True)
        ]
        self._rows = []
        metrics = {}
        for validation in self.latest:
            prefix = "val" if len(self.latest) == 1 else f"val/{validation.set}"
            for row in validation.rows:
                if row["value"] is not None:
                    metrics[f"{prefix}/{self.protocol}/{row['dimension']}"] = row["value"]
                    self.history.append(
                        {"step": step, "set": validation.set, "dimension": row["dimension"], "value": row["value"]}
                    )
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)

    def state_dict(self) -> dict[str, Any]:
        """The accuracies of all validations so far."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them back."""
        self.history = list(state_dict["history"])

    def forget(self, kept_steps: Sequence[int]) -> None:
        """Removes the tables of other steps, where not all are kept."""
        if self.folder is None or self.keep_all:
            return
        for path in self.folder.glob("*.parquet"):
            if not path.name.startswith(tuple(f"{step:08d}-" for step in kept_steps)):
                path.unlink()

    def _evaluate(self, name: str, step: int, predictions: Predictions) -> Validation:
        path = (self.folder or Path()) / f"{step:08d}-{name}.parquet"
        if self.folder is not None and _is_first_rank():
            write_predictions(path, predictions)
            assert labels_path(path).is_file()
        rows = evaluation_rows(predictions, self.protocol, draws=self.draws, seed=self.seed)
        return Validation(step, name, path, predictions, rows)


def joined(mine: Predictions, ranks: int) -> Predictions:
    """The table of all ranks, on every rank: each group once, in the order that one rank would have.

    Args:
        mine: What this rank scored; ranks may have different numbers of groups.
        ranks: Processes that take part, in torch's default process group where there are several.
    """
    if ranks == 1:
        return merge_predictions([mine])
    parts: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(parts, mine)
    return merge_predictions(parts)


def _is_first_rank() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
