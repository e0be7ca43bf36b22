"""The order of groups and the schedule that cuts it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.data.order import Schedule, epoch_order, evaluation_slices, noise, sides
from rewardkit.errors import UserError

SHARDS = np.repeat(np.arange(5), [3, 4, 1, 6, 2])


def test_golden_order():
    assert epoch_order(SHARDS, seed=0, epoch=0).tolist() == ORDER_0_0
    assert epoch_order(SHARDS, seed=3, epoch=1, window_shards=2).tolist() == ORDER_3_1


ORDER_0_0 = [10, 0, 11, 4, 6, 13, 9, 2, 12, 3, 5, 14, 15, 1, 8, 7]
ORDER_3_1 = [14, 13, 12, 8, 15, 10, 9, 11, 4, 5, 3, 7, 6, 0, 2, 1]


def test_noise_is_splitmix64():
    # The first outputs of SplitMix64 from state s are those of its counter: equal to a plain-integer version.
    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    step = 0x9E3779B97F4A7C15
    state = 0
    for number in (12, 7, 2):
        state = mix((state + number + step) % 2**64)
    assert noise(12, 7, 2, 3).tolist() == [mix((state + step * n) % 2**64) for n in (1, 2, 3)]
    assert noise(-1, 0, 0, 2).tolist() != noise(1, 0, 0, 2).tolist()


def test_seed_and_epoch_never_stand_for_each_other():
    orders = {tuple(epoch_order(SHARDS, seed=s, epoch=e)) for s in range(6) for e in range(6)}
    assert len(orders) == 36


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 5), st.integers(0, 3), st.integers(1, 4))
def test_an_epoch_is_a_permutation_mixed_within_windows(counts, seed, epoch, window):
    shard = np.repeat(np.arange(len(counts)), counts)
    order = epoch_order(shard, seed=seed, epoch=epoch, window_shards=window)
    assert sorted(order.tolist()) == list(range(len(shard)))
    # Shards of one window lie together: each shard's first and last place span at most a window's samples.
    for s in set(shard.tolist()):
        places = np.flatnonzero(shard[order] == s)
        between = set(shard[order][places[0] : places[-1] + 1].tolist())
        assert len(between) <= window


def test_every_place_is_about_equally_likely():
    firsts = np.bincount([epoch_order(np.zeros(10, int), seed=s, epoch=0)[0] for s in range(3000)], minlength=10)
    assert abs(firsts - 300).max() < 75  # 4.5 standard deviations
    flipped = sides(10000, seed=1, epoch=0).mean()
    assert abs(flipped - 0.5) < 0.02


def cut(schedule: Schedule, ranks: int) -> list[list[int]]:
    """The units of each optimiser step, rank after rank."""
    sequence = np.arange(1000, 1000 + schedule.units)
    return [
        [
            int(unit)
            for rank in range(ranks)
            for micro in range(schedule.accumulation)
            for unit in sequence[schedule.micro_slice(step, micro, rank)]
        ]
        for step in range(schedule.steps_per_epoch)
    ]


def test_steps_are_the_same_on_any_number_of_ranks():
    steps = {ranks: cut(Schedule(101, 16, 2, ranks), ranks) for ranks in (1, 2, 4, 8)}
    assert all(step == steps[1] for step in steps.values())
    assert steps[1] == [list(range(1000 + 16 * b, 1016 + 16 * b)) for b in range(6)]
    assert steps[1][2] == np.arange(1000, 1101)[Schedule(101, 16, 2).step_slice(2)].tolist()


def test_lengths():
    schedule = Schedule(101, 16, 2, 4)
    assert (schedule.accumulation, schedule.steps_per_epoch, schedule.micro_batches) == (2, 6, 12)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((100, 18, 4, 2), ["data.batch_groups=16 or 24", "data.micro_groups=3"]),
        ((100, 7, 2, 1), ["data.batch_groups=6 or 8", "data.micro_groups=1"]),
        ((100, 3, 2, 2), ["data.batch_groups=4"]),
        ((10, 16, 4, 1), ["have 10 groups", "data.batch_groups=8 or less"]),
        ((10, 16, 16, 1), ["data.batch_groups=10 or less"]),
        ((10, 4, 0, 1), ["at least 1"]),
    ],
)
def test_batches_that_do_not_fit_name_what_does(values, words):
    with pytest.raises(UserError) as caught:
        Schedule(*values)
    for word in words:
        assert word in str(caught.value)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 8))
def test_evaluation_takes_every_group_once_and_keeps_ranks_in_step(groups, micro, ranks):
    parts = [evaluation_slices(groups, micro_groups=micro, rank=rank, ranks=ranks) for rank in range(ranks)]
    taken = [n for part in parts for places in part for n in range(places.start, places.stop)]
    assert taken == list(range(groups))
    assert len({len(part) for part in parts}) == 1
    assert max(places.stop - places.start for part in parts for places in part) <= micro
