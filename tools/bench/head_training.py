"""Training a head on features that are cached: seconds for a million comparisons.

    python tools/bench/head_training.py [--rounds 3] [--comparisons 1000000] [--groups 4000] [--json FILE] [--check]

``python -m rewardkit fit data.features=true`` on shards like HPD v2's (4 images and 6 comparisons a prompt). The
features are 512 wide, as ViT-B/32's; the towers that make them are small, since they run once and before the clock.
Each round is a new process; the clock runs from before the first optimiser step, records that are parsed for the first
time included, to the end of the step in which the last comparison is seen. The data are gone through as often as it
takes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from hpd_like import Shape
from rounds import Figure, Report
from training import PAIRS, prepare
from worker import Worker

DEMAND = 60.0
"""Most seconds for a million comparisons."""

TOWERS = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and the demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--comparisons", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=4000, help="prompts of the data")
    parser.add_argument("--batch-groups", type=int, default=256, help="of a step")
    parser.add_argument("--head", default="projection", choices=("projection", "text_query"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/head_training"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where the demand is missed")
    asked = parser.parse_args()
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    report = Report("training a head", {name: str(value) for name, value in vars(asked).items()})
    _, shards = prepare(out, Shape(asked.groups, PAIRS, 64))
    (out / "towers.json").write_text(json.dumps(TOWERS), encoding="utf-8")
    took = [run(shards, out, asked) for _ in range(asked.rounds)]
    seconds = [row["seconds"] / row["comparisons"] * 1e6 for row in took]
    used = [row["processor_seconds"] / row["comparisons"] * 1e6 for row in took]
    rates = [row["comparisons"] / row["seconds"] for row in took]
    report.figures += [
        Figure("comparisons", "/s", rates, digits=0),
        Figure("a million comparisons", "s", seconds, -DEMAND),
        Figure("a million comparisons, processor time", "s", used),
    ]
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def run(shards: Path, out: Path, asked: Any) -> dict[str, float]:
    """One process from before its first step to the last comparison."""
    shutil.rmtree(out / "runs", ignore_errors=True)
    steps = -(-asked.comparisons // (PAIRS * asked.batch_groups))
    worker = Worker([sys.executable, "-m", "rewardkit", "fit", *options(shards, out, asked)], out / "fit.log")
    try:
        worker.answer()  # ready: the features are there
        return worker.ask(warm=0, steps=steps)
    finally:
        worker.end()


def options(shards: Path, out: Path, asked: Any) -> list[str]:
    """Of ``fit``."""
    return [
        "recipe=hpsv2",
        "scale=paper",
        f"data.train={shards}",
        f"data.val={shards}",
        "data.allow_overlap=true",
        "data.pairing=grouped",
        "data.features=true",
        f"data.batch_groups={asked.batch_groups}",
        f"data.micro_groups={asked.batch_groups}",
        f"model.architecture={out / 'towers.json'}",
        "model.pretrained=null",
        "model.unlocked_image_groups=0",
        "model.unlocked_text_layers=0",
        f"model.head={asked.head}",
        "trainer.precision=32",
        "trainer.max_steps=1000000",
        "trainer.validate_every=null",
        "trainer.checkpoint_every=1000000",
        f"cache.dir={out / 'cache'}",
        f"run.dir={out / 'runs'}",
        f"plugins={Path(__file__).with_name('paced_fit.py')}",
    ]


if __name__ == "__main__":
    sys.exit(main())
