"""Processes that measure in turns: each waits until it is asked, so that the other has the machine for itself.

The parent starts a command and speaks with it over two pipes in lines of JSON. This file is all that the two sides have
in common and needs nothing but Python, so that it runs in a peer's environment too.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PIPES = "BENCH_PIPES"
"""Environment variable: the descriptors that a process reads from and answers on."""

PATIENCE = 1800.0
"""Longest that an answer may take, seconds."""


class Worker:
    """A process that answers.

    Args:
        command: What to start.
        log: File for all that it prints.
        environment: Variables beside this process's own.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
        theirs, ours = os.pipe()
        answers, answering = os.pipe()
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8") as file:
            self._process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs, answering),
                env={**os.environ, **(environment or {}), PIPES: f"{theirs},{answering}"},
            )
        os.close(theirs)
        os.close(answering)
        self._asking = os.fdopen(ours, "w", encoding="utf-8")
        self._answers = os.fdopen(answers, encoding="utf-8")

    def ask(self, **message: Any) -> dict[str, Any]:
        """Sends a message and waits for its answer."""
        self.send(**message)
        return self.answer()

    def send(self, **message: Any) -> None:
        """Sends a message."""
        try:
            self._asking.write(json.dumps(message) + "\n")
            self._asking.flush()
        except BrokenPipeError:
            self._failed()

    def answer(self) -> dict[str, Any]:
        """The next answer; ends the bench where the process fails."""
        begun = time.monotonic()
        while not select.select([self._answers], [], [], 0.5)[0]:
            if self._process.poll() is not None or time.monotonic() - begun > PATIENCE:
                self._failed()
        line = self._answers.readline()
        if not line:
            self._failed()
        return dict(json.loads(line))

    def end(self) -> None:
        """Ends the process, wherever it is."""
        self._process.kill()
        self._process.wait()
        self._asking.close()
        self._answers.close()

    def _failed(self) -> None:
        self.end()
        said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        raise SystemExit("\n".join([f"{' '.join(map(str, self._process.args))} ended ({self._log}):", *said]))  # type: ignore[arg-type]


class Channel:
    """The other end: what a started process reads and answers."""

    def __init__(self) -> None:
        reading, answering = map(int, os.environ[PIPES].split(","))
        self._reading = os.fdopen(reading, encoding="utf-8")
        self._answering = os.fdopen(answering, "w", encoding="utf-8")

    def message(self) -> dict[str, Any]:
        """The next message; ends this process where there will be none."""
        line = self._reading.readline()
        if not line:
            sys.stderr.flush()
            os._exit(0)
        return dict(json.loads(line))

    def answer(self, **values: Any) -> None:
        """Answers."""
        self._answering.write(json.dumps(values) + "\n")
        self._answering.flush()


@dataclass
class Counted:
    """What was counted of some steps."""

    seconds: float = 0.0
    processor_seconds: float = 0.0
    waited: float = 0.0
    comparisons: int = 0
    steps: int = 0


class Pace:
    """Holds a training loop between two steps until it is asked for more.

    A message ``{"warm": 1, "steps": 3}`` lets it take four steps and is answered with what the last three of them took.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._warm = self._steps = 0
        self._counted = Counted()

    def begin(self) -> None:
        """The loop is about to take its first step."""
        self._channel.answer(ready=True)
        self._wait()

    def stepped(self, comparisons: int, waited: float) -> None:
        """A step is done.

        Args:
            comparisons: In it.
            waited: Seconds that it waited for its data.
        """
        if self._warm:
            self._warm -= 1
            if not self._warm:
                self._start()
            return
        self._counted.comparisons += comparisons
        self._counted.waited += waited
        self._counted.steps += 1
        if self._counted.steps == self._steps:
            self._counted.seconds = time.perf_counter() - self._began
            self._counted.processor_seconds = _processor_seconds() - self._used
            self._channel.answer(**vars(self._counted))
            self._wait()

    def _wait(self) -> None:
        asked = self._channel.message()
        self._warm, self._steps = asked["warm"], asked["steps"]
        if not self._warm:
            self._start()

    def _start(self) -> None:
        self._counted = Counted()
        self._began, self._used = time.perf_counter(), _processor_seconds()


def _processor_seconds() -> float:
    """Of this process and of those that it started and that live, user time."""
    return _user_time(os.getpid()) + sum(_user_time(child) for child in _children(os.getpid()))


def _user_time(process: int) -> float:
    try:
        with open(f"/proc/{process}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[11]) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def _children(process: int) -> list[int]:
    found = []
    for task in os.listdir(f"/proc/{process}/task"):
        try:
            with open(f"/proc/{process}/task/{task}/children") as file:
                found += [int(child) for child in file.read().split()]
        except OSError:  # the thread has ended
            continue
    return found
