"""Training from files on disk: comparisons a second of ``fit``, against the published trainer of HPS v2.

    python tools/bench/training.py [--rounds 5] [--groups 400] [--out build/bench/training] [--json FILE] [--check]

A: the peer, ``hpsv2==1.2.0`` in an environment of its own (``peers.py``): its dataset, its collate function, its model
call, its loss, its loop, on JPEG files and a ``train.json`` (``peer_hpsv2.py`` says what is changed). B: ``python -m
rewardkit fit``, the command as a person types it, on shards that ``data convert`` made of the same files. Data like
HPD v2's: 4 images of 512 x 512 and 6 comparisons a prompt. Both train ViT-B/32 of random weights with AdamW, the same
number of comparisons in a step, the same number of loader processes, and PyTorch's own number of threads.

Both processes live through all rounds; each takes its steps while the other waits (A B A B …), the first of them
uncounted. Steps of B also say how long they waited for data, which with one loader process must be under 3 % of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpd_like import Shape, make_source
from peers import hpsv2_python
from rounds import Figure, Report
from worker import Worker

from rewardkit import cli
from rewardkit.models.architecture import read_architecture

DEMAND = 4.0
"""Least of ours / peer's, comparisons a second."""

WAIT = 0.03
"""Largest share of a step that waits for data."""

