"""One run that goes on with another strategy at each step ends where an uninterrupted one does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rewardkit.config.layout import RunLayout
from rewardkit.engine.loggers import read_metrics
from rewardkit.models.stored.opening import open_training

CHAIN = ("zero1", "fsdp", "zero3", "ddp", "zero2")
"""Each takes one step, from the checkpoint of the one before it."""

TOLERANCE = 2e-5
"""Strategies add the same gradients up in another order; AdamW divides by their size, so tiny ones move more."""

PROGRAM = """
import json, sys
import torch
from rewardkit import cli
for arguments in json.loads(sys.argv[1]):
    code = cli.run(["fit", *arguments])
    assert code == 0, (code, arguments)
    torch.distributed.barrier()  # rank 0 gives a checkpoint its name after the others have gone on
"""


def run_on_two_ranks(fits: list[list[str]]) -> None:
    """Runs several ``fit`` one after the other in two processes, started as ``torchrun`` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-c", PROGRAM, json.dumps(fits)]
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)


@pytest.mark.slow
def test_a_run_goes_on_with_any_strategy(tiny_fit: list[str], tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    keys = ("trainer.max_steps", "trainer.validate_every")
    kept = [a for a in tiny_fit if not a.startswith(keys)]
    length = [f"trainer.max_steps={len(CHAIN)}", f"trainer.validate_every={len(CHAIN)}"]
    common = [*kept, *length, "trainer.devices=2", "resume=auto", "callbacks.ema.decay=0.8"]
    links = [
        [*common, "run.name=chain", f"trainer.strategy={strategy}", "trainer.async_checkpoints=true"]
        + ([f"trainer.stop_after={step}"] if step < len(CHAIN) else [])
        for step, strategy in enumerate(CHAIN, start=1)
    ]
    run_on_two_ranks([[*common, "run.name=whole", "trainer.strategy=ddp"], *links])
    whole, chain = (RunLayout(tmp_path / "runs" / "hpsv2" / name) for name in ("whole", "chain"))
    first, second = (open_training(run.last_checkpoint.resolve()) for run in (whole, chain))
    assert set(first) == set(second)
    for name in first:
        if "in_proj_bias" not in name:  # the key's bias has gradient zero, and AdamW amplifies the noise of it
            torch.testing.assert_close(second[name].detach(), first[name], rtol=0, atol=TOLERANCE)
    for name in first.trained:
        assert first.steps(name) == second.steps(name) == len(CHAIN), name
    averages = [stored.record["callbacks"]["EMA"]["average"] for stored in (first, second)]
    torch.testing.assert_close(averages[1]["head.image"], averages[0]["head.image"], rtol=0, atol=TOLERANCE)
    logged = [
        {(step, name): value for step, name, value in read_metrics(run.metrics) if name == "train/loss"}
        for run in (whole, chain)
    ]
    assert logged[1] == pytest.approx(logged[0], rel=1e-4) and len(logged[0]) == len(CHAIN)
