"""Checkpoints of whole runs: what stays, the same files from the background, sizes logged, a damaged newest one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from same_state import assert_same

from rewardkit import cli
from rewardkit.config.layout import RunLayout
from rewardkit.engine.loggers import read_metrics


def fit(arguments: list[str], *more: str) -> int:
    return cli.run(["fit", *arguments, *more])


def run_of(tmp_path: Path, name: str) -> RunLayout:
    return RunLayout(tmp_path / "runs" / "hpsv2" / name)


def test_the_background_writes_the_same_files(tiny_fit: list[str], tmp_path: Path) -> None:
    assert fit(tiny_fit, "run.name=a", "trainer.keep_checkpoints=3") == 0
    assert fit(tiny_fit, "run.name=b", "trainer.keep_checkpoints=3", "trainer.async_checkpoints=true") == 0
    a, b = (run_of(tmp_path, name).checkpoints for name in "ab")
    names = sorted(path.name for path in a.iterdir())
    assert names == sorted(path.name for path in b.iterdir())
    assert {"step-00000004.ckpt", "step-00000006.ckpt", "step-00000008.ckpt", "last.ckpt", "best.ckpt"} <= set(names)
    for name in names:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_size_and_seconds_are_logged(tiny_fit: list[str], tmp_path: Path) -> None:
    assert fit(tiny_fit, "run.name=a") == 0
    run = run_of(tmp_path, "a")
    figures = {(step, name): value for step, name, value in read_metrics(run.metrics) if "checkpoint_" in name}
    assert {step for step, _ in figures} == {2, 4, 6, 8}
    size = run.last_checkpoint.stat().st_size / 1e6
    assert figures[8, "train/throughput/checkpoint_mb"] == pytest.approx(size)
    assert figures[8, "train/throughput/checkpoint_seconds"] > 0
    assert f"step-00000008.ckpt: {size:.1f} MB in" in run.console_log.read_text(encoding="utf-8")


def test_a_damaged_newest_checkpoint_costs_a_few_steps(
    tiny_fit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tiny_fit, "run.name=whole") == 0
    assert fit(tiny_fit, "run.name=a", "trainer.stop_after=6") == 0
    run = run_of(tmp_path, "a")
    newest = run.checkpoints / "step-00000006.ckpt"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    capsys.readouterr()
    assert fit(tiny_fit, "run.name=a", "resume=auto") == 0
    printed = capsys.readouterr().out
    assert "continued from step 4" in printed and "step-00000006.ckpt.unreadable" in printed
    rows = [
        [row for row in read_metrics(r.metrics) if "throughput" not in row[1]] for r in (run_of(tmp_path, "whole"), run)
    ]
    assert rows[0] == rows[1]
    assert_same(*(torch.load(r.last_checkpoint, weights_only=True) for r in (run_of(tmp_path, "whole"), run)))
