"""Validating a set like HPD v2's test, against encoding both images and the prompt of every comparison.

    python tools/bench/validating.py [--rounds 5] [--groups 400] [--out build/bench/validating] [--json FILE] [--check]

400 prompts, three of four with 9 images and the others with 10, all pairs compared: 15 300 comparisons of 3 700 images.
A: comparisons in batches, each with its two images and its prompt through the towers; since all would take an hour, a
sample of them is measured, and rates are compared. B: what ``validate`` does. Both read the same shards in the same
process, decode what they encode, and have ViT-B/32 of random weights; that scores are equal is checked in the same run.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from hpd_like import base_images, image, prompt
from rich.console import Console
from rounds import Figure, Report
from training import ratios

from rewardkit.commands.validate_score import REWARD_GROUPS, score_sets
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.group import Candidate, Comparison, Group
from rewardkit.data.images import ImageTransform, decode_image, normalise, resize_uint8
from rewardkit.data.index import ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.models.architecture import read_architecture
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.load import LoadedReward

DEMAND = 8.0
"""Least of ours / per comparison, comparisons a second."""

CLOSE = 1e-3
"""Largest difference of two logits, which are about 14 times a cosine here: batches of another size."""


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and the demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=400)
    parser.add_argument("--sample", type=int, default=240, help="comparisons of a round that are encoded each alone")
    parser.add_argument("--batch", type=int, default=24, help="comparisons of them in one forward pass")
    parser.add_argument("--side", type=int, default=512, help="of the images, pixels")
    parser.add_argument("--model", default="ViT-B-32", help="a name of open_clip's, or a JSON file")
    parser.add_argument("--out", type=Path, default=Path("build/bench/validating"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where the demand is missed")
    asked = parser.parse_args()
    report = Report("validating", {name: str(value) for name, value in vars(asked).items()})
    shards = write_shards(asked.out / f"shards-{asked.groups}-{asked.side}", asked.groups, asked.side)
    torch.manual_seed(0)
    architecture = read_architecture(asked.model)
    transform = ImageTransform(architecture.image_size, resize="pad")
    model = build_clip_reward(architecture=architecture, transform=transform).eval().requires_grad_(False)
    report.figures += measure(model, shards, asked)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def write_shards(folder: Path, groups: int, side: int) -> Path:
    """Shards of the shape of HPD v2's test; what is there already is kept."""
    if (folder / "index.json").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bases, drawn = base_images(side), 0
    with ShardWriter(folder, "test", max_groups=100) as writer:
        for number in range(groups):
            count = 10 if number % 4 == 3 else 9
            writer.write(group_of(number, count, side), [image(bases, drawn + n) for n in range(count)])
            drawn += count
    build_index(folder)
    return folder


def group_of(number: int, count: int, side: int) -> Group:
    """A prompt with so many images, of which the later is always better."""
    return Group(
        id=f"group-{number}",
        prompt=prompt(number),
        candidates=tuple(Candidate(f"{n}.jpg", f"generator-{n}", side, side) for n in range(count)),
        comparisons=tuple(Comparison("overall", i, j, (0.0, 0.0, 1.0)) for i, j in combinations(range(count), 2)),
        provenance={"format": "bench", "source": "bench"},
    )


def measure(model: CLIPReward, shards: Path, asked: Any) -> list[Figure]:
    """Both ways in turns; the first round is not counted."""
    index = ShardIndex.open(shards)
    every = [(g, c.first, c.second) for g in range(len(index)) for c in index.sample(g).group.comparisons]
    sample = random.Random(0).sample(every, min(asked.sample, len(every)))
    rates: dict[str, list[float]] = {"each comparison": [], "validate": []}
    used: dict[str, list[float]] = {"each comparison": [], "validate": []}
    works = {
        "each comparison": lambda: each(model, index, sample, asked.batch),
        "validate": lambda: ours(model, shards),
    }
    found: dict[str, Any] = {}
    for number in range(1 + asked.rounds):
        for way, work in works.items():
            begun, spent = time.perf_counter(), time.process_time()
            found[way] = work()
            count = len(sample) if way == "each comparison" else len(every)
            if number or not asked.rounds:
                rates[way].append(count / (time.perf_counter() - begun))
                used[way].append(1000 * (time.process_time() - spent) / count)
    of_candidate = found["validate"]
    far = max(
        abs(of_candidate[g][c] - float(score))
        for (g, *pair), scores in zip(sample, found["each comparison"], strict=True)
        for c, score in zip(pair, scores, strict=True)
    )
    return [
        *(Figure(way, "comparisons/s", values, digits=1) for way, values in rates.items()),
        Figure("validate / each comparison", "", ratios(rates["validate"], rates["each comparison"]), DEMAND),
        *(Figure(f"{way}, processor time of a comparison", "ms", values) for way, values in used.items()),
        Figure("each / validate, processor time", "", ratios(used["each comparison"], used["validate"])),
        Figure("largest difference of logits", "", [far], -CLOSE, digits=6),
    ]


def ours(model: CLIPReward, shards: Path) -> list[list[float]]:
    """What ``validate`` does with a folder; logits of each group's candidates."""
    data = PreferenceData(
        train=[],
        val=[str(shards)],
        transform=model.transform,
        tokenizer=model.tokenizer,
        dimensions=model.dimensions,
        val_groups=REWARD_GROUPS,
    )
    scored = score_sets(LoadedReward(model, {"calibration": {}}), data, {}, Console(quiet=True))
    (predictions,) = scored.predictions.values()
    table = predictions.scores
    return [rows["score"].tolist() for _, rows in table.groupby("group", sort=True)]


@torch.no_grad()
def each(model: CLIPReward, index: ShardIndex, sample: list[tuple[int, int, int]], batch: int) -> list[torch.Tensor]:
    """Logits ``[2]`` of every comparison, which has its own two images and its own prompt encoded."""
    transform, scores = model.transform, []
    for start in range(0, len(sample), batch):
        chosen = sample[start : start + batch]
        read = [(index.sample(g), i, j) for g, i, j in chosen]
        files = [one.images[n] for one, i, j in read for n in (i, j)]
        pixels = torch.stack([resize_uint8(decode_image(data), transform) for data in files])
        images = model.encode_pixels(normalise(pixels, transform.mean, transform.std))
        texts = model.encode_tokens(model.tokenizer([one.group.prompt for one, _, _ in read]))
        group = torch.arange(len(chosen)).repeat_interleave(2)
        scores += list((model.scale() * model.cosines(images, texts, group)).reshape(-1, 2))
    return scores


if __name__ == "__main__":
    sys.exit(main())
