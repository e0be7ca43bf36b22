"""The report of a run: seconds, and megabytes of the page, of 1 000 validation groups with five dimensions.

    python tools/bench/report.py [--groups 1000] [--rounds 3] [--out build/bench/report] [--json FILE] [--check]

The run is like the embedded dataset's: four pictures a group (those of 20 groups, again and again), ten votes on each
of six comparisons on five dimensions, scores that are the votes' utilities with noise, and the curves of 4 000 steps.
Measured are the command ``report run=…`` in a fresh process, imports and reading included; and the page alone, in
processor time, which depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from rounds import Figure, Report, processor_seconds

from rewardkit.config.layout import RunLayout
from rewardkit.config.recipes import compose_fit
from rewardkit.config.show import composed_yaml, flat_values
from rewardkit.data.demo.dataset import demo_group, demo_utilities
from rewardkit.data.demo.voters import DIMENSIONS, cast_votes
from rewardkit.data.group import Comparison
from rewardkit.data.index_build import build_index
from rewardkit.data.predictions import ImagePlace, PredictionRows, write_predictions
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.data.shards import read_sample, scan_shard
from rewardkit.engine.environment import describe_environment
from rewardkit.engine.run_directory import write_run_files
from rewardkit.report.page import write_report

SECONDS, MEGABYTES = 10.0, 15.0
STEPS, NOISE = 4000, 0.8
PICTURED = 20
"""Groups whose pictures are drawn."""


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/bench/report"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a demand is missed")
    asked = parser.parse_args()
    report = Report("the report of a run", {name: str(value) for name, value in vars(asked).items()})
    shards = draw_shards(asked.out / f"shards-{asked.groups}", asked.groups)
    layout = draw_run(asked.out / f"run-{asked.groups}", shards, asked.groups)
    command = [sys.executable, "-m", "rewardkit", "report", f"run={layout.root}"]
    took = []
    for _ in range(asked.rounds):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        took.append(time.perf_counter() - begun)
    alone = processor_seconds({"page": lambda: write_report(layout, folders=[shards])}, asked.rounds)["page"]
    report.figures += [
        Figure("report run=…, the whole command", "s", took, -SECONDS, digits=1),
        Figure("the page alone, processor time", "s", alone, -SECONDS, digits=1),
        Figure("the page", "MB", [layout.report.stat().st_size / 1e6], -MEGABYTES),
    ]
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def draw_shards(folder: Path, groups: int) -> Path:
    """The validation groups with their pictures; kept where they are there."""
    if (folder / "index.json").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    drawn = [demo_group(seed=0, index=index, split="val") for index in range(PICTURED)]
    rng = np.random.default_rng(1)
    with ShardWriter(folder, "val") as writer:
        for index, utilities in enumerate(demo_utilities(seed=0, start=0, count=groups, split="val")):
            group, images = drawn[index % PICTURED]
            votes = tuple(
                Comparison(d, i, j, cast_votes(rng, d, utilities[i][d], utilities[j][d]))
                for d in DIMENSIONS
                for i, j in combinations(range(len(utilities)), 2)
            )
            writer.write(replace(group, id=f"bench-{index:06d}", comparisons=votes), images)
    build_index(folder)
    return folder


def draw_run(folder: Path, shards: Path, groups: int) -> RunLayout:
    """A finished run on them, without its weights."""
    shutil.rmtree(folder, ignore_errors=True)
    layout = RunLayout(folder)
    composed = compose_fit({"recipe": "hpsv2", "data.val": [str(shards)]})
    write_run_files(
        layout,
        config=composed_yaml(composed, origins=True) + "\n",
        values=flat_values(composed.options),
        arguments=["recipe=hpsv2", f"data.val={shards}"],
        environment=describe_environment(seed=0, precision="32"),
    )
    rng = np.random.default_rng(0)
    utilities = demo_utilities(seed=0, start=0, count=groups, split="val")
    rows, number = PredictionRows(DIMENSIONS), 0
    for shard in sorted(shards.glob("*.tar")):
        for sample in scan_shard(shard):
            group = read_sample(shard, sample.offset, sample.length).group
            scores = [[u[d] + NOISE * rng.normal() for d in DIMENSIONS] for u in utilities[number]]
            place = ImagePlace(shard.name, sample.offset, sample.length)
            rows.add(group, scores, number=number, key=sample.key, source="embedded", place=place)
            number += 1
    assert number == groups, f"{number} samples for {groups} groups"
    write_predictions(layout.predictions / f"{STEPS:08d}-embedded.parquet", rows.predictions())
    layout.summary.write_text(json.dumps({"protocol": "strict_micro", "step": STEPS, "validations": 8}))
    _write_curves(layout.metrics, rng)
    return layout


def _write_curves(path: Path, rng: np.random.Generator) -> None:
    """What a run logs: every tenth step, and eight validations."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("step", "name", "value"))
        for step in range(10, STEPS + 1, 10):
            falls = math.exp(-3 * step / STEPS)
            for name, value in (
                ("loss", 0.4 + falls),
                ("lr", 1e-3 * falls),
                ("gradient_norm", 1.0),
                ("score_spread", 2),
            ):
                writer.writerow((step, f"train/{name}", value * (1 + 0.05 * rng.normal())))
            if step % (STEPS // 8) == 0:
                for dimension in DIMENSIONS:
                    writer.writerow((step, f"val/strict_micro/{dimension}", 0.85 - 0.3 * falls))


if __name__ == "__main__":
    sys.exit(main())
