"""Runs of ``fit`` for a study: two at a time, each in a folder of its own, and what is finished is not run again."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from rewardkit.config.layout import RunLayout
from rewardkit.data.predictions import Predictions, read_predictions

_HEAVY = ("checkpoints", "bundle")
"""Folders of a run that no result is read from; gigabytes over a study."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: Unique in the study; the folder's name is this and a digest of the arguments.
        arguments: Of ``python -m rewardkit fit``.
    """

    name: str
    arguments: tuple[str, ...]

    def layout(self, out: Path) -> RunLayout:
        """Where it lies."""
        recipe = next(a.removeprefix("recipe=") for a in self.arguments if a.startswith("recipe="))
        return RunLayout(out / "runs" / Path(recipe).stem / self._folder)

    def command(self, out: Path) -> list[str]:
        """All of its arguments."""
        return ["fit", *self.arguments, f"run.dir={out / 'runs'}", f"run.name={self._folder}", "resume=auto"]

    @property
    def _folder(self) -> str:
        digest = hashlib.blake2b("\n".join(self.arguments).encode(), digest_size=4).hexdigest()
        return f"{self.name}-{digest}"


def run_all(runs: Sequence[Run], out: Path, *, jobs: int, seconds: float) -> None:
    """Runs what is not finished; a run that fails ends the study with its last lines.

    Args:
        runs: All of a study.
        out: The study's folder.
        jobs: Runs at a time, each with one thread.
        seconds: What a run takes, for the estimate that is printed first.
    """
    left = [run for run in runs if not run.layout(out).is_finished]
    print(
        f"{len(runs)} runs, {len(runs) - len(left)} of them finished; {len(left)} to go, {jobs} at a time, "
        f"{about(len(left) * seconds / jobs)} at {seconds:g} s each",
        flush=True,
    )
    if not left:
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # before the workers import torch
    (out / "logs").mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = {pool.submit(execute, run, out): run for run in left}
        for done, finished in enumerate(as_completed(waiting), 1):
            run = waiting[finished]
            code, took = finished.result()
            if code:
                pool.shutdown(wait=False, cancel_futures=True)
                print(_tail(_log(run, out)), file=sys.stderr)
                sys.exit(f"{run.name} failed with exit code {code}: python -m rewardkit {' '.join(run.command(out))}")
            print(f"{done}/{len(left)}  {run.name}  {took:.0f} s", flush=True)
    print(f"took {(time.monotonic() - started) / 60:.1f} minutes", flush=True)


def execute(run: Run, out: Path) -> tuple[int, float]:
    """One run in this process, as the command line would; returns its exit code and the seconds it took."""
    from rewardkit import cli

    started = time.monotonic()
    with _log(run, out).open("w", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        code = cli.run(run.command(out))
    if code == 0:
        for name in _HEAVY:
            shutil.rmtree(run.layout(out).root / name, ignore_errors=True)
    return code, time.monotonic() - started


def last_predictions(run: Run, out: Path) -> Predictions:
    """What the run scored in its last validation."""
    folder = run.layout(out).predictions
    (*_, last) = sorted(path for path in folder.glob("*.parquet") if not path.name.endswith(".labels.parquet"))
    return read_predictions(last)


def about(seconds: float) -> str:
    """A time as an estimate: ``about 4 minutes``."""
    return f"about {seconds / 60:.0f} minutes" if seconds >= 90 else f"about {seconds:.0f} seconds"


def rewardkit(*arguments: str) -> None:
    """Runs another verb in this process; its failure ends the study."""
    from rewardkit import cli

    print("$ python -m rewardkit " + " ".join(arguments), flush=True)
    code = cli.run(list(arguments))
    if code:
        sys.exit(code)


def _log(run: Run, out: Path) -> Path:
    return out / "logs" / f"{run.name}.txt"


def _tail(path: Path, letters: int = 3000) -> str:
    return path.read_text(encoding="utf-8")[-letters:]
