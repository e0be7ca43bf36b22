"""Reading shards in the order of a training, against reading the same shards from one end to the other.

    python tools/bench/read.py [--rounds 5] [--groups 4000] [--out build/bench] [--json FILE] [--check]

A: every file of every shard, in the order in which they lie, by the fastest of ``tarfile`` (``r:`` and ``r|``) and
webdataset. B: what a loader worker does before it decodes images: the epoch's order from the index, then for each
micro-batch its groups by their byte ranges, their records parsed and checked. One process, one thread each. The rate is
samples a second of B / of A: once with the shards in the page cache, once with them dropped from it before each
reading.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import webdataset
from hpd_like import CANDIDATES, base_images, group_record, image
from rounds import Figure, Report, cool, warm

from rewardkit.data.index import ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.mixture import Mixture
from rewardkit.data.order import epoch_order
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.data.shards import shard_paths

MICRO_GROUPS = 32
"""Groups in a micro-batch, as a training takes them by default."""

RATE = 0.9
"""Least rate of the shuffled reading, of that of the sequential."""


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=4000, help="of 4 images and 6 comparisons each")
    parser.add_argument("--side", type=int, default=512, help="of the images, pixels")
    parser.add_argument("--shard-groups", type=int, default=200, help="groups in a shard")
    parser.add_argument("--out", type=Path, default=Path("build/bench/read"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a demand is missed")
    asked = parser.parse_args()
    report = Report("reading shards", {name: str(value) for name, value in vars(asked).items()})
    shards = make_shards(asked.out / f"shards-{asked.groups}-{asked.side}-{asked.shard_groups}", asked)
    for state in ("warm", "cold"):
        report.figures += measure(shards, asked.rounds, state)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def make_shards(folder: Path, asked: argparse.Namespace) -> Path:
    """Shards with their index; kept where they are there."""
    if (folder / "index.json").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    bases = base_images(asked.side)
    with ShardWriter(folder, "bench", max_groups=asked.shard_groups) as writer:
        for number in range(asked.groups):
            writer.write(group_record(number), [image(bases, number * CANDIDATES + n) for n in range(CANDIDATES)])
    build_index(folder)
    return folder


def measure(shards: Path, rounds: int, state: str) -> list[Figure]:
    """Reads in turns, in one state of the page cache."""
    paths = shard_paths(shards)
    mixture = Mixture([ShardIndex.open(shards)], dimensions=["overall"])
    prepare = warm if state == "warm" else cool
    readers: dict[str, Callable[[int], int]] = {
        "tarfile r:": lambda epoch: with_tarfile(paths, "r:"),
        "tarfile r|": lambda epoch: with_tarfile(paths, "r|"),
        "webdataset": lambda epoch: with_webdataset(paths),
        "shuffled": lambda epoch: shuffled(mixture, epoch),
    }
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for epoch in range(rounds):
        for name, read in readers.items():
            prepare(paths)
            begun = time.perf_counter()
            count = read(epoch)
            rates[name].append(count / (time.perf_counter() - begun))
            assert count == len(mixture), f"{name} read {count} of {len(mixture)} groups"
    sequential = [max(values) for values in zip(*(rates[name] for name in readers if name != "shuffled"), strict=True)]
    figures = [Figure(f"{state}: {name}", "samples/s", values, digits=0) for name, values in rates.items()]
    ratio = [a / b for a, b in zip(rates["shuffled"], sequential, strict=True)]
    # From the disk, what reads ahead of itself wins by as much as the disk is faster than one process: no demand.
    return [
        *figures,
        Figure(f"{state}: shuffled / fastest sequential", "", ratio, RATE if state == "warm" else None),
    ]


def with_tarfile(paths: list[Path], mode: str) -> int:
    """Reads every file of every shard; the number of samples."""
    count, key = 0, ""
    for path in paths:
        with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                file.read()
                stem = member.name.partition(".")[0]
                count += stem != key
                key = stem
    return count


def with_webdataset(paths: list[Path]) -> int:
    """The same with webdataset, which puts a sample's files together and decodes nothing unless asked to."""
    return sum(1 for _ in webdataset.WebDataset([str(path) for path in paths], shardshuffle=False))


def shuffled(mixture: Mixture, epoch: int) -> int:
    """Reads every group of an epoch in its order, as ``GroupDataset`` does; the number of samples."""
    count = 0
    order = epoch_order(mixture.shard, seed=0, epoch=epoch).tolist()
    for start in range(0, len(order), MICRO_GROUPS):
        micro = order[start : start + MICRO_GROUPS]
        mixture.expect(micro)
        count += sum(len(mixture.sample(position).images) == CANDIDATES for position in micro)
    return count


if __name__ == "__main__":
    sys.exit(main())
