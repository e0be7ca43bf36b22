"""What the framework costs: steps of ``fit`` with its batches in memory, against a bare PyTorch loop on the same ones.

    python tools/bench/framework.py [--rounds 5] [--steps 5] [--out build/bench/framework] [--json FILE] [--check]

A: the loop of ``bare_steps`` below, written by hand: the towers once for every image and every prompt, differences of
scores, softplus, backward, AdamW, the next learning rate. B: ``python -m rewardkit fit`` with all its callbacks,
logging and guards. Both take the same micro-batches, which lie in memory, with the same weights and the same
optimiser.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hpd_like import Shape
from paced_fit import IN_MEMORY
from rounds import Figure, Report
from torch import Tensor, nn
from training import Case, fit_options, prepare, ratios
from worker import Channel, Pace, Worker

from rewardkit.data.batch import Batch
from rewardkit.data.images import normalise
from rewardkit.models.text import encode_text

DEMAND = 0.97
"""Least of fit / bare loop, comparisons a second."""

COEFFICIENT = 16.0
"""Of the loss in ``scale=paper``: the published one is a sum over 16 pairs."""

BATCHES = 4
"""In memory."""


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and the demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="counted in a round")
    parser.add_argument("--warm", type=int, default=1, help="steps before them")
    parser.add_argument("--groups", type=int, default=16, help="prompts of the data")
    parser.add_argument("--batch-groups", type=int, default=4)
    parser.add_argument("--side", type=int, default=512, help="of the images, pixels")
    parser.add_argument("--model", default="ViT-B-32", help="a name of open_clip's, or a JSON file")
    parser.add_argument("--precision", default="32", choices=("32", "bf16"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/framework"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where the demand is missed")
    parser.add_argument("--bare", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.workers = 0
    if asked.bare is not None:
        bare_loop(asked.bare, asked.precision)
        return 0
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    report = Report("framework", {name: str(value) for name, value in vars(asked).items()})
    _, shards = prepare(out, Shape(asked.groups, 6, asked.side))
    report.figures += measure(shards, out, asked)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def measure(shards: Path, out: Path, asked: Any) -> list[Figure]:
    """Both loops in turns."""
    shutil.rmtree(out / "runs", ignore_errors=True)
    options = fit_options(Case(None, asked.precision), shards, asked)
    fit = [sys.executable, "-m", "rewardkit", "fit", *options, f"run.dir={out / 'runs'}"]
    fit.append(f"plugins={Path(__file__).with_name('paced_fit.py')}")
    bare = [sys.executable, __file__, f"--precision={asked.precision}", "--bare", *options]
    workers = {
        "bare loop": Worker(bare, out / "bare.log"),
        "fit": Worker(fit, out / "fit.log", {IN_MEMORY: str(BATCHES)}),
    }
    took: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
    try:
        for worker in workers.values():
            worker.answer()  # ready
        for _ in range(asked.rounds):
            for side, worker in workers.items():
                took[side].append(worker.ask(warm=asked.warm, steps=asked.steps))
    finally:
        for worker in workers.values():
            worker.end()
    rates = {side: [row["comparisons"] / row["seconds"] for row in rows] for side, rows in took.items()}
    used = {side: [row["processor_seconds"] / row["steps"] for row in rows] for side, rows in took.items()}
    return [
        *(Figure(side, "comparisons/s", values) for side, values in rates.items()),
        Figure("fit / bare loop", "", ratios(rates["fit"], rates["bare loop"]), DEMAND, digits=3),
        *(Figure(f"{side}, processor time of a step", "s", values, digits=3) for side, values in used.items()),
        Figure("bare loop / fit, processor time", "", ratios(used["bare loop"], used["fit"]), digits=3),
    ]


def bare_loop(arguments: list[str], precision: str) -> None:
    """The other process: the model, the optimiser and the batches that ``fit`` would have, and a loop."""
    from rich.console import Console

    from rewardkit.commands.build_data import build_data
    from rewardkit.commands.build_model import build_model
    from rewardkit.commands.build_module import optimisation
    from rewardkit.config.compose import parse_overrides
    from rewardkit.config.recipes import compose_fit
    from rewardkit.modules.optimisation import make_optimizer

    options = compose_fit(parse_overrides(arguments)).options
    model = build_model(options)
    data = build_data(options, model, ranks=1, errors_path=None, console=Console(quiet=True))
    optimizer = make_optimizer(model, torch.nn.Module(), optimisation(options), fused=True)
    batches = list(islice(data.train_dataloader(), BATCHES))
    pace = Pace(Channel())
    pace.begin()
    bare_steps(model.train(), optimizer, batches, precision, pace)  # type: ignore[arg-type]


def bare_steps(model: nn.Module, made: dict[str, Any], batches: list[Batch], precision: str, pace: Pace) -> None:
    """The loop. It never ends by itself."""
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for batch in cycle(batches):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = bare_loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.clip.logit_scale.clamp_(0, math.log(100))  # type: ignore[union-attr, operator]
        pace.stepped(len(batch.first), 0.0)


def bare_loss(model: nn.Module, batch: Batch) -> Tensor:
    """HPS v2's loss of a grouped batch, as short as it can be written."""
    clip: Any = model.clip
    transform: Any = model.transform
    image = F.normalize(clip.encode_image(normalise(batch.pixels, transform.mean, transform.std)).float(), dim=-1)
    text = F.normalize(encode_text(clip, batch.tokens, pad_id=0).float(), dim=-1)
    scores = clip.logit_scale.exp() * (image * text[batch.group]).sum(-1)
    delta = scores[batch.first] - scores[batch.second]
    share = batch.target[:, 0] + batch.target[:, 1] / 2
    each = share * F.softplus(-delta) + (1 - share) * F.softplus(delta)
    return COEFFICIENT * each.mean()


if __name__ == "__main__":
    sys.exit(main())
