"""The tool that kills annotations: a few kills, nothing asked twice, nothing lost."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "kill_annotate.py"


@pytest.mark.slow
def test_killed_annotations_lose_nothing_and_ask_nothing_twice(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL), str(tmp_path / "out"), "--kills", "2", "--groups", "20", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("kill ") == 2 and "asked again though in the log: 0; lost: 0" in done.stdout
