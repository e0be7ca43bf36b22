"""Weighted sources: names, mistakes, and the batches that come of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.images import ImageTransform
from rewardkit.data.source_weights import weighted
from rewardkit.data.sources import Source
from rewardkit.errors import CheckpointError, UserError

SOURCES = [Source("shards/hpd"), Source("https://host/data/pick"), Source("/else/hpd"), Source("/x", name="embedded")]


def test_sources_are_named_by_folder_name_or_path() -> None:
    weights = {"shards/hpd": 2, "pick": 0.5, "/else/hpd": 1, "embedded": 3}
    assert [source.weight for source in weighted(SOURCES, weights)] == [2, 0.5, 1, 3]
    assert [source.weight for source in weighted(SOURCES, {})] == [None] * 4


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"hpd": 1}, "could be shards/hpd, /else/hpd"),
        ({"pik": 1}, r"no source of data\.train.*Did you mean 'pick'"),
        ({"pick": 1, "https://host/data/pick": 2}, "name each source once"),
        ({"pick": 1}, "give hpd, hpd, embedded a weight too"),
        ({"pick": 0}, "above 0"),
        ({"pick": float("nan")}, "above 0"),
        ({"pick": float("inf")}, "above 0"),
    ],
)
def test_mistakes_in_weights(weights: dict[str, float], told: str) -> None:
    with pytest.raises(UserError, match=told):
        weighted(SOURCES, weights)


@pytest.fixture
def made(make_shards: Callable[..., Path], group_of: Callable[..., Any], tokenizer: Any) -> Callable[..., Any]:
    folders = [
        str(make_shards("a", [group_of(n) for n in range(23)])),
        str(make_shards("b", [group_of(n, start=100) for n in range(6)])),
    ]

    def make(weights: tuple[float | None, ...] = (3, 1), **options: Any) -> PreferenceData:
        return PreferenceData(
            train=[Source(folder, weight=weight) for folder, weight in zip(folders, weights, strict=True)],
            val=[],
            transform=ImageTransform(8),
            tokenizer=tokenizer,
            dimensions=["overall", "aesthetic"],
            **{"batch_groups": 8, "epoch_groups": 20, "seed": 4, **options},
        )

    return make


def keys_of(data: PreferenceData, epochs: int = 1) -> list[list[str]]:
    steps = []
    for _ in range(epochs):
        for batch in data.train_dataloader():
            steps.append(list(batch.keys))
            data.steps_done += 1
    return steps


def test_an_epoch_of_weighted_sources(made: Callable[..., Any]) -> None:
    data = made()
    assert len(data.train_dataloader()) == 2  # 20 groups are two whole steps of 8
    steps = keys_of(data, epochs=10)
    assert len(steps) == 20
    for step in steps:
        assert sum(key >= "g00100" for key in step) == 2  # a quarter of every step
    read = [key for step in steps for key in step]
    assert {read.count(f"g{n:05d}") for n in range(23)} == {5, 6}  # 120 turns of 23 groups
    assert {read.count(f"g{n:05d}") for n in range(100, 106)} == {6, 7}  # 40 turns of 6 groups


def test_the_order_knows_neither_ranks_nor_interruptions_nor_workers(made: Callable[..., Any]) -> None:
    whole = keys_of(made(), epochs=3)
    resumed = made()
    resumed.load_state_dict({**made().state_dict(), "steps": 3, "epoch": 1})
    assert keys_of(resumed, epochs=2) == whole[3:]
    assert keys_of(made(workers=2), epochs=1) == whole[:2]
    parts = [batch.keys for batch in made(micro_groups=4).train_dataloader()]
    assert [sorted(a + b) for a, b in zip(parts[::2], parts[1::2], strict=True)] == [sorted(step) for step in whole[:2]]


def test_a_group_that_comes_twice_in_a_step_counts_twice(made: Callable[..., Any]) -> None:
    data = made((1, 1000), batch_groups=16, epoch_groups=16)  # 16 turns of 6 groups
    (batch,) = data.train_dataloader()
    assert len(set(batch.keys)) <= 7 < len(batch.keys)
    for dimension in (0, 1):
        total = batch.weight[batch.dimension == dimension].sum()
        torch.testing.assert_close(total, batch.denominators.comparisons[dimension].float())


def test_weighted_pairs_draw_comparisons(made: Callable[..., Any]) -> None:
    data = made((1, 1), pairing="pairs", epoch_groups=40)
    keys = [key for step in keys_of(data, epochs=5) for key in step]
    assert len(keys) == 200 and abs(sum(key >= "g00100" for key in keys) - 100) <= 1


@pytest.mark.parametrize(
    ("weights", "options", "told"),
    [
        ((3, 1), {"epoch_groups": None}, r"data\.epoch_groups=29"),
        ((None, None), {}, r"data\.weights too"),
        ((3, None), {}, "give every source one"),
        ((3, 1), {"epoch_groups": 5}, "fewer than one step"),
    ],
)
def test_options_that_do_not_go_together(made: Callable[..., Any], weights: Any, options: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        made(weights, **options)


def test_a_checkpoint_of_other_weights_is_refused(made: Callable[..., Any]) -> None:
    state = {**made().state_dict(), "steps": 3}
    for other in (made((2, 1)), made(epoch_groups=24), made((None, None), epoch_groups=None)):
        with pytest.raises(CheckpointError, match=r"data\.(weights|epoch_groups)"):
            other.load_state_dict(state)
    assert "weights" not in made((None, None), epoch_groups=None).state_dict()
