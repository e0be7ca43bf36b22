"""Whose turn it is among weighted sources, and the order that follows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.data.order import epoch_order
from rewardkit.data.source_schedule import turns, weighted_order

WEIGHTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=6)


def test_turns_by_hand():
    # Shares 1/2, 1/3, 1/6: times (k + 1/2) / share are 1, 3, 5 …; 1.5, 4.5 …; 3, 9 …; equals go to the first source.
    source, number = turns([3, 2, 1], first=0, count=6)
    assert source.tolist() == [0, 1, 0, 2, 1, 0]
    assert number.tolist() == [0, 0, 1, 0, 1, 2]


@given(WEIGHTS, st.integers(0, 300), st.integers(1, 50))
def test_a_stretch_is_the_same_alone_and_as_part_of_the_whole(weights, first, count):
    whole = turns(weights, first=0, count=first + count)
    part = turns(weights, first=first, count=count)
    for all_of_it, some in zip(whole, part, strict=True):
        assert all_of_it[first:].tolist() == some.tolist()


@given(WEIGHTS, st.integers(1, 400))
def test_each_source_gets_its_share_after_any_number_of_turns(weights, count):
    source, number = turns(weights, first=0, count=count)
    shares = np.array(weights) / sum(weights)
    for each, share in enumerate(shares):
        mine = source == each
        assert number[mine].tolist() == list(range(mine.sum()))  # no turn is left out or taken twice
        off = np.abs(np.cumsum(mine) - share * np.arange(1, count + 1)).max()
        assert off <= 0.5 + len(shares) * share / 2 + 1e-6


@pytest.mark.parametrize("first", [10**6, 10**9, 10**12])
def test_late_in_a_training_shares_are_as_exact(first):
    weights = [0.7, 0.1, 0.2]
    source, number = turns(weights, first=first, count=1000)
    assert len(source) == 1000
    for each, weight in enumerate(weights):
        assert abs((source == each).sum() - 1000 * weight) <= 3
        assert abs(number[source == each][0] - first * weight) <= 3


SHARD = np.repeat([0, 1, 2, 3, 4], [3, 4, 1, 6, 2])
STARTS = np.array([0, 7, 16])


def test_every_source_goes_through_its_own_epochs():
    order = np.concatenate(
        [weighted_order(SHARD, STARTS, [1, 3], seed=5, epoch=epoch, count=12) for epoch in range(12)]
    )
    first, second = order[order < 7], order[order >= 7]
    assert (len(first), len(second)) == (36, 108)
    for units, own in ((range(7), first), (range(7, 16), second)):
        size = len(units)
        rounds = [own[at : at + size].tolist() for at in range(0, len(own) - size + 1, size)]
        assert all(sorted(one) == list(units) for one in rounds)
        assert len({tuple(one) for one in rounds}) > 1


def test_golden_weighted_order():
    assert weighted_order(SHARD, STARTS, [1, 3], seed=5, epoch=1, count=8).tolist() == GOLDEN
    assert weighted_order(SHARD, STARTS, [2, 6], seed=5, epoch=1, count=8).tolist() == GOLDEN
    assert weighted_order(SHARD, STARTS, [1, 3], seed=6, epoch=1, count=8).tolist() != GOLDEN


GOLDEN = [12, 5, 7, 11, 13, 0, 12, 7]


def test_sources_of_one_size_are_not_read_in_step():
    order = weighted_order(np.repeat([0, 1], 50), np.array([0, 50, 100]), [1, 1], seed=0, epoch=0, count=100)
    assert order[order < 50].tolist() != (order[order >= 50] - 50).tolist()


def test_one_source_keeps_windows_of_its_own_order():
    # A single weighted source follows epoch_order; only its seed is its own.
    order = weighted_order(np.zeros(20, int), np.array([0, 20]), [1.0], seed=0, epoch=0, count=20)
    seeds = {tuple(epoch_order(np.zeros(20, int), seed=s, epoch=0)) for s in range(3)}
    assert sorted(order.tolist()) == list(range(20)) and tuple(order) not in seeds
