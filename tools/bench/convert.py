"""Converting 100 000 pairs over 20 000 images, against a plain copy of the same folder; and the memory that it takes.

    python tools/bench/convert.py [--rounds 5] [--groups 5000] [--out build/bench] [--json FILE] [--check]

A: the faster of ``shutil.copytree`` and ``cp -r``. B: ``python -m rewardkit data convert format=jsonl``, the command
as a person types it. Both write to the same disk; nothing is flushed to the disk by either. ``warm``: both read from
the page cache; ``cold``: the source was dropped from it before each, as a set that has just been downloaded or mounted
is read. The rate is copy seconds / convert seconds. What a round wrote stays until the last is done (3.6 GB a round at
full size): ext4 makes files several times more slowly right after others were removed, which would flatter the
conversion. Memory is that of the whole process tree (``tree_memory.py``), less that of one process right after the
imports; measured in runs of their own, also with ten times the rows.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hpd_like import CANDIDATES, Shape, make_source
from rounds import Figure, Report, cool, files_below, load, seconds, warm
from tree_memory import imports_memory, run_watched

RATE = 0.5
"""Least rate of the conversion, of that of the copy."""

STATES = {"warm": warm, "cold": cool}
"""Of the source's files, and what brings them there."""

MEMORY_MB = 500
"""Most memory above the imports, megabytes."""

IMPORTS = ("rewardkit.__main__", "rewardkit.commands.data", "rewardkit.commands.data_convert", "rewardkit.data.convert")
"""What the command has imported when it begins to work."""


