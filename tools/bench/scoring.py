"""Scoring images under mixed prompts: images a second, against HPS v2's path for each image with the model kept loaded.

    python tools/bench/scoring.py [--rounds 5] [--images 2000] [--out build/bench/scoring] [--json FILE] [--check]

A: what the peer's ``img_score.score`` does with an image and its prompt (``peers.py``, ``peer_hpsv2.py``), in a warm
loop that does not load the checkpoint again. B: ``rewardkit.load(BUNDLE).score(images, prompts)``, warm too. Both have
the same ViT-B/32 of random weights and read the same JPEG files; that they give the same cosines is checked in the
same run. Also reported: the published ``score`` itself, which loads the checkpoint on every call.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from hpd_like import CANDIDATES, Shape, files_of, make_source, prompt
from peers import hpsv2_python
from rounds import Figure, Report, seconds
from worker import Worker

import rewardkit
from rewardkit.data.images import ImageTransform
from rewardkit.models.architecture import read_architecture
from rewardkit.models.bundle import save_bundle
from rewardkit.models.clip import build_clip_reward

DEMAND = 2.5
"""Least of ours / peer's, images a second."""

CLOSE = 2e-3
"""Largest difference of two cosines: decoding at a fraction of the size is off, what is left is rounding to uint8."""


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000, help="in a round")
    parser.add_argument("--published", type=int, default=5, help="images of the published call; 0 leaves it out")
    parser.add_argument("--side", type=int, default=512, help="of the images, pixels")
    parser.add_argument("--model", default="ViT-B-32", help="a name of open_clip's, or a JSON file")
    parser.add_argument("--out", type=Path, default=Path("build/bench/scoring"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where the demand is missed")
    asked = parser.parse_args()
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    report = Report("scoring", {name: str(value) for name, value in vars(asked).items()})
    python = hpsv2_python(out.parent / "peers")
    source = make_source(out / f"source-{asked.side}", Shape(-(-asked.images // CANDIDATES), side=asked.side))
    pairs = [(str(path), prompt(n // CANDIDATES)) for n, path in enumerate(files_of(source)[: asked.images])]
    (out / "pairs.json").write_text(json.dumps(pairs), encoding="utf-8")
    write_models(asked.model, out)
    report.figures += measure(python, pairs, out, asked)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def write_models(name: str, out: Path) -> None:
    """The same random weights as a bundle and as the peer's checkpoint."""
    torch.manual_seed(0)
    architecture = read_architecture(name)
    model = build_clip_reward(architecture=name, transform=ImageTransform(architecture.image_size, resize="pad"))
    if not (out / "bundle").exists():
        save_bundle(out / "bundle", model)
        state = dict(model.clip.state_dict())
        state["logit_scale"] = state["logit_scale"].reshape(())
        torch.save({"state_dict": state}, out / "peer.pt")


def measure(python: Path, pairs: list[tuple[str, str]], out: Path, asked: Any) -> list[Figure]:
    """Both sides in turns."""
    worker = Worker([str(python), str(Path(__file__).with_name("peer_hpsv2.py"))], out / "peer.log")
    paths, prompts = [path for path, _ in pairs], [text for _, text in pairs]
    rates: dict[str, list[float]] = {"peer": [], "ours": []}
    used: dict[str, list[float]] = {"peer": [], "ours": []}
    try:
        worker.ask(do="score", model=asked.model, checkpoint=str(out / "peer.pt"), pairs=str(out / "pairs.json"))
        model: Any = rewardkit.load(out / "bundle")
        worker.ask(way="warm", count=min(4, len(pairs)))
        model.score(paths[:4], prompts[:4])
        for number in range(asked.rounds):
            theirs = worker.ask(way="warm", count=len(pairs))
            begun = time.process_time()
            scores: list[torch.Tensor] = []
            took = seconds(lambda: scores.append(model.score(paths, prompts)))  # noqa: B023  (called at once)
            rates["peer"].append(len(pairs) / theirs["seconds"])
            rates["ours"].append(len(pairs) / took)
            used["peer"].append(1000 * theirs["processor_seconds"] / len(pairs))
            used["ours"].append(1000 * (time.process_time() - begun) / len(pairs))
            print(f"round {number + 1}: peer {rates['peer'][-1]:.1f}/s, ours {rates['ours'][-1]:.1f}/s", flush=True)
        published = worker.ask(way="published", count=asked.published) if asked.published else None
    finally:
        worker.end()
    far = float((scores[0][:, 0] - torch.tensor(theirs["scores"])).abs().max())
    figures = [
        *(Figure(side, "images/s", values, digits=1) for side, values in rates.items()),
        Figure("ours / peer", "", ratios(rates["ours"], rates["peer"]), DEMAND),
        *(Figure(f"{side}, processor time of an image", "ms", values) for side, values in used.items()),
        Figure("peer / ours, processor time", "", ratios(used["peer"], used["ours"])),
        Figure("largest difference of cosines", "", [far], -CLOSE, digits=5),
    ]
    if published is not None:
        rate = asked.published / published["seconds"]
        figures.append(Figure("peer, published score() with its reload", "images/s", [rate]))
    return figures


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
