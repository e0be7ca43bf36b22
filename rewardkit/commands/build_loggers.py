"""The loggers of a run from its options, what of these W&B may see, and how a run on W&B begins and ends."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.loggers import Logger
from rich.console import Console

from rewardkit.commands.check_loggers import wandb_mode
from rewardkit.config.compose import Composed
from rewardkit.config.layout import RunLayout
from rewardkit.config.schema import FitOptions
from rewardkit.config.show import flat_values
from rewardkit.engine.disclosure import public_options, public_value
from rewardkit.engine.loggers import make_loggers
from rewardkit.engine.run_directory import Opened, launched_rank
from rewardkit.engine.wandb_run import DEFAULT_PROJECT, WandbRun, WandbValues, wandb_runs
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_PREEMPTED


@dataclass(slots=True)
class Ending:
    """How a run ended, as it is told to the loggers; a failure until something else is said."""

    exit_code: int = EXIT_FAILURE


def build_loggers(composed: Composed[FitOptions], opened: Opened, environment: Mapping[str, Any]) -> list[Logger]:
    """Builds them; W&B's run is not begun.

    Args:
        composed: All options of ``fit`` and where each was set.
        opened: The run's folder and the checkpoint that it goes on from.
        environment: From ``describe_environment``.
    """
    options = composed.options
    names, mode = list(options.logger), wandb_mode(options.wandb)
    wandb = None
    if "wandb" in names and mode != "disabled":
        wandb = _wandb_values(composed, opened.layout, environment, mode)
    return make_loggers(names, opened.layout, resumed_step=opened.step, wandb=wandb)


def _wandb_values(
    composed: Composed[FitOptions], layout: RunLayout, environment: Mapping[str, Any], mode: str
) -> WandbValues:
    chosen = composed.options.wandb
    values = {key: value for key, value in flat_values(composed.options).items() if value is not None}
    origins = {key: origin for key, origin in composed.origins.items() if key in values}
    return WandbValues(
        mode=mode,
        named={
            "project": chosen.project,
            "entity": chosen.entity,
            "name": chosen.name,
            "group": chosen.group,
            "job_type": chosen.job_type,
            "tags": list(chosen.tags),
            "notes": chosen.notes,
        },
        defaults={
            "project": DEFAULT_PROJECT,
            "name": f"{layout.root.parent.name}/{layout.root.name}",
            "job_type": "fit",
        },
        config={
            **public_options(values),
            "origins": public_options(origins),
            "environment": public_value(environment),
        },
        machine=chosen.machine,
    )


@contextmanager
def opened_loggers(loggers: Sequence[Logger], layout: RunLayout, console: Console) -> Iterator[Ending]:
    """Begins the run on W&B, says where it can be seen, and ends it as what stands inside ended.

    Args:
        loggers: Of the run.
        layout: The run's folder.
        console: For people.

    Yields:
        To be told the exit code; without that, or where an error passes, the run counts as failed.
    """
    runs = wandb_runs(loggers) if launched_rank() == 0 else []
    for run in runs:
        run.start()
        for line in [*run.notes, _place(run, layout)]:
            console.print(f"wandb   {line}", highlight=False, soft_wrap=True)
    ending = Ending()
    try:
        yield ending
    except KeyboardInterrupt:
        ending.exit_code = EXIT_INTERRUPTED
        raise
    except BaseException:
        ending.exit_code = EXIT_FAILURE
        raise
    finally:
        for run in runs:
            saved = ending.exit_code in (EXIT_DONE, EXIT_PREEMPTED)
            run.finish(exit_code=EXIT_DONE if saved else ending.exit_code, preempted=ending.exit_code == EXIT_PREEMPTED)


def _place(run: WandbRun, layout: RunLayout) -> str:
    """Where the run can be seen; of one without a server, how it gets to one."""
    if not run.offline:
        return str(run.run.url)
    return f"offline; later, with a network: {sync_command(layout)}"


def sync_command(layout: RunLayout) -> str:
    """What brings an offline run to W&B. All attempts of a run become one curve, since W&B goes on with its id."""
    return f"WANDB_RESUME=allow wandb sync {shlex.quote(str(layout.wandb))}"
