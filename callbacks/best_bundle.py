"""Exports the best model of a run's validations, with the calibration and evaluation that it had there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rewardkit.callbacks.deciding import deciding_dimension, deciding_value
from rewardkit.callbacks.preference_accuracy import PreferenceAccuracy, Validation
from rewardkit.callbacks.question_answers import QuestionAnswers

from rewardkit.metrics.calibration import score_statistics
from rewardkit.models.save import save_reward
from rewardkit.models.sharded import whole_parameters


class BestBundle(Callback):
    """Writes ``bundle/`` whenever a validation is better than all before; the newer of equals is kept.

    What decides is ``deciding_value``: the accuracy of one dimension (or the mean of all), of an evaluator its answers'
    rank correlation. Choosing the best of several validations on the same data flatters the number that is printed; the
    card says how many there were.

    Args:
        accuracy: Holds the validation that just ended; stands before this callback.
        folder: The run's ``bundle/``.
        dimension: The dimension that decides; None takes ``overall`` where there is one, else the mean of all.
        recipe: Option to value, for the bundle's record.
        answers: An evaluator's answers to the same validation; stands before this callback too.
        data: What the run trains and validates on, for the bundle's card (``rewardkit.data.described``).
    """

    def __init__(
        self,
        accuracy: PreferenceAccuracy,
        *,
        folder: Path,
        dimension: str | None,
        recipe: Mapping[str, Any],
        answers: QuestionAnswers | None = None,
        data: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.accuracy = accuracy
        self.answers = answers
        self.folder = folder
        self.dimension = deciding_dimension(dimension, accuracy.dimensions)
        self.recipe = dict(recipe)
        self.data = list(data)
        self.best_value: float | None = None
        self.best_step = -1
        self.validations = 0
        self.improved = False

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Compares, and exports where better."""
        validations = self.accuracy.latest
        value = deciding_value(validations, self.answers, self.dimension)
        self.validations += 1
        self.improved = value is not None and (self.best_value is None or value >= self.best_value)
        if self.improved:
            self.best_value, self.best_step = value, trainer.global_step
            with whole_parameters(module, here=trainer.is_global_zero):
                if trainer.is_global_zero:
                    self._export(module, validations)
        self.accuracy.forget([self.best_step, trainer.global_step])

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {"best_value": self.best_value, "best_step": self.best_step, "validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it back."""
        self.best_value = state_dict["best_value"]
        self.best_step = state_dict["best_step"]
        self.validations = state_dict["validations"]

    def _export(self, module: Any, validations: list[Validation]) -> None:
        model = module.model
        calibration = score_statistics(in_users_scale(validations[0], model.of_logits()))
        about = {"step": self.best_step, "selected": f"best of {self.validations} validations on this set so far"}
        answered = self.answers.latest if self.answers else []
        evaluation = [{"set": one.set, **about, **row} for one in (*validations, *answered) for row in one.rows]
        save_reward(
            self.folder, model, calibration=calibration, evaluation=evaluation, recipe=self.recipe, data=self.data
        )


def in_users_scale(validation: Validation, of_logits: Mapping[str, tuple[float, float]]) -> Any:
    """The predictions with scores as the bundle gives them; tables hold logits.

    Args:
        validation: Its predictions.
        of_logits: Dimension to factor and shift, as the model says.
    """
    predictions = validation.predictions
    logits, dimension = predictions.scores["score"], predictions.scores["dimension"]
    factor = dimension.map({name: pair[0] for name, pair in of_logits.items()}).astype(float)
    shift = dimension.map({name: pair[1] for name, pair in of_logits.items()}).astype(float)
    return type(predictions)(predictions.scores.assign(score=logits * factor + shift), predictions.labels)
