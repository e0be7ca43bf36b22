"""Two ranks that read from a failing server train what two that read from the disk do, or end with a clear error."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault_server import FAULTS, serve
from tiny_run import replaced
from two_ranks import TwoRanks

from rewardkit.config.layout import RunLayout
from rewardkit.data.predictions import read_predictions

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("two_ranks")]

IMPATIENT = "from rewardkit.data import remote_access\nremote_access.LONGEST_WAIT = 0.01"
"""So that many attempts take no time."""


@pytest.fixture
def shards(demo_folders: tuple[Path, Path], tmp_path: Path) -> Path:
    for name, folder in zip(("train", "val"), demo_folders, strict=True):
        shutil.copytree(folder, tmp_path / "server" / name)
    return tmp_path / "server"


def on_two(arguments: list[str], base: object, name: str, *more: str) -> list[str]:
    sources = (f"data.train={base}/train", f"data.val={base}/val", "data.workers=1")
    return replaced(arguments, *sources, "trainer.devices=2", f"run.name={name}", *more)


def test_two_ranks_on_a_failing_server(tiny_fit: list[str], shards: Path, two_ranks: TwoRanks, tmp_path: Path) -> None:
    """They share one cache of blocks, and every third answer is wrong."""
    draw = random.Random(0)
    kinds = [name for name in FAULTS if name not in ("trickle", "stall")]
    two_ranks.run(IMPATIENT, None)
    with serve(shards, lambda request: draw.choice(kinds) if draw.random() < 0.3 else None) as server:
        cache = f"cache.dir={tmp_path / 'cache'}"
        two_ranks.fit(on_two(tiny_fit, shards, "disk"), on_two(tiny_fit, server.url, "server", cache))
    assert {request.path.partition("/")[0] for request in server.requests} == {"train", "val"}
    ours, theirs = (RunLayout(tmp_path / "runs" / "hpsv2" / name) for name in ("server", "disk"))
    name = "model.safetensors"
    assert (ours.bundle / name).read_bytes() == (theirs.bundle / name).read_bytes()
    scores, expected = (read_predictions(run.predictions / "00000008-val.parquet").scores for run in (ours, theirs))
    assert len(scores) > 7 and scores["score"].tolist() == expected["score"].tolist()
    assert not ours.data_errors.exists()


def test_a_shard_that_is_never_sent_ends_both_ranks(tiny_fit: list[str], shards: Path, tmp_path: Path) -> None:
    """One rank fails first; the other waits for it, and is ended by the launcher."""
    lost = "train-000002.tar"
    with serve(shards, lambda request: "503" if Path(request.path).name == lost else None) as server:
        more = ("data.remote.attempts=2", f"cache.dir={tmp_path / 'cache'}")
        command = [sys.executable, "-m", "rewardkit", "fit", *on_two(tiny_fit, server.url, "lost", *more)]
        environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode != 0
    assert any("error:" in line and lost in line and "503" in line for line in done.stderr.splitlines()), done.stderr
    assert not RunLayout(tmp_path / "runs" / "hpsv2" / "lost").is_finished
