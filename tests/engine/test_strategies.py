"""Which strategy a run takes, and what it says where that cannot be had."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch.nn.parallel import DistributedDataParallel

from rewardkit.engine.fsdp_strategy import FSDP
from rewardkit.engine.hardware import Hardware
from rewardkit.engine.interruption import TrainingStopped
from rewardkit.engine.strategies import make_strategy
from rewardkit.engine.train import _end_together, _environments
from rewardkit.errors import EXIT_PREEMPTED, UserError


def test_auto_is_ddp_where_there_are_several_ranks() -> None:
    assert make_strategy(Hardware()) == "auto"
    assert isinstance(make_strategy(Hardware(devices=2)), DDPStrategy)
    assert isinstance(make_strategy(Hardware(strategy="ddp")), DDPStrategy)
    assert isinstance(make_strategy(Hardware(devices=2, strategy="fsdp")), FSDP)


@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3", "fsdp"])
def test_half_precision_with_a_loss_scaler_is_refused(strategy: str) -> None:
    with pytest.raises(UserError, match=rf"trainer\.precision: 16 .*{strategy}"):
        make_strategy(Hardware(devices=2, strategy=strategy, precision="16"))


def test_zero_without_deepspeed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(UserError, match=r"rewardkit\[deepspeed\]"):
        make_strategy(Hardware(devices=2, strategy="zero2"))


def test_under_slurm_the_script_requeues_and_not_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _environments() == []
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "rewardkit", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="ntasks-per-node"):
        _environments()
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    (environment,) = _environments()
    assert isinstance(environment, SLURMEnvironment) and not environment.auto_requeue
    for name in ("RANK", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "0")
    assert _environments() == [], "torchrun inside of SLURM"


@pytest.mark.parametrize(("local_rank", "started_here", "code"), [(0, True, 75), (1, True, 0), (1, False, 75)])
def test_only_the_process_that_is_looked_at_ends_with_the_code(local_rank: int, started_here: bool, code: int) -> None:
    waited: list[str] = []
    launcher = object.__new__(_SubprocessScriptLauncher) if started_here else None
    strategy = SimpleNamespace(launcher=launcher, barrier=waited.append)
    trainer: Any = SimpleNamespace(world_size=2, strategy=strategy, local_rank=local_rank)
    assert _end_together(trainer, TrainingStopped(3, EXIT_PREEMPTED)).exit_code == code
    assert waited, "ranks end together"


def test_gradients_travel_in_bfloat16_on_a_cpu_too(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        for communication in ("32", "bf16"):
            torch.manual_seed(0)
            strategy: Any = make_strategy(Hardware(devices=2, communication=communication))
            strategy.model = DistributedDataParallel(torch.nn.Linear(8, 8))
            strategy._register_ddp_hooks()
            strategy.model(torch.randn(4, 8)).pow(2).sum().backward()
            gradient = strategy.model.module.weight.grad
            assert torch.equal(gradient, gradient.bfloat16().float()) == (communication == "bf16")
    finally:
        torch.distributed.destroy_process_group()
