"""Writes drawings of the embedded dataset as ``benchmark`` reads images: to try it on, and for docs/benchmark.md.

::

    python tools/benchmark_images.py OUT [PROMPTS] [SEED]

OUT gets ``images/GENERATOR/ID.png`` (each prompt has four of the dataset's generators, so the others lack it),
``prompts.jsonl``, and ``human.csv`` with the share of the simulated votes that each image won.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

from rewardkit.data.demo.dataset import demo_groups


def write(out: Path, prompts: int = 40, seed: int = 0) -> None:
    """Writes the folder; ids are those of the dataset's held-out groups."""
    out.mkdir(parents=True, exist_ok=True)
    rows, votes = [], []
    for group, images in demo_groups(seed=seed, start=0, count=prompts, split="val"):
        rows.append({"id": group.id, "prompt": group.prompt, "tags": dict(group.tags)})
        won: dict[int, list[float]] = defaultdict(list)
        for c in group.comparisons:
            if c.dimension == "overall":
                share = (c.votes[0] + c.votes[1] / 2) / sum(c.votes)
                won[c.first].append(share)
                won[c.second].append(1 - share)
        for number, (candidate, image) in enumerate(zip(group.candidates, images, strict=True)):
            path = out / "images" / str(candidate.generator) / f"{group.id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
            if won[number]:
                votes.append([candidate.generator, group.id, sum(won[number]) / len(won[number])])
    (out / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with (out / "human.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["generator", "prompt", "value"])
        writer.writerows(votes)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    write(Path(sys.argv[1]), *map(int, sys.argv[2:]))