@dataclass
class Times:
    """Seconds of each round.

    Attributes:
        own: As the command itself prints them: without the start of the interpreter.
        loads: Of the machine, before each round.
    """

    copytree: list[float] = field(default_factory=list)
    cp: list[float] = field(default_factory=list)
    convert: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)

    def copy(self) -> list[float]:
        """The faster copy of each round."""
        return [min(pair) for pair in zip(self.copytree, self.cp, strict=True)]


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=5000, help="prompts of 4 images and 20 pairs each")
    parser.add_argument("--side", type=int, default=512, help="of the images, pixels")
    parser.add_argument("--memory-groups", type=int, default=50_000, help="of the second memory run; 0 leaves it out")
    parser.add_argument("--workers", type=int, default=2, help="of the conversion")
    parser.add_argument("--out", type=Path, default=Path("build/bench/convert"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a demand is missed")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    report = Report("data convert", {name: str(value) for name, value in vars(asked).items()})
    shape = Shape(asked.groups, side=asked.side)
    source = make_source(asked.out / "source", shape)
    report.settings = {**report.settings, "bytes": sum(path.stat().st_size for path in files_below(source))}
    times = Times()
    shutil.rmtree(asked.out / "written", ignore_errors=True)
    for state in STATES:
        found = measure(source, asked.out, shape, asked.rounds, asked.workers, state)
        report.figures += rate_figures(found, shape, state)
        times.loads += found.loads
    shutil.rmtree(asked.out / "written")
    imports = imports_memory(IMPORTS)
    report.figures.append(Figure("memory of one process after the imports", "MB", [imports / 1e6], digits=0))
    report.figures += memory_figures(source, asked.out, shape, asked.workers, imports)
    if asked.memory_groups:
        # Small images: what grows with the rows shows as well, and a run takes minutes, not an hour.
        many = Shape(asked.memory_groups, side=16, interleaved=True)
        report.figures += memory_figures(make_source(asked.out / "many", many), asked.out, many, asked.workers, imports)
    report.notes.append("Load before each round: " + ", ".join(f"{value:.1f}" for value in times.loads))
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def measure(source: Path, out: Path, shape: Shape, rounds: int, workers: int, state: str) -> Times:
    """Copies and converts in turns; each finds the source in the same state and writes to a folder of its own."""
    times = Times()
    files, prepare = files_below(source), STATES[state]
    written = out / "written" / state
    digests = set()
    for number in range(rounds):
        times.loads.append(load())
        targets = {name: written / str(number) / name for name in ("copytree", "cp", "shards")}
        (written / str(number)).mkdir(parents=True)
        prepare(files)
        times.copytree.append(seconds(partial(shutil.copytree, source, targets["copytree"])))
        prepare(files)
        times.cp.append(seconds(partial(subprocess.run, ["cp", "-r", source, targets["cp"]], check=True)))
        prepare(files)
        times.convert.append(seconds(lambda to=targets["shards"]: times.own.append(convert(source, to, workers))))  # type: ignore[misc]
        digests.add(counted(targets["shards"], shape))
        print(
            f"{state}, round {number + 1}: copytree {times.copytree[-1]:.2f} s, cp -r {times.cp[-1]:.2f} s, "
            f"convert {times.convert[-1]:.2f} s (its own {times.own[-1]:.1f} s)",
            flush=True,
        )
    assert len(digests) == 1, "the rounds wrote different shards"
    return times


def convert(source: Path, shards: Path, workers: int) -> float:
    """Runs the command; the seconds that it says it took."""
    done = subprocess.run(command(source, shards, workers), capture_output=True, text=True)
    return own_seconds(done.returncode, done.stdout + done.stderr)


def command(source: Path, shards: Path, workers: int) -> list[str]:
    """The conversion as it is typed."""
    options = ["format=jsonl", f"src={source}", f"out={shards}", f"workers={workers}"]
    return [sys.executable, "-m", "rewardkit", "data", "convert", *options]


def own_seconds(status: int, printed: str) -> float:
    """What the command's summary says; ends the bench where it failed."""
    found = re.search(r" shards, ([\d.,]+) s \(", printed)
    if status or found is None:
        raise SystemExit(f"data convert failed ({status}):\n{printed}")
    return float(found[1].replace(",", ""))


def counted(shards: Path, shape: Shape) -> str:
    """The digest of the shards, when they hold what they must."""
    index = json.loads((shards / "index.json").read_text(encoding="utf-8"))
    counts = index["counts"]
    assert counts["groups"] == shape.groups and counts["candidates"] == shape.groups * CANDIDATES, counts
    return str(index["digest"])


def rate_figures(times: Times, shape: Shape, state: str) -> list[Figure]:
    """The rate, as a whole command and without the interpreter's start, with what it comes from."""
    copy = times.copy()
    images = shape.groups * CANDIDATES
    rates = {
        "whole command": [a / b for a, b in zip(copy, times.convert, strict=True)],
        "its own time": [a / b for a, b in zip(copy, times.own, strict=True)],
    }
    return [
        Figure(f"{state}: copytree", "s", times.copytree),
        Figure(f"{state}: cp -r", "s", times.cp),
        Figure(f"{state}: convert, whole command", "s", times.convert),
        Figure(f"{state}: convert, its own time", "s", times.own),
        Figure(f"{state}: images converted", "/s", [images / value for value in times.convert], digits=0),
        *(Figure(f"{state}: copy / convert, {of}", "", values, RATE) for of, values in rates.items()),
    ]


def memory_figures(source: Path, out: Path, shape: Shape, workers: int, imports: int) -> list[Figure]:
    """One conversion under watch: what all its processes held at once, and above the imports of one."""
    shards = out / "shards"
    shutil.rmtree(shards, ignore_errors=True)
    done, seen = run_watched(command(source, shards, workers))
    own_seconds(done.returncode, done.stdout)
    counted(shards, shape)
    shutil.rmtree(shards)
    rows = f"{shape.groups * shape.lines:,} rows"
    above = Figure(f"{rows}: above the imports", "MB", [(seen.peak - imports) / 1e6], -MEMORY_MB, digits=0)
    marks = sum(seen.highest.values())
    return [
        Figure(f"{rows}: peak of all processes together", "MB", [seen.peak / 1e6], digits=0),
        Figure(f"{rows}: highest marks added up", "MB", [marks / 1e6], digits=0),
        above,
    ]


if __name__ == "__main__":
    sys.exit(main())
