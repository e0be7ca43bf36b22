"""Kills an offline sweep in the middle, resumes it, and holds it against an exhaustive grid of the same points.

    python tools/sweep_resume.py OUT [--trials 12] [--kill-at 5] [--seed N] [--jobs N] [KEY=VALUE ...]

Both search learning rate × groups in a step (20 points) for a tiny CLIP on the embedded dataset, with W&B offline. The
sweep proposes from its results (``method: bayes``) and may try ``--trials`` of the points; it and all its trials are
killed (SIGKILL) while trial ``--kill-at`` runs, and resumed. The grid tries every point. ``KEY=VALUE`` go to ``fit``.

Then the search is replayed with ``--replays`` seeds on the grid's values, without training, to see how often so many
trials find the best point.

Prints what each found, and by how much the two bests differ on the same comparisons. Exit code 1 where the sweep lost
a trial or tried one twice, where a trial's value is not, digit for digit, the grid's at the same point, where its best
is distinguishably below the grid's (95 % interval of the paired difference), or where W&B's files do not hold each
trial's metric, as W&B's own messages read from them, in one group.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rewardkit.config.layout import RunLayout
from rewardkit.config.sweeps import read_sweep
from rewardkit.data.predictions import read_predictions
from rewardkit.engine.wandb_file import files_of, read_records
from rewardkit.metrics.comparison import compare as paired
from rewardkit.sweeps.study import SweepStudy

METRIC = "val/strict_micro/overall"

TOWER = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
"""An open_clip configuration of two narrow layers a tower."""

SWEEP = """\
description: Learning rate × groups in a step
method: {method}
metric: {{name: {metric}, goal: maximize}}
parameters:
  optim.lr: {{values: [0.0001, 0.001, 0.003, 0.01, 0.1]}}
  data.batch_groups: {{values: [2, 4, 8, 16]}}
