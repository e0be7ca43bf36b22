"""The schema of ``sweep``; every other key on its command line is an option of ``fit`` that all trials share."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option


@dataclass
class SweepRunOptions:
    """Where the sweep's folder lies."""

    name: str | None = option(None)
    """Name of the sweep; its folder is DIR/sweeps/SWEEP/NAME. Default: the time it starts."""
    dir: str = option("runs")
    """Folder that holds the runs."""


@dataclass
class SweepOptions:
    """Searches options of fit: many trials, each a run, from a sweep file in W&B's schema.

    Every other option given is one of fit (recipe=, scale=, data.train=, logger=, …) and the same in all trials.
    """

    sweep: str | None = option(None)
    """Name of a sweep that ships with rewardkit (`sweep` without arguments lists them), or the path of a YAML file."""
    backend: str = option("auto", choices=("auto", "local", "wandb", "ray"))
    """Who proposes and runs. local: Optuna and processes on this machine, no server. wandb: W&B's server, and an agent
    here. ray: Ray Tune, on a cluster. auto: wandb where there is a W&B key and WANDB_MODE does not say otherwise, else
    local."""
    jobs: int = option(1, at_least=1)
    """Trials that run at once."""
    gpus: list[str] = option([])
    """With backend=local, GPUs to share out among the trials that run at once, such as 0,1,2,3. Default: each sees
    all."""
    trial_cpus: float = option(1.0, above=0)
    """With backend=ray, CPUs that a trial reserves."""
    trial_gpus: float = option(0.0, at_least=0)
    """With backend=ray, GPUs that a trial reserves."""
    count: int | None = option(None, at_least=1)
    """Most trials in all; of this and the file's run_cap the smaller holds. With backend=wandb: that this agent
    runs."""
    sampler: str = option("auto", choices=("auto", "gp", "tpe"))
    """What proposes with `method: bayes`, locally and with ray. gp: a Gaussian process, as on W&B's server; it learns
    nothing from trials that were stopped early. tpe: a tree of Parzen estimators. auto: tpe with early_terminate, else
    gp."""
    seed: int = option(0, at_least=0)
    """Seed of the proposals, and of every trial."""
    run: SweepRunOptions = option(SweepRunOptions())
    resume: str = option("never")
    """never: an existing sweep is refused. auto: start, or continue the sweep of that name. PATH: a sweep's folder,
    which is continued with the options that it was started with."""
    dry_run: bool = option(False)
    """Print what would be tried, and how, and stop."""
