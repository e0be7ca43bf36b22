"""An evaluator's answers to held-out questions: validations become answers tables, and measures come from those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed
from lightning.pytorch.callbacks import Callback

from rewardkit.data.answer_table import AnswerRows, AnswerTable, merge_answers, write_answers
from rewardkit.data.batch import Batch
from rewardkit.data.questions import QuestionSet
from rewardkit.metrics.answer_measures import PROTOCOL
from rewardkit.metrics.answer_rows import answer_rows
from rewardkit.metrics.answer_sets import answers_of_table
from rewardkit.models.mllm.answers import likeliest_answers
from rewardkit.models.mllm.model import MLLMOutput


@dataclass(frozen=True, slots=True)
class AnsweredSet:
    """The answers of one validation to one set's questions.

    Attributes:
        step: Optimiser steps taken before it.
        set: Name of the validation set.
        table: Answers and what people said.
        rows: One per question and measure, from ``answer_rows``, without intervals.
    """

    step: int
    set: str
    table: AnswerTable
    rows: list[dict[str, Any]]


class QuestionAnswers(Callback):
    """Writes ``predictions/STEP-SET.answers.parquet`` at each validation and logs ``val/answers/MEASURE/QUESTION``.

    Args:
        sets: Names of the validation sets, in the order of their loaders.
        questions: What is asked.
        dimension_map: Data's dimension to the model's.
        folder: The run's ``predictions/``; None keeps the tables in memory only.
    """

    def __init__(
        self,
        *,
        sets: Sequence[str],
        questions: QuestionSet,
        dimension_map: Mapping[str, str | None],
        folder: Path | None,
    ) -> None:
        self.sets = list(sets)
        self.questions = questions
        self.dimension_map = dict(dimension_map)
        self.folder = folder
        self.latest: list[AnsweredSet] = []
        self._rows: list[AnswerRows] = []

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Starts empty tables."""
        self._rows = [AnswerRows(self.questions, dimension_map=self.dimension_map) for _ in self.sets]

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        module: Any,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Adds the groups of one batch."""
        output: MLLMOutput = outputs
        said = likeliest_answers(module.model.rows, batch.questions, output)  # type: ignore[arg-type]
        group = batch.group.tolist()
        for row, record in enumerate(batch.records):
            mine = [n for n, of in enumerate(group) if of == row]
            self._rows[dataloader_idx].add(
                record.group,
                [[answer for answer in said if answer.image == n] for n in mine],
                number=record.number,
                key=record.key,
                source=self.sets[dataloader_idx],
            )

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Joins the ranks' tables, writes them, and logs the measures."""
        step = trainer.global_step
        tables = [_joined(rows.table(), trainer.world_size) for rows in self._rows]
        self._rows, self.latest, metrics = [], [], {}
        for name, table in zip(self.sets, tables, strict=True):
            if self.folder is not None and trainer.is_global_zero:
                write_answers(self.folder / f"{step:08d}-{name}.parquet", table)
            rows = answer_rows(answers_of_table(table), draws=0)
            self.latest.append(AnsweredSet(step, name, table, rows))
            prefix = "val" if len(self.sets) == 1 else f"val/{name}"
            for row in rows:
                if row["value"] is not None:
                    question = row["dimension"].replace(" ", "_")
                    # Pairs of answers have the name of their rule: preferences that people voted on are another thing.
                    measure = row["metric"] if row["protocol"] == PROTOCOL else row["protocol"]
                    metrics[f"{prefix}/answers/{measure}/{question}"] = row["value"]
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)


def _joined(mine: AnswerTable, ranks: int) -> AnswerTable:
    """The table of all ranks, on every rank: each group once, in the order that one rank would have."""
    if ranks == 1:
        return merge_answers([mine])
    parts: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(parts, mine)
    return merge_answers(parts)
