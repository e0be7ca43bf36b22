"""Kills ``data convert`` at random moments, runs it again each time, and compares the end with an uninterrupted run.

    python tools/kill_convert.py OUT [--kills 10] [--groups 4000] [--workers 2]

Draws a source of its own (JSONL and JPEG files). Prints where each kill came, how many shards the next run took over,
and whether the two shard sets are equal, byte for byte; exit code 1 where they are not.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

SHARD_GROUPS = 100
CANDIDATES = 4


def main() -> int:
    """Converts once whole and once with kills, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--groups", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; drawn where not given, and printed")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    source = draw(arguments.out / "source", arguments.groups)
    whole, killed = (arguments.out / name for name in ("whole", "killed"))
    began = time.monotonic()
    if start(source, whole, arguments.workers).wait() != 0:
        return 1
    longest = time.monotonic() - began
    print(f"uninterrupted: {longest:.1f} s; kills at random moments (seed {seed}) within that", flush=True)
    kill = 0
    while kill < arguments.kills:
        run = start(source, killed, arguments.workers)
        wait = moments.uniform(0.0, longest)
        try:
            run.wait(timeout=wait)
            print(f"a run ended within {wait:.1f} s, exit code {run.returncode}; starting anew", flush=True)
            remove(killed)
            continue
        except subprocess.TimeoutExpired:
            kill += 1
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        units = killed.with_name(f".{killed.name}.converting") / "units"
        done = len(list(units.glob("[0-9]*"))) if units.is_dir() else 0
        print(
            f"kill {kill}: after {wait:.1f} s; {done} of {-(-arguments.groups // SHARD_GROUPS)} shards done", flush=True
        )
    if start(source, killed, arguments.workers).wait() != 0:
        return 1
    first, second = digests(whole), digests(killed)
    differ = sorted(name for name in {**first, **second} if first.get(name) != second.get(name))
    print(f"differ: {', '.join(differ)}" if differ else f"equal, byte for byte: {len(first)} files")
    return 1 if differ else 0


def draw(folder: Path, groups: int) -> Path:
    """Prompts of four small JPEGs, six comparisons each, one in a hundred lines bad."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with open(folder / "prefs.jsonl", "w", encoding="utf-8") as file:
        for group in range(groups):
            names = [f"{group}-{n}.jpg" for n in range(CANDIDATES)]
            for n, name in enumerate(names):
                noise[0, 0] = group % 256, group // 256, n
                buffer = io.BytesIO()
                Image.fromarray(noise).save(buffer, "JPEG")
                (folder / name).write_bytes(buffer.getvalue())
            for i in range(CANDIDATES):
                for j in range(i):
                    line = {"prompt": f"prompt number {group}", "images": [names[i], names[j]], "better": (i + j) % 2}
                    file.write(json.dumps(line) + "\n")
            if group % 100 == 0:
                file.write(json.dumps({"prompt": f"prompt number {group}", "images": [names[0], names[0]]}) + "\n")
    return folder


def start(source: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    """Starts one conversion in a process group of its own, its output dropped."""
    options = [
        f"src={source}",
        f"out={out}",
        "name=x",
        "source=x",
        f"workers={workers}",
        f"shard_groups={SHARD_GROUPS}",
    ]
    command = [sys.executable, "-m", "rewardkit", "data", "convert", "format=jsonl", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def remove(folder: Path) -> None:
    """Removes a finished result."""
    shutil.rmtree(folder, ignore_errors=True)


def digests(folder: Path) -> dict[str, str]:
    """File name to sha256, of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


if __name__ == "__main__":
    sys.exit(main())
