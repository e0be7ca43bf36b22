"""A run of two ranks that is killed goes on as if nothing had been, bit for bit, with every strategy.

What is killed runs in processes of its own, as people start it; all else runs in the pair of processes that stays.
"""

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
import torch
from safetensors.torch import load_file
from tiny_run import replaced, tiny_arguments
from two_ranks import FIT, TwoRanks

from rewardkit import cli
from rewardkit.config.layout import RunLayout

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("two_ranks")]

STRATEGIES = ("ddp", "zero1", "zero2", "zero3", "fsdp")
STEPS = 5


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/kill_resume.py, which knows how to compare two runs."""
    path = Path(__file__).parents[2] / "tools" / "kill_resume.py"
    spec = importlib.util.spec_from_file_location("kill_resume", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rewardkit", "fit", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def of_two(arguments: list[str], name: str, strategy: str, *, steps: int = STEPS) -> list[str]:
    """A run of some steps, on two ranks, that writes a checkpoint at each."""
    return replaced(
        arguments,
        f"trainer.strategy={strategy}",
        "trainer.devices=2",
        f"trainer.max_steps={steps}",
        f"trainer.validate_every={steps}",
        "trainer.checkpoint_every=1",
        f"run.name={name}-{strategy}",
        "resume=auto",
    )


@pytest.fixture(scope="module")
def whole(
    two_ranks: TwoRanks, tiny_tower: Path, demo_folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Arguments of uninterrupted runs of every strategy, which have been made."""
    pytest.importorskip("deepspeed")
    arguments = tiny_arguments(tiny_tower, demo_folders, tmp_path_factory.mktemp("killed"))
    two_ranks.fit(*(of_two(arguments, "whole", strategy) for strategy in STRATEGIES))
    return arguments


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_and_resumed_is_uninterrupted(
    whole: list[str], two_ranks: TwoRanks, tool: ModuleType, strategy: str
) -> None:
    (folder,) = (a.removeprefix("run.dir=") for a in whole if a.startswith("run.dir="))
    first, killed = (RunLayout(Path(folder) / "hpsv2" / f"{name}-{strategy}") for name in ("whole", "killed"))
    arguments = of_two(whole, "killed", strategy)
    draws = random.SystemRandom()
    step, wait = draws.randint(1, STEPS - 1), draws.uniform(0.0, 0.2)
    assert tool.kill_after(start(arguments), killed, step, wait), "it ended before it could be killed"
    two_ranks.fit(arguments)
    assert tool.compare(first, killed, steps=STEPS) == [], f"killed {wait:.3f} s after step {step}"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_checkpoint_of_every_strategy_exports_what_was_in_memory(
    whole: list[str], strategy: str, tmp_path: Path
) -> None:
    """The run's own bundle is of the same step, gathered from the ranks while they trained."""
    (folder,) = (a.removeprefix("run.dir=") for a in whole if a.startswith("run.dir="))
    run = RunLayout(Path(folder) / "hpsv2" / f"whole-{strategy}")
    assert cli.run(["export", f"model={run.last_checkpoint}", f"out={tmp_path / 'out'}"]) == 0
    ours, theirs = (load_file(place / "model.safetensors") for place in (tmp_path / "out", run.bundle))
    assert ours.keys() == theirs.keys() and len(ours) > 30
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_signal_to_rank_0_saves_and_ends_all_ranks(tiny_fit: list[str], tmp_path: Path) -> None:
    """As a cluster sends it to the process that it has started: the run ends with 75, and can go on."""
    run = RunLayout(tmp_path / "runs" / "hpsv2" / "preempted-ddp")
    process = start(of_two(tiny_fit, "preempted", "ddp", steps=500))
    wait_for_a_checkpoint(run, process)
    os.kill(process.pid, signal.SIGUSR1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 75, output
    assert "continue with: python -m rewardkit fit resume=" in output and "Traceback" not in output
    assert not run.is_finished and run.last_checkpoint.exists()


@pytest.mark.parametrize("strategy", ["zero2", "fsdp"])
def test_a_signal_to_rank_0_saves_what_all_ranks_hold(
    tiny_fit: list[str], two_ranks: TwoRanks, tmp_path: Path, strategy: str
) -> None:
    """Where each rank writes a part of its own: both stop at the same step."""
    if strategy.startswith("zero"):
        pytest.importorskip("deepspeed")
    run = RunLayout(tmp_path / "runs" / "hpsv2" / f"preempted-{strategy}")
    rank_0 = two_ranks.begin(FIT, [of_two(tiny_fit, "preempted", strategy, steps=500)])
    wait_for_a_checkpoint(run)
    os.kill(rank_0, signal.SIGUSR1)
    codes, printed = two_ranks.finish()
    # A rank that rank 0 has started itself ends with 0 (``started_by_rank_0``).
    assert codes[0] == [75] and codes[1] in ([75], [0]), printed
    assert "continue with: python -m rewardkit fit resume=" in printed[0] and "Traceback" not in "".join(printed)
    assert not run.is_finished and run.last_checkpoint.exists()


def wait_for_a_checkpoint(run: RunLayout, process: subprocess.Popen[str] | None = None) -> None:
    until = time.monotonic() + 300
    while not run.last_checkpoint.exists() and time.monotonic() < until:
        if process is not None and process.poll() is not None:
            return
        time.sleep(0.02)
