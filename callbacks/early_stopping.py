"""Ends a run, finished, when its validations have stopped getting better."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rewardkit.callbacks.deciding import deciding_dimension, deciding_value
from rewardkit.callbacks.preference_accuracy import PreferenceAccuracy
from rewardkit.callbacks.question_answers import QuestionAnswers


class EarlyStopping(Callback):
    """Stops after ``patience`` validations in a row that were not better than the best before them.

    The run ends as at the end of its schedule: the bundle is the best validation's, the summary is written and says at
    which step it stopped. Every rank sees the same joined tables, so all stop together. A run that is killed between
    the last checkpoint and its summary ends at once when it is resumed.

    Args:
        accuracy: Holds the validation that just ended; stands before this callback.
        dimension: The dimension that decides; None takes ``overall`` where there is one, else the mean.
        patience: Validations.
        min_delta: By how much a validation has to be above the best to count as better.
        answers: An evaluator's answers to the same validation, which then decide (``deciding_value``).
    """

    def __init__(
        self,
        accuracy: PreferenceAccuracy,
        *,
        dimension: str | None,
        patience: int,
        min_delta: float,
        answers: QuestionAnswers | None = None,
    ) -> None:
        self.accuracy = accuracy
        self.answers = answers
        self.dimension = deciding_dimension(dimension, accuracy.dimensions)
        self.patience = patience
        self.min_delta = min_delta
        self.best_value: float | None = None
        self.waited = 0
        self.stopped_step: int | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A run that had stopped before it was resumed takes no further step."""
        trainer.should_stop = trainer.should_stop or self.stopped_step is not None

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Compares with the best so far."""
        value = deciding_value(self.accuracy.latest, self.answers, self.dimension)
        if value is not None and (self.best_value is None or value > self.best_value + self.min_delta):
            self.best_value, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience and trainer.global_step < trainer.max_steps:
            self.stopped_step = trainer.global_step
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """The best so far, how long ago it was, and whether the run has stopped."""
        return {"best_value": self.best_value, "waited": self.waited, "stopped_step": self.stopped_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them back."""
        self.best_value = state_dict["best_value"]
        self.waited = state_dict["waited"]
        self.stopped_step = state_dict["stopped_step"]
