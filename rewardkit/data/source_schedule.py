"""Weighted sources take turns: position in the training to source and place there, a pure function without memory.

The sequence never ends and knows no epochs; an epoch of the training is a stretch of it (``data.epoch_groups``), and
each source goes through its own epochs at its own pace. Any stretch can be worked out alone, so that nothing has to be
saved to go on from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.order import epoch_order, noise

_SOURCES = 6
"""What numbers from ``noise`` are for; the other purposes stand in ``order.py``."""


def turns(weights: Sequence[float], *, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whose turn it is, from one position on.

    The next turn goes to the source with the smallest ``(k + 1/2) / weight`` after its k turns so far, the first of
    equals: the divisor method of Webster and Sainte-Laguë (1910), which apportions seats in the same way. After any
    number of positions, however large, a source with share w of m sources has had its share of turns to within
    ``1/2 + m w / 2``.

    Args:
        weights: One per source, above 0; only their proportions matter.
        first: Position of the first turn, from 0.
        count: Turns asked for.

    Returns:
        Source of each turn, int64 ``[count]``, and how many turns that source had before it, int64 ``[count]``.
    """
    shares = np.asarray(weights, np.float64) / np.sum(weights)
    sources = len(shares)
    # Source s takes turn k at time (k + 1/2) / share, so that about t turns are taken before time t: the sum over
    # sources of t * share, each rounded, is off by half a turn for each source at most.
    begin = _taken(shares, max(0.0, float(first - sources)))
    end = _taken(shares, float(first + count + sources))
    source = np.repeat(np.arange(sources), end - begin)
    number = np.concatenate([np.arange(a, b) for a, b in zip(begin, end, strict=True)])
    chosen = np.lexsort((source, (number + 0.5) / shares[source]))[first - int(begin.sum()) :][:count]
    return source[chosen], number[chosen]


def _taken(shares: NDArray[np.float64], time: float) -> NDArray[np.int64]:
    """Turns that each source takes before a time; agrees with comparing the times themselves, rounding included."""
    taken = np.maximum(np.rint(shares * time), 0)
    taken -= (taken > 0) & ((taken - 0.5) / shares >= time)
    taken += (taken + 0.5) / shares < time
    return taken.astype(np.int64)


def weighted_order(
    shard: NDArray[np.integer],
    starts: NDArray[np.integer],
    weights: Sequence[float],
    *,
    seed: int,
    epoch: int,
    count: int,
) -> NDArray[np.int64]:
    """The sequence of one epoch of weighted sources; units may come again within it, where a source is small.

    Each source is read in the order of ``epoch_order`` over its own epochs, one after the other without a gap, with a
    seed of its own.

    Args:
        shard: ``[n]``, the shard of each unit (group or comparison), source after source.
        starts: ``[sources + 1]``, where each source's units begin, and the end; no source is empty.
        weights: Of each source.
        seed: The run's seed.
        epoch: From 0.
        count: Units in an epoch.

    Returns:
        int64 ``[count]``, each from 0 to n - 1.
    """
    source, number = turns(weights, first=epoch * count, count=count)
    order = np.empty(count, np.int64)
    for each in range(len(weights)):
        units = np.asarray(shard[starts[each] : starts[each + 1]])
        own_seed = int(noise(seed, each, _SOURCES, 1)[0])
        mine = np.flatnonzero(source == each)
        own_epoch, place = np.divmod(number[mine], len(units))
        for now in np.unique(own_epoch):
            then = own_epoch == now
            local = epoch_order(units - units.min(), seed=own_seed, epoch=int(now))
            order[mine[then]] = local[place[then]] + starts[each]
    return order