"""


def main() -> int:
    """Runs both and compares."""
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "tower.json").write_text(json.dumps(TOWER), encoding="utf-8")
    began = time.monotonic()
    searched = killed_sweep(arguments)
    grid = sweep(arguments, "grid", "run.name=grid")
    if grid.wait() != 0 or searched is None:
        return 1
    exhaustive = results(arguments, "grid")
    problems = [
        *compare(searched, exhaustive, arguments.trials),
        *wandb_problems(searched),
    ]
    for name, one in (("sweep", searched), ("grid", exhaustive)):
        best = one["trials"][one["best"]]
        print(f"{name}: {len(one['trials'])} trials, best {best['value']:.4f} at {best['parameters']}")
    for sampler in ("gp", "tpe"):
        places = replay(arguments, exhaustive, sampler)
        print(
            f"{sampler}: of {len(places)} replays {places.count(1)} found the grid's best, {places.count(2)} its second"
        )
    print(f"{time.monotonic() - began:.0f} s")
    print("\n".join(problems) or "the killed sweep found what the grid found; nothing lost, nothing twice")
    return 1 if problems else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--kill-at", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--replays", type=int, default=40)
    parser.add_argument("more", nargs="*", metavar="KEY=VALUE")
    return parser.parse_args()


def sweep(arguments: argparse.Namespace, method: str, *own: str) -> subprocess.Popen[bytes]:
    """Starts one sweep."""
    path = arguments.out / f"{method}.yaml"
    path.write_text(SWEEP.format(method=method, metric=METRIC), encoding="utf-8")
    options = [
        "backend=local",
        "recipe=hpsv2",
        f"run.dir={arguments.out}",
        f"cache.dir={arguments.out / 'cache'}",
        f"seed={arguments.seed}",
        f"jobs={arguments.jobs}",
        "logger=csv,wandb",
        "wandb.table_rows=0",
        "wandb.bundle=false",
        f"model.architecture={arguments.out / 'tower.json'}",
        "data.embedded.train_groups=64",
        "data.embedded.val_groups=64",
        "data.workers=0",
        "optim.warmup_steps=2",
        "trainer.max_steps=30",
        "trainer.validate_every=10",
        "trainer.checkpoint_every=5",
        "trainer.threads=1",
        "trainer.precision=32",
        "evaluation.bootstrap=100",
        "callbacks.guards=null",
        *arguments.more,
    ]
    command = [sys.executable, "-m", "rewardkit", "sweep", f"sweep={path}", *options, *own]
    return subprocess.Popen(command, start_new_session=True)


def killed_sweep(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The sweep, killed with all its trials while one runs, and resumed; None where it failed."""
    own = ("run.name=killed", f"count={arguments.trials}", "resume=auto")
    first = sweep(arguments, "bayes", *own)
    root = arguments.out / "sweeps" / "bayes" / "killed"
    metrics = root / "runs" / "hpsv2" / f"{arguments.kill_at:04d}" / "metrics.csv"
    while first.poll() is None and not metrics.is_file():
        time.sleep(0.05)
    if first.poll() is not None:
        print("the sweep ended before it could be killed")
        return None
    time.sleep(0.5)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    for path in root.glob("logs/*.pid"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.killpg(int(path.read_text(encoding="utf-8")), signal.SIGKILL)
    print(f"killed while trial {arguments.kill_at} ran")
    if sweep(arguments, "bayes", *own).wait() != 0:
        return None
    return results(arguments, "bayes", "killed")


def results(arguments: argparse.Namespace, method: str, name: str = "grid") -> dict[str, Any]:
    """What a sweep wrote."""
    path = arguments.out / "sweeps" / method / name / "results.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def compare(searched: dict[str, Any], grid: dict[str, Any], trials: int) -> list[str]:
    """What is wrong with the resumed sweep."""
    values = {str(trial["parameters"]): trial["value"] for trial in grid["trials"]}
    found = [
        f"trial {trial['trial']} is {trial['state']}" for trial in searched["trials"] if trial["state"] != "complete"
    ]
    points = [str(trial["parameters"]) for trial in searched["trials"]]
    if len(points) != trials or len(set(points)) != trials:
        found.append(f"{len(points)} trials at {len(set(points))} points instead of {trials}")
    for trial in searched["trials"]:
        if trial["value"] != values[str(trial["parameters"])]:
            found.append(f"trial {trial['trial']}: {trial['value']}, in the grid {values[str(trial['parameters'])]}")
    found += below_best(searched["trials"][searched["best"]], grid["trials"][grid["best"]])
    return found


def below_best(ours: dict[str, Any], best: dict[str, Any]) -> list[str]:
    """Says how two trials' models differ; a problem where ours is distinguishably worse."""
    tables = [
        read_predictions(RunLayout(Path(trial["run"])).predictions / f"{trial['step']:08d}-embedded.parquet")
        for trial in (ours, best)
    ]
    ((_, difference),) = [one for one in paired(*tables, ["strict_micro"]) if one[0] == METRIC.rpartition("/")[2]]
    interval = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
    told = f"best of the sweep less best of the grid: {difference.value:+.4f} {interval}"
    print(told)
    return [told] if difference.high < 0 else []


def replay(arguments: argparse.Namespace, grid: dict[str, Any], sampler: str) -> list[int]:
    """The place among the grid's points, from 1, of the best that the search finds with each seed."""
    values = {str(trial["parameters"]): trial["value"] for trial in grid["trials"]}
    sweep_file = read_sweep(arguments.out / "bayes.yaml")
    places = []
    for seed in range(arguments.replays):
        with TemporaryDirectory() as folder:
            study = SweepStudy(
                Path(folder) / "study.db", sweep_file, seed=seed, sampler=sampler, limit=arguments.trials
            )
            best = -1.0
            while (trial := study.next()) is not None:
                value = values[str(trial.point)]
                study.complete(trial.number, value=value, step=0)
                best = max(best, value)
        places.append(1 + sum(value > best for value in values.values()))
    return places


def wandb_problems(searched: dict[str, Any]) -> list[str]:
    """Trials whose W&B files lack the metric's values, or are not of one group."""
    found, groups = [], set()
    for trial in searched["trials"]:
        logged: dict[int, float] = {}
        folder = Path(trial["run"]) / "wandb"
        for path in files_of(folder, (folder / "run_id").read_text(encoding="utf-8").strip()):
            for record, _ in read_records(path):
                if record.HasField("run"):
                    groups.add(record.run.run_group)
                items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                if METRIC in items:
                    logged[int(json.loads(items["_step"]))] = float(json.loads(items[METRIC]))
        told = {int(step): value for step, value in trial["history"].items()}
        if set(logged) != set(told) or any(abs(logged[step] - told[step]) > 1e-6 for step in told):
            found.append(f"trial {trial['trial']}: W&B's files have {logged}, metrics.csv {told}")
    return found + ([f"W&B's files are of the groups {sorted(groups)}"] if len(groups) != 1 else [])


if __name__ == "__main__":
    sys.exit(main())
