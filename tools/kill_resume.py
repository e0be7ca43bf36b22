"""Kills a training run at random moments, resumes it each time, and compares the end with an uninterrupted run.

    python tools/kill_resume.py OUT [--strategy zero2 --devices 2] [--kills 10] [--workers 2] [--steps 60] [--mixed]
                                    [--seed N] [KEY=VALUE ...]

Both runs train a small CLIP on the embedded dataset (``--mixed``: on two data sets of it), in 1.5 epochs by default, so
that kills come in the middle of an epoch and around its end. Every process of the run is killed at once (SIGKILL), a
random time after a random step: between steps, in a validation, while a checkpoint is written. ``KEY=VALUE`` go to
``fit`` as they are.

Prints where each kill came, and whether weights, optimiser state, logged figures, predictions and the bundle are equal,
bit for bit; exit code 1 where they are not, or where a step is missing from metrics.csv or twice in it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from rewardkit.config.layout import RunLayout
from rewardkit.engine.loggers import read_metrics
from rewardkit.models.stored.interface import MOMENTS
from rewardkit.models.stored.opening import open_training

GROUPS_IN_A_STEP = 8


def main() -> int:
    """Runs both and compares."""
    arguments = parse()
    draws = random.Random(arguments.seed)
    options = [*fit_options(arguments), *arguments.more]
    print(
        f"seed {arguments.seed}: {arguments.strategy}, {arguments.devices} processes, {arguments.workers} workers each"
    )
    runs = arguments.out / "hpsv2"
    whole, killed = RunLayout(runs / "whole"), RunLayout(runs / "killed")
    if start([*options, "run.name=whole"]).wait() != 0:
        return failed(whole)
    for kill in range(1, arguments.kills + 1):
        run = start([*options, "run.name=killed"])
        before, wait = last_step(killed), draws.uniform(0.0, arguments.wait)
        steps = draws.randint(0, max(1, (arguments.steps - before) // 2))
        if not kill_after(run, killed, before + steps, wait):
            print(f"kill {kill}: the run ended before step {before + steps}", flush=True)
            break
        print(f"kill {kill}: {wait:.2f} s after step {before + steps}", flush=True)
    if start([*options, "run.name=killed"]).wait() != 0:
        return failed(killed)
    differences = compare(whole, killed, steps=arguments.steps)
    print("\n".join(differences) or "equal, bit for bit: weights, optimiser state, logs, predictions, bundle")
    return 1 if differences else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--wait", type=float, default=1.0, help="longest time between a step and the kill, in seconds")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("more", nargs="*", metavar="KEY=VALUE")
    return parser.parse_args()


def fit_options(arguments: argparse.Namespace) -> list[str]:
    """What both runs are given."""
    groups = arguments.steps * GROUPS_IN_A_STEP * 2 // 3
    sources = [f"data.embedded.train_groups={groups}"]
    if arguments.mixed:
        folders = [arguments.out / f"data-{n}" for n in (1, 2)]
        for n, folder in enumerate(folders):
            command = [sys.executable, "-m", "rewardkit", "data", "demo", f"out={folder}", f"seed={n}"]
            if not folder.exists():
                subprocess.run([*command, f"groups={groups // 3 * (n + 1)}"], check=True, stdout=subprocess.DEVNULL)
        sources = [f"data.train={','.join(map(str, folders))}"]
    return [
        "recipe=hpsv2",
        f"run.dir={arguments.out}",
        *sources,
        "data.embedded.val_groups=24",
        f"data.batch_groups={GROUPS_IN_A_STEP}",
        f"data.micro_groups={GROUPS_IN_A_STEP // 2 // arguments.devices}",
        f"data.workers={arguments.workers}",
        f"trainer.strategy={arguments.strategy}",
        f"trainer.devices={arguments.devices}",
        f"trainer.max_steps={arguments.steps}",
        f"trainer.validate_every={max(1, arguments.steps // 4)}",
        "trainer.checkpoint_every=3",
        "trainer.log_every=1",
        "trainer.threads=1",
        "trainer.precision=32",
        "optim.warmup_steps=2",
        "resume=auto",
    ]


def start(options: list[str]) -> subprocess.Popen[bytes]:
    """Starts one training in a process group of its own, its output dropped."""
    command = [sys.executable, "-m", "rewardkit", "fit", *options]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)


def last_step(run: RunLayout) -> int:
    """The last step in a run's log."""
    return max((step for step, _, _ in read_metrics(run.metrics)), default=0) if run.metrics.is_file() else 0


def kill_after(process: subprocess.Popen[bytes], run: RunLayout, step: int, wait: float) -> bool:
    """Kills a run and all its ranks some time after it has logged a step; False where it ended before."""
    while process.poll() is None and last_step(run) < step:
        time.sleep(0.02)
    time.sleep(wait)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def failed(run: RunLayout) -> int:
    """Says where to look."""
    print(f"the run failed; see {run.console_log}")
    return 1


def compare(whole: RunLayout, killed: RunLayout, *, steps: int) -> list[str]:
    """What differs between two finished runs, and what is wrong with the log of the second."""
    return [*compare_states(whole, killed), *compare_files(whole, killed), *check_log(killed, steps=steps)]


def compare_states(whole: RunLayout, killed: RunLayout) -> list[str]:
    """Tensors of the last checkpoints that are not equal, bit for bit."""
    first, second = (open_training(run.last_checkpoint.resolve()) for run in (whole, killed))
    found = [f"weights differ: {name}" for name in first if not torch.equal(first[name], second[name])]
    for name in first.trained:
        for what in MOMENTS:
            mine, theirs = first.read(name, what), second.read(name, what)
            same = mine is theirs if mine is None or theirs is None else torch.equal(mine, theirs)
            found += [] if same else [f"optimiser state differs: {name}, {what}"]
        found += [] if first.steps(name) == second.steps(name) else [f"optimiser steps differ: {name}"]
    return found


def compare_files(whole: RunLayout, killed: RunLayout) -> list[str]:
    """Logs without times, predictions and weights of the bundle."""
    logged = [[row for row in read_metrics(run.metrics) if "throughput" not in row[1]] for run in (whole, killed)]
    found = [] if logged[0] == logged[1] else ["metrics.csv differs"]
    files = [*sorted(whole.predictions.glob("*.parquet")), whole.bundle / "model.safetensors"]
    for file in files:
        other = killed.root / file.relative_to(whole.root)
        if not other.is_file() or file.read_bytes() != other.read_bytes():
            found.append(f"{file.name} differs")
    return found


def check_log(run: RunLayout, *, steps: int) -> list[str]:
    """Steps that the log lacks or has twice."""
    logged = [step for step, name, _ in read_metrics(run.metrics) if name == "train/loss"]
    missing = sorted(set(range(1, steps + 1)) - set(logged))
    twice = sorted({step for step in logged if logged.count(step) > 1})
    return [f"metrics.csv lacks steps {missing}"] * bool(missing) + [f"metrics.csv has steps {twice} twice"] * bool(
        twice
    )


if __name__ == "__main__":
    sys.exit(main())
