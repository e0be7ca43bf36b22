"""The tool that kills conversions: a few kills, then shards equal to those of an uninterrupted run."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "kill_convert.py"


@pytest.mark.slow
def test_killed_conversions_end_with_the_same_shards(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL), str(tmp_path / "out"), "--kills", "3", "--groups", "500", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("kill ") >= 3 and "equal, byte for byte" in done.stdout
