"""Decoding and resizing JPEG files to a model's input: images a second of one core, against the transform of HPS v2.

    python tools/bench/decoding.py [--rounds 5] [--images 64] [--sides 512,1024] [--json FILE] [--check]

A: the published transform of the peer (``peers.py``): Pillow, a float tensor of the whole image, its bicubic resize,
padding, normalisation. B: what a loader worker does, ``decode_image`` and ``resize_uint8``, with ``decode=scaled`` and
``decode=exact``; normalising is left to the device. Seconds are those of processor time of one thread, in turns. How
far B's normalised pixels are from A's, in grey levels, is part of the table.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from hpd_like import Shape, files_of, make_source
from numpy.typing import NDArray
from peers import hpsv2_python
from rounds import Figure, Report, processor_seconds
from worker import Worker

from rewardkit.data.images import ImageTransform, decode_image, normalise, resize_uint8

DEMANDS = {512: 2.0, 1024: 4.0}
"""Side of the images to the least of ours / peer's, with ``decode=scaled``."""

TOLERANCES = {"exact": 0.5, "scaled": 4.0}
"""Largest mean difference from the peer's pixels, grey levels: rounding, and what a JPEG decoded at a fraction of its
size differs by on noise, which is worse than photographs."""

SIZE = 224


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64, help="in a round")
    parser.add_argument("--sides", default="512,1024", help="of the images, pixels")
    parser.add_argument("--out", type=Path, default=Path("build/bench/decoding"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a demand is missed")
    asked = parser.parse_args()
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    report = Report("decoding", {name: str(value) for name, value in vars(asked).items()})
    python = hpsv2_python(out.parent / "peers")
    for side in map(int, asked.sides.split(",")):
        source = make_source(out / f"source-{side}", Shape(-(-asked.images // 4), side=side))
        report.figures += measure(python, files_of(source)[: asked.images], side, asked.rounds, out)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def measure(python: Path, paths: list[Path], side: int, rounds: int, out: Path) -> list[Figure]:
    """Both sides in turns on the same files."""
    worker = Worker([str(python), str(Path(__file__).with_name("peer_hpsv2.py"))], out / "peer.log")
    pixels = out / "pixels.npy"
    try:
        worker.ask(do="decode", paths=[str(path) for path in paths], size=SIZE, out=str(pixels))
        theirs: list[float] = []
        works = {way: partial(decode_all, paths, way) for way in TOLERANCES}
        works["peer"] = lambda: theirs.append(worker.ask(go=True)["seconds"])
        took = processor_seconds(works, rounds)
    finally:
        worker.end()
    took["peer"] = theirs[1:]  # the first round is not counted
    rates = {way: [len(paths) / seconds for seconds in values] for way, values in took.items()}
    figures = [Figure(f"{side}: {way}", "images/s", rates[way], digits=1) for way in ("peer", *TOLERANCES)]
    for way in TOLERANCES:
        ratios = [a / b for a, b in zip(rates[way], rates["peer"], strict=True)]
        demand = DEMANDS.get(side) if way == "scaled" else None
        figures.append(Figure(f"{side}: {way} / peer", "", ratios, demand))
    peers_pixels = np.load(pixels)
    for way, most in TOLERANCES.items():
        far = difference(decode_all(paths, way), peers_pixels)
        figures.append(Figure(f"{side}: {way}, mean difference", "grey levels", [far], -most, digits=3))
    return figures


def decode_all(paths: list[Path], way: str) -> torch.Tensor:
    """uint8 ``[n, 3, S, S]``, as a loader worker makes them."""
    transform = ImageTransform(SIZE, resize="pad", decode=way)  # type: ignore[arg-type]
    return torch.stack([resize_uint8(decode_image(p.read_bytes(), decode=way, size=SIZE), transform) for p in paths])


def difference(pixels: torch.Tensor, theirs: NDArray[np.float32]) -> float:
    """Mean distance from the peer's normalised pixels, in grey levels."""
    transform = ImageTransform(SIZE)
    ours = normalise(pixels, transform.mean, transform.std).numpy()
    return float((np.abs(ours - theirs) * 255 * np.array(transform.std).reshape(3, 1, 1)).mean())


if __name__ == "__main__":
    sys.exit(main())
