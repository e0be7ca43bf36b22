"""Each bench runs as one command, small here, and writes figures that fit what it ran on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "tools" / "bench"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benches read /proc")


def run(script: str, out: Path, *options: str, status: int = 0) -> tuple[dict[str, Any], str]:
    """The figures by name (None where nothing was written), and what was printed."""
    command = [sys.executable, str(BENCH / script), f"--out={out}", f"--json={out / 'figures.json'}", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out)
    assert done.returncode == status, done.stdout + done.stderr
    record = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    return {figure["name"]: figure for figure in record["figures"]}, done.stdout


@pytest.mark.slow
def test_convert(tmp_path: Path) -> None:
    options = ["--groups=20", "--side=32", "--rounds=2", "--memory-groups=40"]
    figures, printed = run("convert.py", tmp_path, *options, "--check", status=1)  # copying 80 tiny files is faster
    for state in ("warm", "cold"):
        took = {name: figures[f"{state}: {name}"]["values"] for name in ("copytree", "cp -r", "convert, whole command")}
        whole, own = (
            figures[f"{state}: copy / convert, {part}"]["values"] for part in ("whole command", "its own time")
        )
        fastest = [min(pair) for pair in zip(took["copytree"], took["cp -r"], strict=True)]
        assert whole == [a / b for a, b in zip(fastest, took["convert, whole command"], strict=True)]
        assert len(whole) == 2 and all(a < b for a, b in zip(whole, own, strict=True))
        assert figures[f"{state}: copy / convert, whole command"]["met"] is False
    imports = figures["memory of one process after the imports"]["median"]
    for rows in ("400 rows", "800 rows"):
        peak, above = (
            figures[f"{rows}: {what}"]["median"] for what in ("peak of all processes together", "above the imports")
        )
        assert (
            above == pytest.approx(peak - imports) and 0 < above < 500 and figures[f"{rows}: above the imports"]["met"]
        )
    assert "MISSED" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"source", "source.json", "many", "many.json", "figures.json"}


def test_index(tmp_path: Path) -> None:
    figures, printed = run("index.py", tmp_path, "--groups=2500", "--rounds=1", "--check")
    for state in ("warm", "cold"):
        assert 0 < figures[f"{state}: open"]["median"] < figures[f"{state}: open, length, order, starts"]["median"] < 2
        assert figures[f"{state}: the most meanwhile"]["met"]
    # 170 bytes by the arrays' types; their headers weigh on so few groups.
    assert 170 < figures["arrays on disk"]["median"] < 172
    assert "100,000,000 groups: 170 bytes each" in printed and "17.0 GB" in printed
    assert len(list((tmp_path / "shards-2500").glob("*.tar"))) == 3


def test_read(tmp_path: Path) -> None:
    figures, _ = run("read.py", tmp_path, "--groups=60", "--side=32", "--shard-groups=20", "--rounds=2")
    for state in ("warm", "cold"):
        rates = [figures[f"{state}: {name}"]["values"] for name in ("tarfile r:", "tarfile r|", "webdataset")]
        fastest = [max(values) for values in zip(*rates, strict=True)]
        ours = figures[f"{state}: shuffled"]["values"]
        assert figures[f"{state}: shuffled / fastest sequential"]["values"] == pytest.approx(
            [a / b for a, b in zip(ours, fastest, strict=True)]
        )
        assert len(ours) == 2 and min(ours) > 10
    assert len(list((tmp_path / "shards-60-32-20").glob("*.tar"))) == 3
