"""Runs a sweep's trials as processes on this machine, some at once, until there is nothing left to try."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rewardkit.config.layout import RunLayout
from rewardkit.sweeps.space import Point, arguments
from rewardkit.sweeps.study import SweepStudy, TrialRecord
from rewardkit.sweeps.trial import Ended, TrialProcess, best_value, lacks_metric, metric_values

MAX_ATTEMPTS = 3
"""So many processes of a trial may end before their time, by a signal from elsewhere, before it counts as failed."""

LOOK_SECONDS = 0.5
"""How often the logs of running trials are looked at."""


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """How trials are started, and where their files lie.

    Attributes:
        root: The sweep's folder.
        recipe: The recipe's name, which is part of a run's folder.
        fixed: ``key=value`` arguments that all trials share.
        environment: Of every process.
        gpus: Of each of the trials that run at once, the GPUs it may see; empty leaves all to all.
        program: What stands before the arguments.
    """

    root: Path
    recipe: str
    fixed: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    gpus: Sequence[str] = ()
    program: Sequence[str] = (sys.executable, "-m", "rewardkit", "fit")

    @property
    def runs(self) -> Path:
        """Folder that holds the trials' runs."""
        return self.root / "runs"

    def layout(self, name: str) -> RunLayout:
        """The run of a trial."""
        return RunLayout(self.runs / self.recipe / name)

    def log(self, name: str) -> Path:
        """What a trial's processes print."""
        return self.root / "logs" / f"{name}.log"

    def command(self, name: str, point: Point) -> list[str]:
        """What runs, or continues, a trial."""
        own = [f"run.dir={self.runs}", f"run.name={name}", "resume=auto"]
        return [*self.program, *self.fixed, *arguments(point), *own]


def name_of(number: int) -> str:
    """A trial's name."""
    return f"{number:04d}"


class Interrupted(Exception):
    """The sweep was asked to stop; its trials are saved.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def run_local(study: SweepStudy, plan: TrialPlan, *, jobs: int, say: Callable[[str], None]) -> None:
    """Runs what was left running by a killed sweep, then new trials, to the end of the sweep.

    Args:
        study: Proposes, and remembers.
        plan: How trials are started.
        jobs: Trials that run at once.
        say: Told what happens, a line each.

    Raises:
        Interrupted: A signal came. Trials have saved what they had, and are continued by the next call.
    """
    with _signals() as received:
        _Runner(study, plan, jobs, say, received).run()


class _Runner:
    """The trials that are running, each in a place of its own."""

    def __init__(
        self, study: SweepStudy, plan: TrialPlan, jobs: int, say: Callable[[str], None], received: list[int]
    ) -> None:
        self._study, self._plan, self._say, self._received = study, plan, say, received
        self._places: list[tuple[TrialRecord, TrialProcess] | None] = [None] * jobs
        self._left = study.unfinished()

    def run(self) -> None:
        """Until nothing runs and nothing is left."""
        while True:
            if not self._received:
                self._fill()
            elif not any(self._places):
                raise Interrupted(self._received[0])
            if not any(self._places):
                return
            for place, running in enumerate(self._places):
                if running is not None:
                    self._look(place, *running)
            if any(self._places):
                self._wait()

    def _fill(self) -> None:
        for place, running in enumerate(self._places):
            if running is None:
                record = self._left.pop(0) if self._left else self._study.next()
                if record is None:
                    return
                self._start(place, record)

    def _start(self, place: int, record: TrialRecord) -> None:
        environment = dict(self._plan.environment)
        if self._plan.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._plan.gpus[place % len(self._plan.gpus)]
        name = name_of(record.number)
        process = TrialProcess(
            self._plan.layout(name),
            self._plan.log(name),
            command=self._plan.command(name, record.point),
            environment=environment,
        )
        how = "still runs" if process.adopted else "continues" if process.layout.exists else "starts"
        self._say(f"trial {record.number:<3} {how:<10}{' '.join(arguments(record.point))}")
        self._places[place] = (record, process)

    def _look(self, place: int, record: TrialRecord, process: TrialProcess) -> None:
        """What has become of one trial since."""
        ended = process.poll()  # first: what it logged before it ended is then all there
        stopping = record.stopping or self._study.record(record.number).stopping
        for step, value in process.values(self._study.metric.name):
            if not stopping and self._study.report(record.number, step, value) and ended is None:
                stopping = True
                self._say(
                    f"trial {record.number:<3} {'is stopped':<10} after step {step}: {value:.4g} is not among the best"
                )
        if ended is None:
            if stopping or self._received:
                process.stop()
            return
        self._places[place] = None
        seconds = self._study.record(record.number).seconds + process.seconds
        self._study.note(record.number, seconds=round(seconds, 1))
        self._judge(place, record, process, ended, stopping=stopping)

    def _judge(self, place: int, record: TrialRecord, process: TrialProcess, ended: Ended, *, stopping: bool) -> None:
        """Writes down how a trial ended, or starts it again."""
        number, metric = record.number, self._study.metric
        best = best_value(metric_values(process.layout, metric.name), metric)
        if ended.finished and best is None:
            self._fail(number, lacks_metric(process.layout, metric.name))
        elif ended.finished and best is not None:
            self._study.complete(number, value=best[1], step=best[0])
            self._tell(number, "reached", best)
        elif stopping and best is not None:
            self._study.stopped(number, value=best[1], step=best[0])
            self._tell(number, "stopped at", best)
        elif self._received and (ended.saved or ended.killed):
            self._say(f"trial {number:<3} is saved")
        elif ended.saved or ended.killed:
            attempts = self._study.record(number).attempts + 1
            self._study.note(number, attempts=attempts)
            if attempts < MAX_ATTEMPTS:
                self._say(f"trial {number:<3} ended early ({ended.cause or 'it was stopped'}) and is continued")
                self._start(place, self._study.record(number))
            else:
                self._fail(number, f"{ended.cause or 'stopped from elsewhere'}, {attempts} times")
        else:
            self._fail(number, ended.cause)

    def _fail(self, number: int, cause: str) -> None:
        self._study.failed(number, cause)
        self._say(f"trial {number:<3} failed: {cause.splitlines()[0] if cause else 'no reason given'}")

    def _tell(self, number: int, how: str, reached: tuple[int, float]) -> None:
        best = self._study.best()
        beside = ""
        if best is not None and best.value is not None:
            beside = "; the best so far" if best.number == number else f"; best {best.value:.4g}, trial {best.number}"
        seconds = self._study.record(number).seconds
        self._say(f"trial {number:<3} {how} {reached[1]:.4g} at step {reached[0]}, {seconds:.0f} s{beside}")

    def _wait(self) -> None:
        """Until it is time to look again, or a signal comes, or a trial ends."""
        until = time.monotonic() + LOOK_SECONDS
        asked = len(self._received)
        while time.monotonic() < until and len(self._received) == asked:
            time.sleep(0.05)
        if len(self._received) > 1:
            for running in self._places:
                if running is not None:
                    running[1].kill()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects signals instead of dying of them; a second one makes the runner kill its trials."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
