"""A program that behaves as ``fit`` does towards a sweep: run folder, metrics.csv, signals, exit codes, resuming.

Its options: ``x`` (or ``optim.lr``) and ``y`` make the value; ``steps`` and ``wait`` how long it takes; ``holds=N``
makes it wait after step N until it is stopped, unless ``free=X`` says where x is; ``fails=true`` ends it with an error;
``dies=N`` kills it after its first step as often as N says. It notes every step that it takes in ``steps.txt``, so that
a test can see whether two processes were ever at one trial.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    root = Path(given["run.dir"]) / Path(given["recipe"]).stem / given["run.name"]
    root.mkdir(parents=True, exist_ok=True)
    if given.get("fails") == "true":
        print("some line\nerror: y cannot be that\n  choose another")
        return 2
    if (root / "summary.json").exists():
        return 0
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    (root / "config.yaml").write_text("optim: {lr: 1.0e-3}\n")
    with (root / "starts.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    done = checkpoint(root)
    rows = ["step,name,value", *(f"{n},{given.get('logs', 'val/m')},{value(given, n)}" for n in range(1, done + 1))]
    (root / "metrics.csv").write_text("\n".join(rows) + "\n")
    for step in range(done + 1, int(given.get("steps", 3)) + 1):
        time.sleep(float(given.get("wait", 0)))
        with (root / "metrics.csv").open("a") as file:
            file.write(f"{step},{given.get('logs', 'val/m')},{value(given, step)}\n")
        with (root / "steps.txt").open("a") as file:
            file.write(f"{step} {os.getpid()}\n")
        (root / "checkpoint").write_text(str(step))
        if len((root / "starts.txt").read_text().split()) <= int(given.get("dies", 0)):
            os.kill(os.getpid(), signal.SIGKILL)
        until = time.monotonic() + 120
        while step == int(given.get("holds", 0)) and given.get("free") != given.get("x") and not stopped:
            assert time.monotonic() < until, "nobody stopped it"
            time.sleep(0.02)
        if stopped:
            return 75
    (root / "bundle").mkdir(exist_ok=True)
    (root / "bundle" / "model.safetensors").write_text(given["run.name"])
    (root / "summary.json").write_text(json.dumps({"step": int(given.get("steps", 3))}))
    return 0


def checkpoint(root: Path) -> int:
    path = root / "checkpoint"
    return int(path.read_text()) if path.exists() else 0


def value(given: dict[str, str], step: int) -> float:
    """Largest at x = 3 and y = b; grows with the steps."""
    best = -((float(given.get("x", given.get("optim.lr", 0))) - 3) ** 2) + {"a": 0.0, "b": 1.5, "c": 0.5}.get(
        given.get("y", "a"), 0.0
    )
    return best + 0.01 * step


if __name__ == "__main__":
    sys.exit(main())
