"""A run of two ranks that is killed goes on as if nothing had been, bit for bit, with every strategy."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from rewardkit.config.layout import RunLayout

STEPS = 5


def tool() -> ModuleType:
    """tools/kill_resume.py, which knows how to compare two runs."""
    path = Path(__file__).parents[2] / "tools" / "kill_resume.py"
    spec = importlib.util.spec_from_file_location("kill_resume", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(arguments: list[str], name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rewardkit", "fit", *arguments, f"run.name={name}", "resume=auto"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def of_two(arguments: list[str], strategy: str, *, steps: int = STEPS) -> list[str]:
    """A run of some steps, on two ranks, that writes a checkpoint at each."""
    keys = ("trainer.max_steps", "trainer.validate_every", "trainer.checkpoint_every")
    kept = [a for a in arguments if not a.startswith(keys)]
    return [
        *kept,
        f"trainer.strategy={strategy}",
        "trainer.devices=2",
        f"trainer.max_steps={steps}",
        f"trainer.validate_every={steps}",
        "trainer.checkpoint_every=1",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "zero1", "zero2", "zero3", "fsdp"])
def test_killed_and_resumed_is_uninterrupted(tiny_fit: list[str], tmp_path: Path, strategy: str) -> None:
    if strategy.startswith("zero"):
        pytest.importorskip("deepspeed")
    tools, arguments = tool(), of_two(tiny_fit, strategy)
    whole, killed = (RunLayout(tmp_path / "runs" / "hpsv2" / name) for name in ("whole", "killed"))
    process = start(arguments, "whole")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    draws = random.SystemRandom()
    step, wait = draws.randint(1, STEPS - 1), draws.uniform(0.0, 0.2)
    assert tools.kill_after(start(arguments, "killed"), killed, step, wait), "it ended before it could be killed"
    process = start(arguments, "killed")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert tools.compare(whole, killed, steps=STEPS) == [], f"killed {wait:.3f} s after step {step}"


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "zero2", "fsdp"])
def test_a_signal_to_rank_0_saves_on_all_ranks(tiny_fit: list[str], tmp_path: Path, strategy: str) -> None:
    """As a cluster sends it to the process that it has started: the run ends with 75, and can go on."""
    if strategy.startswith("zero"):
        pytest.importorskip("deepspeed")
    run = RunLayout(tmp_path / "runs" / "hpsv2" / "preempted")
    arguments = of_two(tiny_fit, strategy, steps=500)
    process = start(arguments, "preempted")
    until = time.monotonic() + 300
    while not run.last_checkpoint.exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGUSR1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 75, output
    assert "continue with: python -m rewardkit fit resume=" in output and "Traceback" not in output
    assert not run.is_finished and run.last_checkpoint.exists()
