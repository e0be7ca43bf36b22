"""One trial as a process: ``python -m rewardkit fit …``, watched through the files of its run.

The process holds a lock for as long as it lives. A sweep that was killed may leave its trials running; the next one
finds the lock taken, and waits for that process instead of starting a second one in the same folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # no POSIX: a trial of a killed sweep is not recognised
    fcntl = None  # type: ignore[assignment]

from rewardkit.config.layout import RunLayout
from rewardkit.config.messages import did_you_mean
from rewardkit.config.sweeps import Metric
from rewardkit.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_PREEMPTED
from rewardkit.report.metrics_log import curves, read_metrics

STOP_SECONDS = 300.0
"""So long a trial may take to save and end once it was asked to; then it is killed."""

_SAVED = (EXIT_PREEMPTED, EXIT_INTERRUPTED)
_KEPT_OF_LOG = 20_000
_PROMPT = "$ "
"""Stands before the command in the log, above what that process printed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a trial's process ended.

    Attributes:
        finished: The run went to its end.
        saved: It was asked to stop, and can be continued.
        killed: A signal ended it at once.
        cause: What it said last, where it did not finish.
    """

    finished: bool
    saved: bool = False
    killed: bool = False
    cause: str = ""


class TrialProcess:
    """A running trial.

    Args:
        layout: Its run.
        log: What the process prints is appended here; its lock and process number lie beside it.
        command: What to run, where no process of a killed sweep is at it already.
        environment: Of the process.
    """

    def __init__(self, layout: RunLayout, log: Path, *, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.layout = layout
        self.log = log
        self.started = time.monotonic()
        self._pid_file = log.with_suffix(".pid")
        self._lock_file = log.with_suffix(".lock")
        self._asked: float | None = None
        self._size = -1
        self._process: subprocess.Popen[bytes] | None = None
        log.parent.mkdir(parents=True, exist_ok=True)
        self.adopted = self._start(command, environment)

    @property
    def seconds(self) -> float:
        """Since it was started or found."""
        return time.monotonic() - self.started

    def values(self, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a metric as logged so far; empty where the log has not grown since the last call."""
        path = self.layout.metrics
        size = path.stat().st_size if path.is_file() else -1
        if size == self._size:
            return []
        self._size = size
        return metric_values(self.layout, metric)

    def poll(self) -> Ended | None:
        """How it ended; None while it runs."""
        if self._process is None:
            if self._taken():
                self._kill_late()
                return None
            code: int | None = None
        else:
            code = self._process.poll()
            if code is None:
                self._kill_late()
                return None
        if self.layout.is_finished:
            return Ended(finished=True)
        if code is None:  # of an adopted process nobody knows the code; it is started again
            return Ended(finished=False, saved=True)
        if code in _SAVED:
            return Ended(finished=False, saved=True, cause=last_words(self.log))
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return Ended(finished=False, killed=True, cause=f"killed by {name}")
        if code == EXIT_DONE:
            return Ended(finished=False, cause="ended without a summary.json")
        return Ended(finished=False, cause=last_words(self.log) or f"exit code {code}")

    def stop(self) -> None:
        """Asks it to save and to end; it is killed where that takes longer than ``STOP_SECONDS``."""
        if self._asked is None:
            self._asked = time.monotonic()
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it and what it has started at once."""
        self._signal(signal.SIGKILL)

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Starts the process, or finds one; whether it was found."""
        with open(self._lock_file, "ab") as lock:  # closed here, it stays locked by the process that has it too
            if not _lock(lock):
                return True
            self._pid_file.unlink(missing_ok=True)  # of an earlier process; its number may be another's by now
            with self.log.open("ab") as output:
                output.write(f"{_PROMPT}{shlex.join(command)}\n".encode())
                output.flush()
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    start_new_session=True,  # Ctrl-C reaches the sweep alone, which then asks its trials to save
                    pass_fds=[lock.fileno()],
                )
        self._pid_file.write_text(str(self._process.pid), encoding="utf-8")
        return False

    def _taken(self) -> bool:
        with open(self._lock_file, "ab") as lock:
            return not _lock(lock)

    def _kill_late(self) -> None:
        if self._asked is not None and time.monotonic() - self._asked > STOP_SECONDS:
            self.kill()

    def _signal(self, number: int) -> None:
        pid = self._process.pid if self._process is not None else _read_pid(self._pid_file)
        if pid is None or (self._process is None and not self._taken()):
            return
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)


def metric_values(layout: RunLayout, metric: str) -> list[tuple[int, float]]:
    """(step, value) of a metric in a run's log, without what is not finite."""
    if not layout.metrics.is_file():
        return []
    points = curves(read_metrics(layout.metrics)).get(metric, [])
    return [(step, value) for step, value in points if abs(value) < float("inf")]


def best_value(points: Sequence[tuple[int, float]], metric: Metric) -> tuple[int, float] | None:
    """The best of (step, value); the later of equals, as the bundle is."""
    best: tuple[int, float] | None = None
    for step, value in points:
        if best is None or not metric.better(best[1], value):
            best = (step, value)
    return best


def lacks_metric(layout: RunLayout, metric: str) -> str:
    """What to say of a run that did not log the metric."""
    names = curves(read_metrics(layout.metrics)) if layout.metrics.is_file() else {}
    held_out = sorted(name for name in names if name.startswith("val/"))
    shown = ", ".join(held_out[:8]) + (", …" if len(held_out) > 8 else "")
    return f"it did not log {metric}.{did_you_mean(metric, names)} It logged {shown or 'nothing held out'}"


def last_words(log: Path) -> str:
    """The error that a process ended with, from the end of what it printed."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _KEPT_OF_LOG))
        lines = [line.strip() for line in file.read().decode("utf-8", errors="replace").splitlines() if line.strip()]
    begun = [n for n, line in enumerate(lines) if line.startswith(_PROMPT)]
    lines = lines[begun[-1] + 1 :] if begun else lines
    starts = [n for n, line in enumerate(lines) if re.match(r"error: ", line)]
    said = lines[starts[-1] :] if starts else lines[-1:]
    return " ".join(said).removeprefix("error: ")[:2000]


def _lock(file: IO[bytes]) -> bool:
    """Takes a file's lock, which processes inherit with the open file; whether it was free."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Holds a lock while inside; whether it was free."""
    with open(path, "ab") as file:
        yield _lock(file)


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
