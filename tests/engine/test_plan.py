"""What a run needs, by the strategies' arithmetic: each number below follows from a line of docs/scaling.md."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rewardkit.engine.hardware import Hardware
from rewardkit.engine.plan import ModelSize, plan_run, size_of

SIZE = ModelSize(
    trained=600,
    weight_bytes=4000,
    trained_bytes=2400,
    layer_bytes=3200,
    largest_layer_bytes=400,
    weight_element=4.0,
    activations=5000,
)
"""A model of 1 000 float32 weights, 600 of them trained, 800 in eight layers."""

MB = 1e-6
"""Bytes in ``trainer.bucket_mb``, for buckets that can be told from the rest."""


def hardware(strategy: str, ranks: int = 4, **more: object) -> Hardware:
    return Hardware(ranks, 1, strategy, bucket_mb=40 * MB, **more)  # type: ignore[arg-type]


def test_a_single_rank_holds_weights_gradients_and_two_moments() -> None:
    plan = plan_run(SIZE, hardware("auto", 1), accumulation=3)
    assert (plan.device.weights, plan.device.gradients, plan.device.optimiser) == (4000, 2400, 4800)
    assert plan.device.together == 4000 + 3 * 2400 + 5000
    assert (plan.sent, plan.host, plan.checkpoint) == (0, 0, 4000 + 4800)


def test_ddp_has_buckets_of_all_gradients_and_sends_them_twice() -> None:
    plan = plan_run(SIZE, hardware("ddp"), accumulation=3)
    assert plan.device.buffers == 2400
    assert plan.sent == 2 * 3 / 4 * 2400
    assert plan_run(SIZE, hardware("ddp", communication="bf16"), accumulation=3).sent == 3 / 4 * 2400


@pytest.mark.parametrize(
    ("strategy", "weights", "gradients", "optimiser", "buffers", "sent"),
    [
        # The optimiser: ZeRO's own copy, two moments and the copy's gradient, a quarter of each.
        ("zero1", 4000, 2400, 2400, 80, 3 / 4 * (2400 + 2400)),
        ("zero2", 4000, 600, 2400, 80, 3 / 4 * (3 * 2400 + 2400)),
        ("zero3", 1000 + 4000, 600, 2400, 40, 3 / 4 * 3 * (2 * 4000 + 2400)),
        # Two layers, and the 200 weights that are in none.
        ("fsdp", 1000 + 800 + 800, 600, 1200, 800, 3 / 4 * 3 * (2 * 3200 + 800 + 2400)),
    ],
)
def test_what_a_strategy_shares(
    strategy: str, weights: float, gradients: float, optimiser: float, buffers: float, sent: float
) -> None:
    plan = plan_run(SIZE, hardware(strategy), accumulation=3)
    device = plan.device
    assert (device.weights, device.gradients, device.optimiser) == (weights, gradients, optimiser)
    assert device.buffers == pytest.approx(buffers)
    assert plan.sent == pytest.approx(sent)


def test_what_is_offloaded_leaves_the_device() -> None:
    kept = plan_run(SIZE, hardware("zero3"), accumulation=1)
    offloaded = plan_run(
        SIZE, hardware("zero3", offload_optimizer="cpu", offload_parameters="nvme", nvme_path="x"), accumulation=1
    )
    assert offloaded.device.optimiser == 0
    assert offloaded.host == 2400 + 1000
    assert offloaded.device.together + offloaded.host == pytest.approx(kept.device.together)


def test_zero3_gathers_no_more_than_its_limit() -> None:
    huge = ModelSize(10**7, 68 * 10**9, 4 * 10**7, 66 * 10**9, 10**9, 2.0, 0)
    plan = plan_run(huge, hardware("zero3", 64), accumulation=1)
    assert plan.device.weights == pytest.approx(68e9 / 64 + 2e9)


def test_a_given_configuration_sets_its_own_limits() -> None:
    given = {"zero_optimization": {"reduce_bucket_size": 9, "stage3_max_live_parameters": 100}}
    device = plan_run(SIZE, hardware("zero3", deepspeed=given), accumulation=1).device
    assert (device.buffers, device.weights) == (4 * 9, 1000 + 4 * 100)
    silent = {"zero_optimization": {"reduce_bucket_size": "auto"}}
    assert plan_run(SIZE, hardware("zero3", deepspeed=silent), accumulation=1).device.buffers == 2e9


def test_fsdp_sends_layers_in_what_they_compute_in() -> None:
    full = plan_run(SIZE, hardware("fsdp"), accumulation=1)
    half = plan_run(SIZE, hardware("fsdp", precision="bf16"), accumulation=1)
    assert full.sent - half.sent == pytest.approx(3 / 4 * 3200)


def test_an_average_and_frozen_weights_count_in_checkpoints() -> None:
    plain = plan_run(SIZE, hardware("zero2"), accumulation=1)
    assert plain.checkpoint == 4000 + 3 * 2400
    more = plan_run(SIZE, hardware("zero2"), accumulation=1, average=True, frozen_kept=False)
    assert more.checkpoint == 2400 + 3 * 2400 + 2400
    assert more.device.average == 2400
    assert plan_run(SIZE, hardware("zero3"), accumulation=1, average=True).device.average == 600


def test_a_model_is_counted_once_each() -> None:
    model = nn.Module()
    model.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(3))
    model.first = nn.Linear(4, 4, bias=False, dtype=torch.bfloat16)
    model.last = model.first
    model.layers[2].requires_grad_(False)
    size = size_of(model, 7)
    assert (size.weight_bytes, size.trained, size.trained_bytes) == (3 * 64 + 32, 3 * 16, 2 * 64 + 32)
    assert (size.layer_bytes, size.largest_layer_bytes, size.activations) == (192, 64, 7)
    assert size.weight_element == 224 / 64
