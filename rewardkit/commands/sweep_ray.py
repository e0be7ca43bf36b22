"""``sweep backend=ray``: the trials run on a Ray cluster, placed by Ray Tune."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewardkit.errors import EXIT_DONE, EXIT_FAILURE, UserError
from rewardkit.sweeps.ray_tune import check_ray, search_on_ray

if TYPE_CHECKING:
    from rich.console import Console

    from rewardkit.commands.sweep_folder import Planned


def run_on_ray(planned: Planned, console: Console) -> int:
    """Runs the sweep there, and ends as a local one does: table, results, picture, the best trial's files."""
    check_ray()
    from rewardkit.commands.sweep_display import finish_sweep
    from rewardkit.commands.sweep_folder import open_folder, trial_plan
    from rewardkit.sweeps.study import best_of

    if planned.trials is None:
        raise UserError("backend=ray needs to know how many trials: give count=N, or run_cap in the file")
    options, metric = planned.options, planned.sweep.metric
    assert metric is not None
    with open_folder(planned) as root:
        plan = trial_plan(planned, root.resolve())
        console.print(f"sweep   {root}, on Ray", highlight=False, soft_wrap=True)
        records, names = search_on_ray(
            planned.sweep,
            plan,
            trials=planned.trials,
            jobs=options.jobs,
            seed=options.seed,
            sampler=options.sampler,
            resources={"cpu": options.trial_cpus, "gpu": options.trial_gpus},
        )
        layouts = {number: plan.layout(name) for number, name in names.items()}
        best = best_of(records, metric)
        found = finish_sweep(planned, root, records, best, layouts, console, finished=True)
    return EXIT_DONE if found else EXIT_FAILURE
