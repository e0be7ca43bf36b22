"""Every rank has rank 0's running statistics, so that all of them validate the same model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from two_ranks import TwoRanks

from rewardkit.engine.running_statistics import SharedRunningStatistics, running_statistics


def normed() -> nn.Module:
    """A batch norm that follows the data, one that is frozen, and one without statistics."""
    frozen = nn.BatchNorm1d(3).eval()
    return nn.ModuleList([nn.BatchNorm2d(2), frozen, nn.BatchNorm1d(2, track_running_stats=False), nn.LayerNorm(2)])


def test_what_follows_the_data_is_found() -> None:
    module = normed()
    found = running_statistics(module)
    assert [tuple(buffer.shape) for buffer in found] == [(2,), (2,), ()]
    assert running_statistics(module.eval()) == []


def after_a_step(rank: int) -> list[list[float]]:
    """The statistics of a rank whose batch has its own number as values: after a micro-batch, and after a step."""
    module = normed()
    trainer = SimpleNamespace(world_size=2, accumulate_grad_batches=2)
    shared = SharedRunningStatistics()
    shared.on_train_start(trainer, module)  # type: ignore[arg-type]
    told = []
    for index in range(2):
        module[0](torch.full((4, 2, 1, 1), 1.0 + rank))
        shared.on_train_batch_end(trainer, module, None, None, index)  # type: ignore[arg-type]
        told.append(module[0].running_mean.tolist())
    return told


@pytest.mark.slow
@pytest.mark.xdist_group("two_ranks")
def test_two_ranks_have_those_of_the_first(two_ranks: TwoRanks) -> None:
    first, second = two_ranks.call(after_a_step)
    assert first == [pytest.approx([0.1, 0.1]), pytest.approx([0.19, 0.19])]
    assert second == [pytest.approx([0.2, 0.2]), pytest.approx([0.19, 0.19])]
