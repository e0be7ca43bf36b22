"""Opening the index of 1 000 000 groups in a fresh process; and what 100 million would take, by arithmetic.

    python tools/bench/index.py [--rounds 5] [--groups 1000000] [--out build/bench] [--json FILE] [--check]

The index is written by ``write_index`` from made rows like HPD v2's (4 candidates, 6 comparisons, 1 dimension); the
shards are empty files of the right size, since opening an index reads none of them. The fresh process opens the index,
asks for its length, computes the first epoch's order and one ``starts``, and says what that took, imports aside. With
the arrays in the page cache and without.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
from rounds import Figure, Report, cool, files_below, warm

from rewardkit.data.index import ARRAYS, WIDE
from rewardkit.data.index_build import write_index
from rewardkit.data.index_rows import IndexRows
from rewardkit.data.order import epoch_order

SECONDS, MEMORY_MB = 2.0, 400.0
SHARD_GROUPS = 1000
CANDIDATES, COMPARISONS, DIMENSIONS = 4, 6, 1
SAMPLE_BYTES = 250_000
"""Of a sample in a shard, about: four images of 60 KB and the record."""

BILLION = 1e9
HUGE = 100_000_000
"""Groups of the arithmetic."""

OPENED = """
import sys, time
from rewardkit.data.index import ShardIndex
from rewardkit.data.mixture import Mixture
from rewardkit.data.order import epoch_order
def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
before = memory("VmRSS:")
begun = time.perf_counter()
index = ShardIndex.open(sys.argv[1])
count = len(index)
opened = time.perf_counter() - begun
order = epoch_order(Mixture([index], dimensions=index.dimensions).shard, seed=0, epoch=0)
begins = index.starts(index.comparisons.sum(1))
took = time.perf_counter() - begun
assert len(order) == count and len(begins) == count + 1
print(opened, took, memory("VmRSS:") - before, memory("VmHWM:") - before)
"""
"""What the fresh process does. The highest mark counts what was given back before the end."""


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("build/bench/index"), help="folder to work in")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a demand is missed")
    asked = parser.parse_args()
    report = Report("opening an index", {name: str(value) for name, value in vars(asked).items()})
    folder = make_index(asked.out / f"shards-{asked.groups}", asked.groups)
    disk = sum(path.stat().st_size for path in folder.glob("index-*/*"))
    for state in ("warm", "cold"):
        report.figures += opened(folder, asked.rounds, state)
    report.figures.append(Figure("arrays on disk", "bytes per group", [disk / asked.groups], digits=1))
    report.notes += arithmetic(disk / asked.groups)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def make_index(folder: Path, groups: int) -> Path:
    """Stand-ins for shards, sparse files of the right size, and their index; kept where it is there."""
    if (folder / "index.json").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    firsts = range(0, groups, SHARD_GROUPS)
    for number, first in enumerate(firsts):
        with open(folder / shard_name(number), "wb") as file:
            file.truncate(min(SHARD_GROUPS, groups - first) * SAMPLE_BYTES)
    parts = [
        lambda number=number, first=first: rows(number, first, min(SHARD_GROUPS, groups - first))  # type: ignore[misc]
        for number, first in enumerate(firsts)
    ]
    write_index(folder, parts, made={"action": "bench"})
    return folder


def shard_name(number: int) -> str:
    """A shard's file name."""
    return f"bench-{number:06d}.tar"


