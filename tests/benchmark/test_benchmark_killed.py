"""A benchmark that is killed again and again loses nothing that was scored, and scores nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewardkit import cli
from rewardkit.benchmark.result import read_result

CHILD = """
import os, sys
from rewardkit import cli
import rewardkit.commands.benchmark_write  # imported once; each kill is of a fork
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if not child:
        os._exit(cli.run(sys.argv[2:]))
    print(child, flush=True)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_killed_four_times(rewards: dict[str, Path], hpsv2: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["benchmark", f"model={rewards['c']}", f"images={hpsv2[1]}", f"prompts={hpsv2[0]}", "bootstrap=100"]
    arguments += ["workers=0", "batch_size=1", "device=cpu"]
    assert cli.run([*arguments, f"out={tmp_path / 'whole'}"]) == 0
    out = tmp_path / "killed"
    command = [sys.executable, "-c", CHILD, "4", *arguments, f"out={out}"]
    kills = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        for child in filter(str.isdigit, map(str.strip, parent.stdout)):  # beside what the children print
            kills += 1
            _kill_behind(5 * kills, out, int(child))
    assert kills == 4
    assert 20 <= _scored(out) <= 24
    assert cli.run([*arguments, f"out={out}"]) == 0
    assert _scored(out) == 24  # each image once
    # Prompts are encoded in other batches, so that a score may differ in its last digits.
    found, expected = (
        {(c.generator, c.value): c.mean for c in read_result(at).cells} for at in (out, tmp_path / "whole")
    )
    assert found == pytest.approx(expected, abs=1e-4)


def _kill_behind(images: int, out: Path, child: int) -> None:
    """Kills a process as soon as so many images are scored; one that has ended is left alone."""
    while True:
        try:
            os.kill(child, signal.SIGKILL if _scored(out) >= images else 0)
        except ProcessLookupError:
            return
        time.sleep(0.005)


def _scored(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / "state" / "rewards").glob("*.jsonl"))
