"""Throughput counts comparisons and images over a window and tells waiting from working."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from rewardkit.callbacks import throughput
from rewardkit.callbacks.throughput import Throughput


def test_rates_and_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.5, 2.0, 2.0, 4.0])  # start; wait .5, work 1.5; wait 0, work 2
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    callback = Throughput(window=2)
    trainer = SimpleNamespace(accumulate_grad_batches=2)
    module = SimpleNamespace(step=SimpleNamespace(metrics={}))
    batch = SimpleNamespace(first=torch.zeros(6), pixels=torch.zeros(4, 3, 1, 1))
    callback.on_train_start(trainer, module)  # type: ignore[arg-type]
    for index in range(2):
        callback.on_train_batch_start(trainer, module, batch, index)  # type: ignore[arg-type]
        callback.on_train_batch_end(trainer, module, None, batch, index)  # type: ignore[arg-type]
        assert bool(module.step.metrics) == (index == 1)
    figures = module.step.metrics
    assert figures["throughput/comparisons_per_s"] == pytest.approx(12 / 4.0)
    assert figures["throughput/images_per_s"] == pytest.approx(8 / 4.0)
    assert figures["throughput/data_wait_s"] == pytest.approx(0.5)
    assert figures["throughput/step_s"] == pytest.approx(4.0)
    assert figures["throughput/peak_memory_gb"] > 0.01
