"""From a checkpoint to a bundle, the model is in memory once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_run import TINY_TOWER

PROGRAM = """
import sys, threading, time
from pathlib import Path
import torch
from rewardkit.models.bundle import save_bundle
from rewardkit.models.clip import build_clip_reward
from rewardkit.models.stored.loading import load_stored
from rewardkit.models.stored.opening import open_training

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)

tower, checkpoint, bundle = (Path(argument) for argument in sys.argv[1:4])
build = lambda: build_clip_reward(architecture=tower)
if not checkpoint.exists():
    state = {f"model.{name}": tensor for name, tensor in build().state_dict().items()}
    of_one = lambda tensor: {"step": torch.tensor(1.0), "exp_avg": tensor, "exp_avg_sq": tensor.clone()}
    moments = {number: of_one(tensor) for number, tensor in enumerate(state.values())}
    optimizer = {"state": moments, "param_groups": [{"params": list(moments)}]}
    torch.save({"state_dict": state, "optimizer_states": [optimizer], "global_step": 1}, checkpoint)
else:
    peak = [0]
    before = anonymous()
    threading.Thread(target=watch, daemon=True).start()
    model = build()
    load_stored(model, open_training(checkpoint), source="the checkpoint")
    save_bundle(bundle, model)
    print(peak[0] - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_the_model_is_in_memory_once(tmp_path: Path) -> None:
    """Memory that is no file's, above the imports: the model is 110 MB, its checkpoint with moments 330 MB."""
    text: dict[str, Any] = {**TINY_TOWER["text_cfg"], "width": 512, "heads": 8}  # type: ignore[dict-item]
    (tmp_path / "tower.json").write_text(json.dumps({**TINY_TOWER, "text_cfg": text}), encoding="utf-8")
    command = [sys.executable, "-c", PROGRAM, *(str(tmp_path / n) for n in ("tower.json", "a.ckpt", "bundle"))]
    subprocess.run(command, check=True)
    used = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    size = (tmp_path / "bundle" / "model.safetensors").stat().st_size
    assert size > 1e8
    assert used < 1.6 * size, f"{used / size:.2f} times the model"
