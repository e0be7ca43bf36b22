"""``fit``: from a recipe to a run with checkpoints, predictions, a bundle and a report."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rewardkit.config.compose import Composed, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.recipes import compose_fit
from rewardkit.config.schema import FitOptions
from rewardkit.config.show import composed_yaml, flat_values
from rewardkit.errors import EXIT_DONE, RewardkitError, UserError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from rewardkit.data.datamodule import PreferenceData
    from rewardkit.engine.hardware import Hardware
    from rewardkit.engine.interruption import Interruption, TrainingStopped
    from rewardkit.engine.run_directory import Opened
    from rewardkit.models.kinds import AnyReward

NOT_IN_CONFIG = ("recipe", "scale", "run", "resume", "dry_run", "plugins")
"""Keys that config.yaml leaves out, since a recipe may not set them."""


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help("fit recipe=NAME|PATH [scale=demo|paper] [key=value ...]", FitOptions)


def run(arguments: list[str]) -> int:
    """Trains, or says what training would do (``dry_run=true``)."""
    started = time.monotonic()
    composed = compose_fit(with_recipe_of_run(parse_overrides(arguments)))
    options = composed.options
    from rewardkit.commands.check import check
    from rewardkit.commands.find_questions import keep_factors_of_questions, take_dimensions_of_questions

    take_dimensions_of_questions(composed)
    keep_factors_of_questions(composed)
    check(options, composed.origins)
    if options.dry_run:
        from rewardkit.commands.dry_run import dry_run

        return dry_run(options, composed.origins)
    from rewardkit.engine.run_directory import open_run

    opened = open_run(
        options.resume,
        runs=options.run.dir,
        recipe=recipe_name(options),
        name=options.run.name,
        values=flat_values(options),
    )
    if opened.finished:
        print(f"{opened.layout.root} is finished; its report is {opened.layout.report}")
        return EXIT_DONE
    return _fit(composed, opened, arguments, started)


def with_recipe_of_run(overrides: dict[str, Any]) -> dict[str, Any]:
    """``resume=PATH`` alone takes recipe and options from the run it names."""
    resume = overrides.get("resume")
    if "recipe" in overrides or resume in (None, "never", "auto"):
        return overrides
    path = Path(str(resume))
    for root in (path, path.parent, path.parent.parent):
        if (root / "config.yaml").is_file():
            return {"recipe": str(root / "config.yaml"), **overrides}
    raise UserError(f"resume={resume}: this is neither a run's folder (with a config.yaml) nor a checkpoint inside one")


def recipe_name(options: FitOptions) -> str:
    """The name under which a recipe's runs lie."""
    return Path(str(options.recipe)).stem


def _fit(composed: Composed[FitOptions], opened: Opened, arguments: list[str], started: float) -> int:
    from rewardkit.commands.build_data import announce
    from rewardkit.commands.build_loggers import build_loggers, opened_loggers
    from rewardkit.commands.build_module import build_module
    from rewardkit.commands.fit_callbacks import build_callbacks
    from rewardkit.commands.send_artifacts import send_artifacts
    from rewardkit.commands.summary import finish
    from rewardkit.engine.environment import describe_environment
    from rewardkit.engine.interruption import started_by_rank_0
    from rewardkit.engine.run_directory import launched_rank, write_run_files
    from rewardkit.engine.train import describe_stop, make_trainer

    options, layout = composed.options, opened.layout
    console = Console(quiet=launched_rank() > 0)
    hardware = _begin(options, opened)
    model, data = _model_and_data(composed, opened, hardware, console)
    environment = describe_environment(seed=options.seed, precision=hardware.precision)
    if opened.checkpoint is None:
        write_run_files(
            layout,
            config=composed_yaml(composed, origins=True, skip=NOT_IN_CONFIG) + "\n",
            values=flat_values(options),
            arguments=arguments,
            environment=environment,
        )
    announce(options, model, data, opened, console)
    for path, reason in opened.unreadable.items():
        console.print(f"note    {reason}; set aside as {path.name}.unreadable", highlight=False, soft_wrap=True)
    callbacks = build_callbacks(options, opened, data, console)
    loggers = build_loggers(composed, opened, environment)
    trainer = make_trainer(
        hardware=hardware,
        max_steps=options.trainer.max_steps,
        accumulation=data.accumulation,
        validate_every=options.trainer.validate_every or options.trainer.max_steps,
        gradient_clip=options.optim.gradient_clip,
        loggers=loggers,
        callbacks=callbacks.all,
    )
    module = build_module(options, model, data)
    command = f"python -m rewardkit fit resume={layout.root}"
    with opened_loggers(loggers, layout, console) as ending:
        stopped = _train(trainer, module, data, callbacks.interruption, opened, command)
        if stopped is not None:
            console.print(describe_stop(stopped, command=command), highlight=False, soft_wrap=True)
            ending.exit_code = stopped.exit_code
            return EXIT_DONE if started_by_rank_0(trainer) else stopped.exit_code
        if trainer.is_global_zero:
            folders = [index.shards_at for data_set in data.val_data for index in data_set.indices]
            wall_s = time.monotonic() - started
            finish(options, layout, callbacks, console, arguments=arguments, val_folders=folders, wall_s=wall_s)
            send_artifacts(loggers, options, layout, data)
        ending.exit_code = EXIT_DONE
    return EXIT_DONE


def _begin(options: FitOptions, opened: Opened) -> Hardware:
    """Threads, the run's folder and the log of the libraries; what the run will use."""
    from rewardkit.commands.build_hardware import build_hardware
    from rewardkit.engine.run_directory import RUN_NAME_VARIABLE, launched_rank
    from rewardkit.engine.train import quieten, set_threads

    root, rank = opened.layout.root, launched_rank()
    set_threads(options.trainer.threads)
    hardware = build_hardware(options.trainer)
    os.environ[RUN_NAME_VARIABLE] = root.name
    root.mkdir(parents=True, exist_ok=True)
    quieten(opened.layout.console_log if rank == 0 else root / f"console-{rank}.log")
    return hardware


def _model_and_data(
    composed: Composed[FitOptions], opened: Opened, hardware: Hardware, console: Console
) -> tuple[AnyReward, PreferenceData]:
    """The model, the data as it needs them, and whether the objective can learn from these."""
    from rewardkit.commands.build_data import build_data
    from rewardkit.commands.build_features import build_features
    from rewardkit.commands.build_model import build_model
    from rewardkit.commands.check_objective import check_labels

    options = composed.options
    model = build_model(options)
    data = build_data(
        options,
        model,
        ranks=hardware.ranks,
        errors_path=opened.layout.data_errors,
        console=console,
        features=build_features(options, model, console),
    )
    assert data.train_data is not None
    labels = data.option_labels
    for note in check_labels(options.objective, data.train_data, composed.origins, option_labels=labels):
        if not console.quiet:
            print(f"note: {note}", file=sys.stderr)
    return model, data


def _train(
    trainer: Trainer,
    module: LightningModule,
    data: PreferenceData,
    interruption: Interruption,
    opened: Opened,
    command: str,
) -> TrainingStopped | None:
    """Trains; where that fails, says how to go on from the last checkpoint."""
    from rewardkit.engine.train import train

    try:
        return train(trainer, module, data, interruption=interruption, checkpoint=opened.checkpoint)
    except (OSError, RewardkitError):
        if opened.layout.last_checkpoint.exists():
            Console(stderr=True).print(
                f"stopped by the error below; once that is mended, continue from the last checkpoint with: {command}",
                highlight=False,
                soft_wrap=True,
            )
        raise
