"""Seconds until something happens: ``--help``, and the first optimiser step of ``fit`` at demo scale.

    python tools/bench/starting.py [--rounds 5] [--out build/bench/starting] [--json FILE] [--check]

Every round starts new processes. The embedded dataset lies in the cache already (an uncounted first run draws it where
it does not). A run is timed from the start of the interpreter to the end of its first optimiser step, which the plugin
``paced_fit.py`` reports; processor time is beside it, which other work on the machine does not lengthen.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rounds import Figure, Report
from worker import Worker

DEMANDS = {"--help": 0.5, "first step": 12.0}
"""Most seconds."""


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("build/bench/starting"), help="folder to work in")
    parser.add_argument("--fit", nargs="*", default=[], help="options of fit beside recipe=hpsv2")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a demand is missed")
    asked = parser.parse_args()
    out = asked.out.resolve()
    report = Report("starting", {name: str(value) for name, value in vars(asked).items()})
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in DEMANDS}
    first_step(out, asked.fit)
    for number in range(asked.rounds):
        took["--help"].append(help_text())
        took["first step"].append(first_step(out, asked.fit))
        told = ", ".join(f"{name} {rows[-1][0]:.2f} s" for name, rows in took.items())
        print(f"round {number + 1}: {told}", flush=True)
    for name, rows in took.items():
        report.figures.append(Figure(name, "s", [wall for wall, _ in rows], -DEMANDS[name]))
        report.figures.append(Figure(f"{name}, processor time", "s", [used for _, used in rows]))
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def help_text() -> tuple[float, float]:
    """Seconds by the clock, and of processor time, of ``--help``."""
    before, begun = _used_by_children(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "rewardkit", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun, _used_by_children() - before


def first_step(out: Path, options: Sequence[str]) -> tuple[float, float]:
    """Likewise of ``fit`` up to the end of its first optimiser step, its loader's processes included."""
    shutil.rmtree(out / "runs", ignore_errors=True)
    plugin = Path(__file__).with_name("paced_fit.py")
    command = [sys.executable, "-m", "rewardkit", "fit", "recipe=hpsv2", *options, f"run.dir={out / 'runs'}"]
    before, begun = _used_by_children(), time.perf_counter()
    worker = Worker([*command, f"plugins={plugin}"], out / "fit.log")
    try:
        worker.send(warm=0, steps=1)
        worker.answer()  # ready
        worker.answer()  # the step is done
        wall = time.perf_counter() - begun
    finally:
        worker.end()
    return wall, _used_by_children() - before


def _used_by_children() -> float:
    """Processor seconds of the processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