PAIRS = 6
"""Comparisons of a group."""

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        unlocked: Image groups and text layers that train; None: all.
        precision: ``32`` or ``bf16``.
    """

    unlocked: tuple[int, int] | None
    precision: str

    @property
    def name(self) -> str:
        """For the table."""
        return f"{'all' if self.unlocked is None else 'last half'}, {self.precision}"


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="counted in a round")
    parser.add_argument("--warm", type=int, default=1, help="steps before them; both sides' loaders fill up meanwhile")
    parser.add_argument("--groups", type=int, default=400, help="prompts of the data")
    parser.add_argument("--batch-groups", type=int, default=4, help="of a step; the peer takes as many comparisons")
    parser.add_argument("--side", type=int, default=512, help="of the images, pixels")
    parser.add_argument("--model", default="ViT-B-32", help="a name of open_clip's, or a JSON file")
    parser.add_argument("--workers", type=int, default=1, help="loader processes of each side")
    parser.add_argument("--cases", default="all:32,all:bf16,half:32,half:bf16")
    parser.add_argument("--out", type=Path, default=Path("build/bench/training"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a demand is missed")
    asked = parser.parse_args()
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    report = Report("training", {name: str(value) for name, value in vars(asked).items()})
    python = hpsv2_python(out.parent / "peers")
    data = prepare(out, Shape(asked.groups, PAIRS, asked.side))
    for word in asked.cases.split(","):
        locked, precision = word.split(":")
        case = Case(last_half(asked.model) if locked == "half" else None, precision)
        report.figures += measure(case, python, data, out, asked)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def prepare(out: Path, shape: Shape) -> tuple[Path, Path]:
    """The files with a ``train.json`` as HPD v2 has it, and the shards that ``data convert`` makes of them."""
    name = f"{shape.groups}-{shape.side}"
    source, shards = out / f"source-{name}", out / f"shards-{name}"
    make_source(source, shape)
    rows = [json.loads(line) for line in (source / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [{"human_preference": [1 - row["better"], row["better"]], "prompt": row["prompt"],
              "file_path": row["images"]} for row in rows]  # fmt: skip
    (source / "train.json").write_text(json.dumps(pairs), encoding="utf-8")
    if not (shards / "index.json").exists():
        shutil.rmtree(shards, ignore_errors=True)
        status = cli.run(["data", "convert", "format=jsonl", f"src={source}", f"out={shards}"])
        assert status == 0, "data convert failed"
    return source, shards


def last_half(model: str) -> tuple[int, int]:
    """Image groups and text layers that leave the last half of both towers to train.

    The image tower's groups from its end are the projection, the last block with its norm, and the other blocks.
    """
    config = read_architecture(model).config
    return config["vision_cfg"]["layers"] // 2 + 1, config["text_cfg"]["layers"] // 2


def measure(case: Case, python: Path, data: tuple[Path, Path], out: Path, asked: Any) -> list[Figure]:
    """Both sides in turns."""
    workers = {
        "peer": peer(case, python, data[0], out, asked),
        "ours": ours(case, data[1], out, asked),
    }
    took: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
    try:
        for worker in workers.values():
            worker.answer()  # ready
        for number in range(asked.rounds):
            for side, worker in workers.items():
                took[side].append(worker.ask(warm=asked.warm, steps=asked.steps))
            told = ", ".join(f"{side} {rows[-1]['seconds'] / asked.steps:.2f} s a step" for side, rows in took.items())
            print(f"{case.name}, round {number + 1}: {told}", flush=True)
    finally:
        for worker in workers.values():
            worker.end()
    for rows in took.values():
        assert all(row["comparisons"] == PAIRS * asked.batch_groups * asked.steps for row in rows), rows
    return figures(case, took, asked)


def figures(case: Case, took: dict[str, list[dict[str, float]]], asked: Any) -> list[Figure]:
    """Rates of both sides, their ratio by the clock and in processor time, and what waited for data."""
    rates = {side: [row["comparisons"] / row["seconds"] for row in rows] for side, rows in took.items()}
    used = {side: [row["processor_seconds"] / row["steps"] for row in rows] for side, rows in took.items()}
    waits = [row["waited"] / row["seconds"] for row in took["ours"]]
    return [
        *(Figure(f"{case.name}: {side}", "comparisons/s", rate) for side, rate in rates.items()),
        Figure(f"{case.name}: ours / peer", "", ratios(rates["ours"], rates["peer"]), DEMAND),
        *(Figure(f"{case.name}: {side}, processor time of a step", "s", seconds) for side, seconds in used.items()),
        Figure(f"{case.name}: peer / ours, processor time", "", ratios(used["peer"], used["ours"])),
        Figure(f"{case.name}: waiting for data", "of a step", waits, -WAIT if asked.workers == 1 else None, digits=4),
    ]


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def peer(case: Case, python: Path, source: Path, out: Path, asked: Any) -> Worker:
    """The published trainer, before its first step."""
    worker = Worker([str(python), str(HERE / "peer_hpsv2.py")], out / "peer.log")
    worker.send(
        do="train",
        data=str(source / "train.json"),
        images=str(source),
        model=asked.model,
        unlocked=case.unlocked,
        precision=case.precision,
        batch=PAIRS * asked.batch_groups,
        workers=asked.workers,
    )
    return worker


def ours(case: Case, shards: Path, out: Path, asked: Any) -> Worker:
    """``fit`` before its first step."""
    runs = out / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    command = [sys.executable, "-m", "rewardkit", "fit", *fit_options(case, shards, asked), f"run.dir={runs}"]
    return Worker([*command, f"plugins={HERE / 'paced_fit.py'}"], out / "ours.log")


def fit_options(case: Case, shards: Path, asked: Any) -> list[str]:
    """The published set-up with grouped comparisons, from random weights, and neither validation nor checkpoints."""
    unlocked = case.unlocked or ("null", "null")
    return [
        "recipe=hpsv2",
        "scale=paper",
        f"data.train={shards}",
        f"data.val={shards}",  # never looked at, but fit asks for one
        "data.allow_overlap=true",
        "data.pairing=grouped",
        f"data.batch_groups={asked.batch_groups}",
        f"data.micro_groups={asked.batch_groups}",
        f"data.workers={asked.workers}",
        f"model.architecture={asked.model}",
        "model.pretrained=null",
        f"model.unlocked_image_groups={unlocked[0]}",
        f"model.unlocked_text_layers={unlocked[1]}",
        f"trainer.precision={case.precision}",
        "trainer.max_steps=1000000",
        "trainer.validate_every=null",
        "trainer.checkpoint_every=1000000",
    ]


if __name__ == "__main__":
    sys.exit(main())
