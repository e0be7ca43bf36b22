"""The trials of one sweep, kept by Optuna in an SQLite file, so that a killed sweep knows where it was.

A trial is numbered once its values are complete; the number names its run. What was proposed next follows from the
seed, the number of trials before it and their results, not from how often the sweep was killed between.
"""

from __future__ import annotations

import os
import random
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from rewardkit.config.sweeps import Metric, Sweep
from rewardkit.sweeps.bands import Bands
from rewardkit.sweeps.space import Point, Space, identity

STATES = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
}
"""Optuna's states as people read them."""

_NAME = "sweep"
_REPEATS = 3
"""So often a point that was tried already is let pass before one that was not is taken at random."""


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial as it stands in the file.

    Attributes:
        number: Names its run; from 0.
        state: One of ``STATES``.
        point: Its values.
        value: The best of the metric; None where it has none yet.
        step: The optimiser step of that value.
        history: Step to value of the metric, as far as it was told.
        seconds: That its processes took.
        attempts: Processes that were started for it.
        stopping: Whether it has been decided to stop it early.
        cause: Why it failed.
    """

    number: int
    state: str
    point: Point
    value: float | None
    step: int | None
    history: Mapping[int, float]
    seconds: float
    attempts: int
    stopping: bool
    cause: str | None


class SweepStudy:
    """Proposes trials and remembers them.

    Args:
        path: The SQLite file; made where there is none, whole or not at all.
        sweep: What is searched, and how; it names a metric.
        seed: Of the proposals.
        sampler: ``tpe`` or ``gp``, for ``method: bayes``.
        limit: Most trials; None: as many as there are points.
    """

    def __init__(self, path: Path, sweep: Sweep, *, seed: int, sampler: str, limit: int | None) -> None:
        assert sweep.metric is not None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space = Space(sweep.parameters)
        self.metric = sweep.metric
        self.limit = limit
        self._method = sweep.method
        self._seed, self._sampler_name = seed, sampler
        if not path.is_file():
            _create(path, maximize=sweep.metric.maximize)
        pruner = Bands(sweep.early.bands, sweep.early.eta) if sweep.early else optuna.pruners.NopPruner()
        self._study = optuna.load_study(study_name=_NAME, storage=f"sqlite:///{path}", pruner=pruner)
        self._open: dict[int, Trial] = {}

    def unfinished(self) -> list[TrialRecord]:
        """Trials that were running when the sweep was killed, by number; they are to be run to their end."""
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if frozen.user_attrs.get("number") not in self._open:
                trial = Trial(self._study, frozen._trial_id)
                self._accept(trial)  # its values, where the kill came between two of them
        return [record for record in self.records() if record.state == "running"]

    def next(self) -> TrialRecord | None:
        """The next trial, which now counts as running; None where the sweep has all it wants."""
        records = self.records()
        if self.limit is not None and len(records) >= self.limit:
            return None
        if any(record.value is not None and self.metric.reached(record.value) for record in records):
            return None
        number = self._next_of_grid() if self._method == "grid" else self._next_of_search(records)
        return None if number is None else self.record(number)

    def report(self, number: int, step: int, value: float) -> bool:
        """Notes one value of the metric; whether the trial is to be stopped for it.

        A step that is known already is passed over.
        """
        trial = self._open[number]
        if step in self._frozen(number).intermediate_values:
            return False
        trial.report(value, step)
        if not trial.should_prune():
            return False
        trial.set_user_attr("stopping", True)
        return True

    def note(self, number: int, **what: Any) -> None:
        """Keeps ``seconds`` or ``attempts`` of a trial that goes on."""
        for name, value in what.items():
            self._open[number].set_user_attr(name, value)

    def complete(self, number: int, *, value: float, step: int) -> None:
        """The trial went to its end."""
        self._end(number, TrialState.COMPLETE, value=value, step=step)

    def stopped(self, number: int, *, value: float, step: int) -> None:
        """The trial was stopped early."""
        self._end(number, TrialState.PRUNED, value=value, step=step)

    def failed(self, number: int, cause: str) -> None:
        """The trial failed."""
        self._open[number].set_user_attr("cause", cause)
        self._end(number, TrialState.FAIL)

    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        trials = self._study.get_trials(deepcopy=False)
        return sorted((self._record(one) for one in trials if "number" in one.user_attrs), key=lambda one: one.number)

    def record(self, number: int) -> TrialRecord:
        """One trial."""
        return self._record(self._frozen(number))

    def best(self) -> TrialRecord | None:
        """The best of the trials that went to their end; the first of equals."""
        return best_of(self.records(), self.metric)

    def _next_of_grid(self) -> int | None:
        trials = self._study.get_trials(deepcopy=False)
        if not any(trial.state == TrialState.WAITING for trial in trials):
            drawn = next((one for n, one in enumerate(self.space.grid()) if n == len(trials)), None)
            if drawn is None:
                return None
            self._study.enqueue_trial(drawn)
        return self._accept(self._ask())

    def _next_of_search(self, records: list[TrialRecord]) -> int | None:
        seen = {identity(record.point): record for record in records}
        if self.space.size is not None and len(seen) >= self.space.size:
            return None
        for _ in range(_REPEATS):
            trial = self._ask()
            known = seen.get(identity(self.space.point(trial.params)))
            if known is None:
                return self._accept(trial)
            if known.state == "complete":  # training again would give the same; the sampler learns that it does
                self._study.tell(trial, known.value)
            else:
                self._study.tell(trial, state=TrialState.FAIL)
        if self.space.size is None:
            return self._accept(self._ask("random"))
        unseen = [one for one in self.space.grid() if identity(self.space.point(one)) not in seen]
        self._study.enqueue_trial(random.Random(self._draw_seed()).choice(unseen))
        return self._accept(self._ask())

    def _ask(self, method: str | None = None) -> Trial:
        seed = self._draw_seed()
        self._study.sampler = make_sampler(method or self._method, self._sampler_name, seed=seed, trials=self.limit)
        return self._study.ask(self.space.distributions)

    def _draw_seed(self) -> int:
        """Of the next proposal: another one for each trial, the same after a kill."""
        made = len(self._study.get_trials(deepcopy=False))
        return zlib.crc32(f"{self._seed} {made}".encode())

    def _accept(self, trial: Trial) -> int:
        """Numbers a trial whose values are complete."""
        for name, distribution in self.space.distributions.items():
            _suggest(trial, name, distribution)
        number = trial.user_attrs.get("number")
        if number is None:
            number = len(self.records())
            trial.set_user_attr("number", number)
        self._open[number] = trial
        return int(number)

    def _end(self, number: int, state: TrialState, *, value: float | None = None, step: int | None = None) -> None:
        trial = self._open.pop(number)
        if step is not None:
            trial.set_user_attr("step", step)
            trial.set_user_attr("value", value)
        self._study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)

    def _frozen(self, number: int) -> FrozenTrial:
        return next(t for t in self._study.get_trials(deepcopy=False) if t.user_attrs.get("number") == number)

    def _record(self, frozen: FrozenTrial) -> TrialRecord:
        kept = frozen.user_attrs
        return TrialRecord(
            number=kept["number"],
            state=STATES[frozen.state],
            point=self.space.point(frozen.params),
            value=kept.get("value"),
            step=kept.get("step"),
            history=dict(sorted(frozen.intermediate_values.items())),
            seconds=kept.get("seconds", 0.0),
            attempts=kept.get("attempts", 0),
            stopping=kept.get("stopping", False),
            cause=kept.get("cause"),
        )


def best_of(records: Iterable[TrialRecord], metric: Metric) -> TrialRecord | None:
    """The best of the trials that went to their end; the first of equals."""
    best: TrialRecord | None = None
    for record in records:
        if record.state != "complete" or record.value is None:
            continue
        if best is None or best.value is None or metric.better(record.value, best.value):
            best = record
    return best


def make_sampler(method: str, name: str, *, seed: int, trials: int | None) -> BaseSampler:
    """What proposes, of Optuna.

    Args:
        method: W&B's: ``bayes``, or else at random.
        name: ``tpe`` or ``gp``, for ``bayes``.
        seed: Of its draws.
        trials: How many there will be; a quarter of them, 3 to 10, are drawn at random to begin with.
    """
    if method != "bayes":
        return RandomSampler(seed=seed)
    startup = 10 if trials is None else max(3, min(10, trials // 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "gp":
            return GPSampler(seed=seed, n_startup_trials=startup)
        return TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)


def _create(path: Path, *, maximize: bool) -> None:
    """Makes the file beside its name first: a kill while Optuna makes its tables would leave half of them."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    storage = optuna.storages.RDBStorage(f"sqlite:///{part}")
    optuna.create_study(study_name=_NAME, storage=storage, direction="maximize" if maximize else "minimize")
    storage.engine.dispose()
    os.replace(part, path)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    """Draws one value where the trial has none yet."""
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high)
    elif isinstance(distribution, FloatDistribution):
        trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
