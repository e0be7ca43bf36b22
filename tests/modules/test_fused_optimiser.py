"""AdamW in one pass takes the steps of the other one, up to rounding; and where it may not be used, it is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from test_training_loop import a_model, train
from torch import nn

from rewardkit.modules.optimisation import Optimisation, can_fuse, make_optimizer


def stepped(*, fused: bool, steps: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """A parameter at the start and after some steps on drawn gradients."""
    torch.manual_seed(0)
    model = nn.Linear(64, 64)
    start = model.weight.detach().clone()
    made = make_optimizer(model, nn.Module(), Optimisation(total_steps=40, lr=1e-2, warmup_steps=3), fused=fused)
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert {group["fused"] for group in made["optimizer"].param_groups} == {fused}
    return start, model.weight.detach()


def test_it_differs_by_rounding_alone() -> None:
    (start, one), (_, other) = stepped(fused=False), stepped(fused=True)
    assert (one - start).abs().max() > 0.03
    assert (one - other).abs().max() < 2e-6


def test_a_run_on_one_device_takes_it(tiny_tower: Path, demo_folders: tuple[Path, Path]) -> None:
    module = train(a_model(tiny_tower), demo_folders[0], micro=6)
    assert all(group["fused"] for group in module.trainer.optimizers[0].param_groups)


@pytest.mark.parametrize(
    ("strategy", "precision", "clip", "allowed"),
    [
        (False, Precision(), 1.0, True),
        (True, Precision(), None, False),
        (False, MixedPrecision("bf16-mixed", "cpu"), None, True),
        (False, MixedPrecision("bf16-mixed", "cpu"), 1.0, False),
        (False, MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu")), None, False),
    ],
)
def test_where_it_may_be_used(strategy: bool, precision: Precision, clip: float | None, allowed: bool) -> None:
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(handles_gradient_accumulation=strategy),
        precision_plugin=precision,
        gradient_clip_val=clip,
    )
    assert can_fuse(trainer, nn.Linear(2, 2)) is allowed
    assert can_fuse(None, nn.Linear(2, 2)) is False
