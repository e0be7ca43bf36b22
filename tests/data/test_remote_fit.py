"""A whole run on weighted sources that a failing server sends is the run on the disk, bit for bit, also resumed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from fault_server import FAULTS, serve

from rewardkit import cli
from rewardkit.config.layout import RunLayout
from rewardkit.data import remote_access


@pytest.mark.slow
def test_a_run_from_a_failing_server_stopped_and_resumed(
    tiny_fit: list[str],
    demo_folders: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(remote_access, "LONGEST_WAIT", 0.01)
    shards = tmp_path / "server"
    for name, folder in (("train", demo_folders[0]), ("again", demo_folders[0]), ("val", demo_folders[1])):
        shutil.copytree(folder, shards / name)
    draw = random.Random(0)
    kinds = [name for name in FAULTS if name not in ("trickle", "stall")]

    def run(name: str, base: object, *more: str) -> int:
        kept = [a for a in tiny_fit if not a.startswith(("data.train=", "data.val=", "data.workers="))]
        sources = [f"data.train={base}/train,{base}/again", f"data.val={base}/val", "data.workers=1"]
        weights = ["data.weights={train: 3, again: 1}", "data.epoch_groups=12"]
        given = [*kept, *sources, *weights, f"cache.dir={tmp_path / 'cache'}", f"run.name={name}", *more]
        return cli.run(["fit", *given])

    def layout(name: str) -> RunLayout:
        return RunLayout(tmp_path / "runs" / "hpsv2" / name)

    assert run("disk", shards) == 0
    assert "mix     train 75.0%, each of its 24 groups 1.0 times" in capsys.readouterr().out
    with serve(shards, lambda request: draw.choice(kinds) if draw.random() < 0.3 else None) as server:
        assert run("server", server.url, "trainer.stop_after=3") == 0
        assert run("server", server.url, "resume=auto") == 0
        report = layout("server").report
        pages = [report.read_text(encoding="utf-8")]
        assert cli.run(["report", f"run={report.parent}"]) == 0
        pages.append(report.read_text(encoding="utf-8"))
        assert all("data:image/jpeg;base64" in page for page in pages)
        assert run("server", server.url, "resume=auto", "data.weights={train: 2, again: 1}") == 2
    assert "data.weights" in capsys.readouterr().err
    ours, theirs = layout("server"), layout("disk")
    name = "model.safetensors"
    assert (ours.bundle / name).read_bytes() == (theirs.bundle / name).read_bytes()
    assert not ours.data_errors.exists()
