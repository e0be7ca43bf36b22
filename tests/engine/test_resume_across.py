"""One run that goes on with another strategy at each step ends where an uninterrupted one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import replaced
from two_ranks import TwoRanks

from rewardkit.config.layout import RunLayout
from rewardkit.engine.loggers import read_metrics
from rewardkit.models.stored.opening import open_training

CHAIN = ("zero1", "fsdp", "zero3", "ddp", "zero2")
"""Each takes one step, from the checkpoint of the one before it."""

TOLERANCE = 2e-5
"""Strategies add the same gradients up in another order; AdamW divides by their size, so tiny ones move more."""


@pytest.mark.slow
@pytest.mark.xdist_group("two_ranks")
def test_a_run_goes_on_with_any_strategy(tiny_fit: list[str], two_ranks: TwoRanks, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    length = [f"trainer.max_steps={len(CHAIN)}", f"trainer.validate_every={len(CHAIN)}"]
    common = replaced(tiny_fit, *length, "trainer.devices=2", "resume=auto", "callbacks.ema.decay=0.8")
    links = [
        [*common, "run.name=chain", f"trainer.strategy={strategy}", "trainer.async_checkpoints=true"]
        + ([f"trainer.stop_after={step}"] if step < len(CHAIN) else [])
        for step, strategy in enumerate(CHAIN, start=1)
    ]
    two_ranks.fit([*common, "run.name=whole", "trainer.strategy=ddp"], *links)
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
