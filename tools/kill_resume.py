"""Kills a training run at random moments, resumes it each time, and compares the end with an uninterrupted run.

    python tools/kill_resume.py OUT [--kills 10] [--workers 2] [--steps 60]

Both runs train the embedded dataset with the recipe hpsv2. Prints where each kill came and whether the weights, the
optimiser's state and the logged losses are equal, bit for bit; exit code 1 where they are not.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from rewardkit.config.layout import RunLayout
from rewardkit.engine.loggers import read_metrics


def main() -> int:
    """Runs both and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    options = [
        "recipe=hpsv2",
        f"run.dir={arguments.out}",
        "data.embedded.train_groups=256",
        "data.embedded.val_groups=40",
        f"data.workers={arguments.workers}",
        f"trainer.max_steps={arguments.steps}",
        f"trainer.validate_every={arguments.steps // 4}",
        "trainer.checkpoint_every=3",
        "trainer.log_every=1",
        "trainer.threads=1",
        "optim.warmup_steps=5",
        "resume=auto",
    ]
    started = time.monotonic()
    if start([*options, "run.name=whole"]).wait() != 0:
        return 1
    longest = time.monotonic() - started
    for kill in range(1, arguments.kills + 1):
        run = start([*options, "run.name=killed"])
        wait = random.uniform(0.0, longest)
        try:
            run.wait(timeout=wait)
            print(f"kill {kill}: the run ended within {wait:.1f} s", flush=True)
            break
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
            print(f"kill {kill}: after {wait:.1f} s", flush=True)
    if start([*options, "run.name=killed"]).wait() != 0:
        return 1
    differences = compare(*(RunLayout(arguments.out / "hpsv2" / name) for name in ("whole", "killed")))
    print("\n".join(differences) or "equal, bit for bit: weights, optimiser state, logged losses and accuracies")
    return 1 if differences else 0


def start(options: list[str]) -> subprocess.Popen[bytes]:
    """Starts one training process, its output dropped."""
    command = [sys.executable, "-m", "rewardkit", "fit", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def compare(whole: RunLayout, killed: RunLayout) -> list[str]:
    """What differs between two finished runs."""
    first, second = (torch.load(run.last_checkpoint, weights_only=True) for run in (whole, killed))
    found = [
        f"weights differ: {name}"
        for name, tensor in first["state_dict"].items()
        if not torch.equal(tensor, second["state_dict"][name])
    ]
    states = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (first, second)]
    for number, state in states[0].items():
        found += [
            f"optimiser state differs: tensor {number}, {name}"
            for name, tensor in state.items()
            if not torch.equal(tensor, states[1][number][name])
        ]
    logged = [[row for row in read_metrics(run.metrics) if "throughput" not in row[1]] for run in (whole, killed)]
    if logged[0] != logged[1]:
        found.append("metrics.csv differs")
    return found


if __name__ == "__main__":
    sys.exit(main())
