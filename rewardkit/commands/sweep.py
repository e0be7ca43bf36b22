"""``sweep``: searches options of ``fit`` from a sweep file, here, on W&B's server or on a Ray cluster."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from rewardkit.config.compose import parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.sweep_options import SweepOptions
from rewardkit.config.sweeps import read_sweep, shipped_sweeps
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_PREEMPTED, UserError

if TYPE_CHECKING:
    from rewardkit.commands.sweep_folder import Planned

_USAGE = "sweep sweep=NAME|FILE recipe=NAME|PATH [backend=local|wandb|ray] [key=value of fit ...]"


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help(_USAGE, SweepOptions)


def run(arguments: list[str]) -> int:
    """Searches, or says what the search would do (``dry_run=true``)."""
    if not arguments:
        lines = "\n".join(f"  {name:<20} {read_sweep(path).about}" for name, path in shipped_sweeps().items())
        raise UserError(f"name a sweep: sweep=NAME or sweep=FILE. There are\n{lines}")
    from rewardkit.commands.sweep_folder import plan_sweep

    planned = plan_sweep(parse_overrides(arguments), arguments)
    console = Console(stderr=False)
    if planned.options.dry_run:
        from rewardkit.commands.sweep_display import print_plan

        print_plan(planned, console)
        return EXIT_DONE
    if planned.backend == "wandb":
        from rewardkit.commands.sweep_server import run_on_server

        return run_on_server(planned, console)
    if planned.backend == "ray":
        from rewardkit.commands.sweep_ray import run_on_ray

        return run_on_ray(planned, console)
    return _run_here(planned, console)


def _run_here(planned: Planned, console: Console) -> int:
    from rewardkit.commands.sweep_display import finish_sweep
    from rewardkit.commands.sweep_folder import open_folder, trial_plan
    from rewardkit.sweeps.local import Interrupted, name_of, run_local
    from rewardkit.sweeps.study import SweepStudy

    with open_folder(planned) as root:
        study = SweepStudy(
            root / "study.db",
            planned.sweep,
            seed=planned.options.seed,
            sampler=planned.options.sampler,
            limit=planned.limit,
        )
        plan = trial_plan(planned, root)
        done = len([record for record in study.records() if record.state != "running"])
        of = f" of {planned.trials}" if planned.trials is not None else ""
        console.print(f"sweep   {root}", highlight=False, soft_wrap=True)
        console.print(f"method  {planned.sweep.method}, {planned.options.jobs} at once, {done}{of} trials done before")
        stopped = None
        try:
            run_local(study, plan, jobs=planned.options.jobs, say=lambda line: _say(console, line))
        except Interrupted as interrupted:
            stopped = interrupted
        records = study.records()
        layouts = {record.number: plan.layout(name_of(record.number)) for record in records}
        found = finish_sweep(planned, root, records, study.best(), layouts, console, finished=stopped is None)
    if stopped is not None:
        print(
            f"interrupted; the trials are saved. Continue with: python -m rewardkit sweep resume={root}",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED if stopped.number == signal.SIGINT else EXIT_PREEMPTED
    return EXIT_DONE if found else EXIT_FAILURE


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.file.flush()
