"""``export`` of a checkpoint holds the model in memory once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import TINY_TOWER

PROGRAM = """
import sys, threading, time
from pathlib import Path
from rewardkit.commands.open_checkpoint import bundle_of_checkpoint
import rewardkit.commands.build_model
from rewardkit.models.stored.opening import open_training

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

peak, before = [0], anonymous()
def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
bundle_of_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
print(peak[0] - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_the_model_is_in_memory_once(demo_folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Memory that is no file's, above the imports: the model is 300 MB, its checkpoint with moments 900 MB."""
    tower = {**TINY_TOWER, "embed_dim": 512, "text_cfg": {**TINY_TOWER["text_cfg"], "width": 1024, "heads": 8}}  # type: ignore[dict-item]
    (tmp_path / "tower.json").write_text(json.dumps(tower), encoding="utf-8")
    arguments = [
        "recipe=hpsv2", f"data.train={demo_folders[0]}", f"data.val={demo_folders[1]}", f"run.dir={tmp_path}",
        "run.name=a", f"model.architecture={tmp_path}/tower.json", "transform.size=null", "data.batch_groups=2",
        "data.workers=0", "trainer.stop_after=1", "trainer.threads=1",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "rewardkit", "fit", *arguments], check=True, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "hpsv2" / "a" / "checkpoints" / "last.ckpt"
    command = [sys.executable, "-c", PROGRAM, str(checkpoint.resolve()), str(tmp_path / "bundle")]
    used = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    size = (tmp_path / "bundle" / "model.safetensors").stat().st_size
    assert size > 2.5e8
    assert used < 1.4 * size, f"{used / size:.2f} times the model"