def rows(number: int, first: int, count: int) -> IndexRows:
    """The rows of one shard, by its number alone."""
    draw = np.random.default_rng(number)
    lengths = {"each_candidate": count * CANDIDATES, "each_comparison": count * COMPARISONS, "each_answer": 0}
    arrays = {}
    for name, kind in ARRAYS.items():
        length = next((found for start, found in lengths.items() if name.startswith(start)), count)
        shape = (length, DIMENSIONS) if name in WIDE else (length,)
        random_bits = draw.integers(0, 2**63, shape, dtype=np.uint64) if "hash" in name else np.zeros(shape)
        arrays[name] = random_bits.astype(kind)
    arrays["key_hash"] = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    arrays["offset"][:] = np.arange(count) * SAMPLE_BYTES
    arrays["length"][:] = SAMPLE_BYTES
    arrays["candidates"][:] = CANDIDATES
    arrays["comparisons"][:] = arrays["comparison_weight"][:] = COMPARISONS
    arrays["decided"][:] = arrays["decided_weight"][:] = COMPARISONS
    arrays["each_comparison_weight"][:] = 1
    arrays["each_comparison_decided"][:] = True
    arrays["prompt_tokens"][:] = draw.integers(8, 77, count)
    arrays["pixels"][:] = CANDIDATES * 512 * 512
    digest = f"{number:064x}"
    shard = {"name": shard_name(number), "bytes": count * SAMPLE_BYTES, "digest": digest}
    return IndexRows([shard], ("overall",), {}, {"bench": count}, [], arrays)


def opened(folder: Path, rounds: int, state: str) -> list[Figure]:
    """Opens the index in fresh processes, with its files in the page cache or dropped from it."""
    files = [folder / "index.json", *files_below(next(folder.glob("index-*")))]
    values = []
    for _ in range(rounds):
        (warm if state == "warm" else cool)(files)
        done = subprocess.run([sys.executable, "-c", OPENED, str(folder)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the index could not be opened:\n{done.stderr}")
        values.append([float(value) for value in done.stdout.split()])
    first, all_of_it, held, highest = zip(*values, strict=True)
    return [
        Figure(f"{state}: open", "s", first, digits=3),
        Figure(f"{state}: open, length, order, starts", "s", all_of_it, -SECONDS, digits=3),
        Figure(f"{state}: memory above the imports, at the end", "MB", [value / 1e6 for value in held], digits=0),
        Figure(f"{state}: the most meanwhile", "MB", [value / 1e6 for value in highest], -MEMORY_MB, digits=0),
    ]


def arithmetic(measured: float) -> list[str]:
    """What ``HUGE`` groups of this kind take, from the types of the arrays and of the order's steps."""
    per_group = sum(array_bytes(name) for name in ARRAYS)
    shards = HUGE // SHARD_GROUPS
    entry = len(json.dumps({"name": shard_name(0), "bytes": SHARD_GROUPS * SAMPLE_BYTES, "digest": "0" * 64}, indent=1))
    held, most = order_bytes()
    return [
        f"{HUGE:,} groups: {per_group} bytes each ({measured:.1f} measured here) are "
        f"{HUGE * per_group / BILLION:.1f} GB of arrays, mapped: opening reads {len(ARRAYS)} headers of 128 bytes.",
        f"index.json names {shards:,} shards in {entry} bytes each, {shards * entry / 1e6:.0f} MB, and each is asked "
        "for its size once.",
        f"An epoch's order reads which shard each group lies in, {HUGE * array_bytes('shard') / BILLION:.1f} GB, and "
        f"holds {held:.0f} bytes per group (measured), {HUGE * held / BILLION:.1f} GB, with {most:.0f} bytes, "
        f"{HUGE * most / BILLION:.1f} GB, while it is made.",
    ]


def order_bytes(groups: int = 1_000_000) -> tuple[float, float]:
    """Bytes per group that an epoch's order holds, and the most while it is made."""
    shard = np.arange(groups, dtype=np.int64) // SHARD_GROUPS
    tracemalloc.start()
    order = epoch_order(shard, seed=0, epoch=0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return order.nbytes / groups, most / groups


def array_bytes(name: str) -> int:
    """Bytes of one array for one group."""
    rows = {"each_candidate": CANDIDATES, "each_comparison": COMPARISONS, "each_answer": 0}
    each = next((found for start, found in rows.items() if name.startswith(start)), 1)
    return np.dtype(ARRAYS[name]).itemsize * each * (DIMENSIONS if name in WIDE else 1)


if __name__ == "__main__":
    sys.exit(main())
