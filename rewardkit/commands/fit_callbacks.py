"""The callbacks of a run, from the recipe's map of short names, in the order in which they must be called."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lightning.pytorch.callbacks import Callback
from rich.console import Console

from rewardkit.callbacks.best_bundle import BestBundle
from rewardkit.callbacks.early_stopping import EarlyStopping
from rewardkit.callbacks.ema import EMA
from rewardkit.callbacks.guards import Guards
from rewardkit.callbacks.preference_accuracy import PreferenceAccuracy
from rewardkit.callbacks.progress import ProgressBar
from rewardkit.callbacks.question_answers import QuestionAnswers
from rewardkit.callbacks.step_log import StepLog
from rewardkit.callbacks.throughput import Throughput
from rewardkit.callbacks.validation_media import ValidationMedia
from rewardkit.commands.find_questions import find_questions
from rewardkit.commands.plugins import load_plugins
from rewardkit.config.schema import FitOptions
from rewardkit.config.show import flat_values
from rewardkit.data.described import describe_data
from rewardkit.engine.checkpoint_files import FileWriter
from rewardkit.engine.checkpoint_folder import CheckpointFolder
from rewardkit.engine.checkpoints import ResumableCheckpoints
from rewardkit.engine.disclosure import public_value
from rewardkit.engine.frozen_weights import FrozenWeights
from rewardkit.engine.interruption import Interruption
from rewardkit.engine.run_directory import Opened
from rewardkit.engine.running_statistics import SharedRunningStatistics


@dataclass(frozen=True, slots=True)
class RunCallbacks:
    """The callbacks of a run.

    Attributes:
        all: In the order in which they are called.
        accuracy: The one that validates, where there is one.
        answers: The one that validates an evaluator's answers, where there is one.
        best: The one that exports, where there is one.
        early: The one that ends a run before its schedule does, where there is one.
        interruption: Says when to stop early.
    """

    all: list[Callback]
    accuracy: PreferenceAccuracy | None
    answers: QuestionAnswers | None
    best: BestBundle | None
    early: EarlyStopping | None
    interruption: Interruption


def build_callbacks(options: FitOptions, opened: Opened, data: Any, console: Console) -> RunCallbacks:
    """Builds them.

    What all ranks share comes first, then the average of weights, so that all others validate it. Checkpoints come
    last, so that the state of all others is in the file.

    Args:
        options: All options of ``fit``.
        opened: The run's folder, and what of it could not be read.
        data: The data of the run.
        console: For people.
    """
    chosen, layout = options.callbacks, opened.layout
    accuracy = answers = best = early = None
    made: list[Callback] = [SharedRunningStatistics()]
    if chosen.ema is not None:
        made.append(EMA(**asdict(chosen.ema)))
    if chosen.throughput is not None:
        made.append(Throughput(window=chosen.throughput.window))
    if chosen.guards is not None:
        made.append(Guards(**asdict(chosen.guards), console=console))
    made += [StepLog(every=options.trainer.log_every), ProgressBar(console, total_steps=options.trainer.max_steps)]
    if chosen.preference_accuracy is not None:
        accuracy = PreferenceAccuracy(
            sets=data.val_names,
            dimensions=options.model.dimensions,
            dimension_map=options.data.dimension_map,
            protocol=options.evaluation.protocol,
            draws=options.evaluation.bootstrap,
            folder=layout.predictions,
            keep_all=chosen.preference_accuracy.write_predictions,
            seed=options.seed,
        )
        made.append(accuracy)
        if options.model.kind == "mllm":
            answers = QuestionAnswers(
                sets=data.val_names,
                questions=find_questions(options),
                dimension_map=options.data.dimension_map,
                folder=layout.predictions,
            )
            made.append(answers)
        pictures = picture_folders(data)
        if {"tensorboard", "wandb"} & set(options.logger):
            made.append(ValidationMedia(accuracy, pictures=pictures, table_rows=options.wandb.table_rows))
        if chosen.gallery is not None:
            from rewardkit.callbacks.gallery import Gallery  # fonts and pictures, which few runs need

            made.append(Gallery(accuracy, folder=layout.gallery, pictures=pictures, **asdict(chosen.gallery)))
    if chosen.early_stopping is not None and accuracy is not None:
        early = EarlyStopping(accuracy, answers=answers, **asdict(chosen.early_stopping))
        made.append(early)
    if chosen.best_bundle is not None and accuracy is not None:
        best = BestBundle(
            accuracy,
            folder=layout.bundle,
            dimension=chosen.best_bundle.dimension,
            recipe=_recipe_record(options),
            answers=answers,
            data=_described(data),
        )
        made.append(best)
    made += load_plugins(options.plugins)
    if options.model.pretrained is not None and not options.trainer.checkpoint_frozen:
        made.append(FrozenWeights())
    interruption = Interruption(stop_after=options.trainer.stop_after)
    checkpoints = ResumableCheckpoints(
        CheckpointFolder(layout.checkpoints, keep=options.trainer.keep_checkpoints),
        every=options.trainer.checkpoint_every,
        interruption=interruption,
        writer=FileWriter(background=options.trainer.async_checkpoints),
        is_best=lambda: best is not None and best.improved,
        unreadable=opened.unreadable,
    )
    return RunCallbacks([*made, interruption, checkpoints], accuracy, answers, best, early, interruption)


def picture_folders(data: Any) -> dict[str, list[Any]]:
    """Validation set to the folders of its shards, where the pictures of its candidates are."""
    return {
        name: [index.shards_at for index in data_set.indices]
        for name, data_set in zip(data.val_names, data.val_data, strict=True)
    }


def _described(data: Any) -> list[dict[str, Any]]:
    """What the bundle's card says of the run's data."""
    training = data.train_data.indices if data.train_data is not None else ()
    sets = zip(data.val_names, data.val_data, strict=True)
    return describe_data(training, {name: one.indices for name, one in sets})


def _recipe_record(options: FitOptions) -> dict[str, Any]:
    """Options for the bundle's record, without the places of this machine."""
    local = (
        "run.", "cache.", "resume", "plugins", "dry_run", "logger", "wandb.", "data.train", "data.val",
        "trainer.stop_after",
    )  # fmt: skip
    return {key: public_value(value) for key, value in flat_values(options).items() if not key.startswith(local)}
