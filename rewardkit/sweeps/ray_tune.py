"""A sweep on a Ray cluster: Ray Tune places the trials, Optuna proposes, each trial is a process as on one machine.

The sweep's folder has to be one that all machines see. Ray keeps its own state in it, and a killed sweep is restored
from there; each trial's training goes on from its own checkpoints.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardkit.config.sweeps import Metric, Sweep
from rewardkit.errors import UserError
from rewardkit.sweeps.local import TrialPlan
from rewardkit.sweeps.space import Space
from rewardkit.sweeps.study import TrialRecord, make_sampler
from rewardkit.sweeps.trial import STOP_SECONDS, TrialProcess, best_value, lacks_metric, metric_values

INSTALL = 'pip install "rewardkit[ray,sweep]"'

STATE = "ray"
"""Folder of Ray's own state, in the sweep's."""

_LOOK_SECONDS = 0.5
_UNTIL = 10**6
"""More validations than any run has: what Ray calls ``max_t``."""


def check_ray() -> None:
    """Refuses where Ray Tune is not installed.

    Raises:
        UserError: With the line that installs it.
    """
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("ray.tune") is None:
        raise UserError(f"backend=ray needs Ray Tune: {INSTALL}; backend=local needs none")


def search_on_ray(
    sweep: Sweep,
    plan: TrialPlan,
    *,
    trials: int,
    jobs: int,
    seed: int,
    sampler: str,
    resources: Mapping[str, float],
) -> tuple[list[TrialRecord], dict[int, str]]:
    """Runs a sweep to its end, or goes on with one that was killed.

    Args:
        sweep: The file; it names a metric.
        plan: How trials are started.
        trials: How many.
        jobs: Trials that run at once.
        seed: Of the proposals.
        sampler: ``tpe`` or ``gp``, for ``method: bayes``.
        resources: ``cpu`` and ``gpu`` that a trial reserves.

    Returns:
        The trials by number, and number to name of the run.
    """
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler
    from ray.tune.search.optuna import OptunaSearch

    assert sweep.metric is not None
    space, mode = Space(sweep.parameters), "max" if sweep.metric.maximize else "min"
    trainable = tune.with_resources(_trainable(plan, space, sweep.metric), dict(resources))
    state = plan.root / STATE
    if tune.Tuner.can_restore(str(state.resolve())):
        tuner = tune.Tuner.restore(str(state.resolve()), trainable, resume_unfinished=True)
    else:
        scheduler = FIFOScheduler()
        if sweep.early is not None:
            scheduler = AsyncHyperBandScheduler(
                metric="value",
                mode=mode,
                grace_period=sweep.early.bands[0] + 1,  # W&B counts from 0
                reduction_factor=sweep.early.eta,
                max_t=_UNTIL,
            )
        search = OptunaSearch(
            space=space.distributions,
            metric="value",
            mode=mode,
            sampler=make_sampler(sweep.method, sampler, seed=seed, trials=trials),
            points_to_evaluate=list(space.grid()) if sweep.method == "grid" else None,
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=search, scheduler=scheduler, num_samples=trials, max_concurrent_trials=jobs
            ),
            run_config=tune.RunConfig(name=STATE, storage_path=str(plan.root.resolve()), verbose=0),
        )
    return _records(tuner.fit(), space)


def _trainable(plan: TrialPlan, space: Space, metric: Metric) -> type:
    """The class that Ray places: one trial, which says each value of the metric as it is logged."""
    from ray import tune

    class FitTrial(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._told = 0
            name = self.trial_id
            command = plan.command(name, space.point(config))
            self._trial = TrialProcess(plan.layout(name), plan.log(name), command=command, environment=plan.environment)

        def step(self) -> dict[str, Any]:
            while True:
                ended = self._trial.poll()
                points = metric_values(self._trial.layout, metric.name)
                best = best_value(points[: self._told + 1], metric)
                if len(points) > self._told and best is not None:
                    self._told += 1
                    return {"value": best[1], "step": best[0], "finished": False}
                if ended is not None and ended.finished and best is not None:
                    return {"value": best[1], "step": best[0], "finished": True, "done": True}
                if ended is not None:
                    missing = lacks_metric(self._trial.layout, metric.name)
                    raise RuntimeError(missing if ended.finished else ended.cause or "stopped from elsewhere")
                time.sleep(_LOOK_SECONDS)

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            (Path(checkpoint_dir) / "told").write_text(str(self._told), encoding="utf-8")

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Nothing: the run has checkpoints of its own, and what was told is told again."""

        def cleanup(self) -> None:
            self._trial.stop()
            until = time.monotonic() + STOP_SECONDS
            while self._trial.poll() is None and time.monotonic() < until:
                time.sleep(_LOOK_SECONDS)

    return FitTrial


def _records(results: Any, space: Space) -> tuple[list[TrialRecord], dict[int, str]]:
    records, names = [], {}
    for number, result in enumerate(results):
        metrics = result.metrics or {}
        state = "failed" if result.error is not None else "complete" if metrics.get("finished") else "stopped early"
        records.append(
            TrialRecord(
                number=number,
                state=state,
                point=space.point(result.config),
                value=metrics.get("value"),
                step=metrics.get("step"),
                history={},
                seconds=round(float(metrics.get("time_total_s", 0.0)), 1),
                attempts=0,
                stopping=False,
                cause=_cause(result.error),
            )
        )
        names[number] = str(metrics.get("trial_id") or Path(result.path).name)
    return records, names


def _cause(error: Exception | None) -> str | None:
    """What the trial said, without Ray's account of where."""
    return None if error is None else str(error).strip().rpartition("RuntimeError: ")[2].splitlines()[0]
