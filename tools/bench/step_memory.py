"""Memory of a training step above model and optimiser: a grouped step against a pairwise one of the same comparisons.

    python tools/bench/step_memory.py [--rounds 3] [--groups 4] [--json FILE] [--check]

Each measurement is a new process. It builds ViT-B/32 of random weights and AdamW and takes one small step, so that the
optimiser's state is there; then it forgets its highest mark and takes the step in question: forward, loss, backward,
AdamW. Counted is the highest resident memory of that step above what was held before it; gradients are part of it on
both sides. A, pairwise, as the published trainer: both images and the prompt of each comparison, 77 tokens. B,
grouped: every image once, every prompt once, cut to the longest.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from evaluator_memory import high_mark
from hpd_like import CANDIDATES, prompt
from rounds import Figure, Report
from torch import Tensor

from rewardkit.models.architecture import read_architecture
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.tokenizers import cut_padding
from rewardkit.modules.optimisation import Optimisation, make_optimizer

DEMAND = 0.45
"""Most of grouped / pairwise."""

WAYS = ("pairwise", "grouped")


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and the demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--groups", type=int, default=4, help="prompts of a step, of 4 images and 6 comparisons each")
    parser.add_argument("--model", default="ViT-B-32", help="a name of open_clip's, or a JSON file")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where the demand is missed")
    asked = parser.parse_args()
    report = Report("memory of a step", {name: str(value) for name, value in vars(asked).items()})
    peaks: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(asked.rounds):
        for way in WAYS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peaks[way].append(pool.apply(peak_of_step, (asked.model, asked.groups, way)) / 1e6)
    report.figures += [Figure(way, "MB", values, digits=0) for way, values in peaks.items()]
    of = [a / b for a, b in zip(peaks["grouped"], peaks["pairwise"], strict=True)]
    report.figures.append(Figure("grouped / pairwise", "", of, -DEMAND))
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def peak_of_step(name: str, groups: int, way: str) -> int:
    """Most resident bytes of a step above what was resident before it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_clip_reward(architecture=read_architecture(name)).train()
    made = make_optimizer(model, torch.nn.Module(), Optimisation(total_steps=10, warmup_steps=1))
    optimizer = made["optimizer"]
    step(model, optimizer, 1, "grouped")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the highest mark
    before = high_mark()
    step(model, optimizer, groups, way)
    return high_mark() - before


def step(model: CLIPReward, optimizer: torch.optim.Optimizer, groups: int, way: str) -> None:
    """A whole optimiser step; gradients are given back at its end."""
    first, second = torch.combinations(torch.arange(CANDIDATES)).T
    starts = torch.arange(groups).repeat_interleave(len(first)) * CANDIDATES
    first, second = first.repeat(groups) + starts, second.repeat(groups) + starts
    side = model.transform.size
    tokens = model.tokenizer([prompt(n) for n in range(groups)])
    pixels = torch.zeros(groups * CANDIDATES, 3, side, side)
    if way == "grouped":
        images = F.normalize(model.encode_pixels(pixels), dim=-1)
        texts = F.normalize(model.encode_tokens(cut_padding(tokens, model.tokenizer.pad_id)), dim=-1)
        scores = model.scale() * (images * texts.repeat_interleave(CANDIDATES, dim=0)).sum(-1)
        delta = scores[first] - scores[second]
    else:
        delta = pairwise(model, pixels, tokens[first // CANDIDATES], first, second)
    F.softplus(-delta).mean().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()


def pairwise(model: CLIPReward, pixels: Tensor, tokens: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Differences of scores as the published trainer has them: all images against all prompts, then the diagonal."""
    images = F.normalize(model.encode_pixels(pixels[torch.cat([first, second])]), dim=-1)
    texts = F.normalize(model.clip.encode_text(tokens), dim=-1)  # type: ignore[operator]
    both = (model.scale() * texts @ images.T).chunk(2, dim=-1)
    return both[0].diagonal() - both[1].diagonal()


if __name__ == "__main__":
    sys.exit(main())
