"""The order of groups: pure functions of (seed, epoch, index), and the schedule that cuts it into steps and ranks.

Nothing here knows of workers, ranks' speeds or interruptions, so any part of any epoch can be computed at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardkit.errors import UserError

WINDOW_SHARDS = 64
"""Shards whose samples are mixed with each other; enough to mix, few enough to keep a reader's blocks near."""

BUCKET_STEPS = 32
"""Optimiser steps whose groups are exchanged with each other by length."""

_SHARDS, _SAMPLES, _SIDES, _STEPS, _ASKED = 1, 2, 3, 4, 5


def noise(seed: int, epoch: int, purpose: int, count: int) -> NDArray[np.uint64]:
    """Independent 64-bit numbers for 0 to ``count - 1``; see ``noise_at``."""
    return _noise(np.arange(1, count + 1, dtype=np.uint64), (seed, epoch, purpose))


def noise_at(places: NDArray[np.integer], *numbers: int) -> NDArray[np.uint64]:
    """Independent 64-bit numbers, one for each place from 0 and list of numbers (seed, epoch, purpose, …).

    SplitMix64's output function (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators") over a
    counter whose start depends on the numbers, each mixed in before the next so that no sum of them coincides. Written
    out here because numpy keeps no promise that its own streams stay the same.
    """
    return _noise(places.astype(np.uint64) + np.uint64(1), numbers)


def _noise(counter: NDArray[np.uint64], numbers: Sequence[int]) -> NDArray[np.uint64]:
    """``noise_at`` for a counter from 1, which it overwrites: an epoch of many groups should take little memory."""
    with np.errstate(over="ignore"):
        start = np.zeros((), np.uint64)
        for number in numbers:
            start = _mix(start + np.uint64(number % 2**64) + np.uint64(0x9E3779B97F4A7C15))
        counter *= np.uint64(0x9E3779B97F4A7C15)
        counter += start
        return _mix(counter)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function, in place where ``z`` is an array."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return np.asarray(z, dtype=np.uint64)


def epoch_order(
    shard: NDArray[np.integer], *, seed: int, epoch: int, window_shards: int = WINDOW_SHARDS
) -> NDArray[np.int64]:
    """The sequence of one epoch: shards in random order, samples mixed within windows of consecutive shards.

    Args:
        shard: ``[n]``, the shard of each unit (group or comparison), over all sources, numbered from 0.
        seed: The run's seed.
        epoch: From 0.
        window_shards: Shards in a window; 1 mixes within shards only.

    Returns:
        int64 ``[n]``, a permutation of 0 to n - 1.
    """
    shards = int(shard.max()) + 1 if len(shard) else 0
    rank = np.empty(shards, np.int64)
    rank[np.argsort(noise(seed, epoch, _SHARDS, shards), kind="stable")] = np.arange(shards)
    window = rank[shard] // window_shards
    return np.lexsort((noise(seed, epoch, _SAMPLES, len(shard)), window)).astype(np.int64)


def sides(count: int, *, seed: int, epoch: int) -> NDArray[np.bool_]:
    """For ``pairing="pairs"``: whether each comparison is shown with its candidates swapped."""
    return (noise(seed, epoch, _SIDES, count) >> np.uint64(63)).astype(bool)


def asked_dimensions(
    positions: NDArray[np.integer], shares: NDArray[np.float64], *, seed: int, epoch: int
) -> NDArray[np.bool_]:
    """For ``data.question_sampling``: the dimensions that each group is asked about in an epoch.

    Args:
        positions: ``[G]``.
        shares: ``[D]``, the share of groups that are asked about each dimension, above 0, at most 1.
        seed: The run's seed.
        epoch: From 0.

    Returns:
        bool ``[G, D]``.
    """
    drawn = [noise_at(positions, seed, epoch, _ASKED, d) >> np.uint64(11) for d in range(len(shares))]
    return np.stack(drawn, axis=-1) * 2.0**-53 < shares


def bucketed(
    order: NDArray[np.int64],
    lengths: NDArray[np.float64],
    *,
    batch: int,
    seed: int,
    epoch: int,
    window_steps: int = BUCKET_STEPS,
) -> NDArray[np.int64]:
    """An epoch's sequence with units of similar length in each step, so that little is padded.

    Within each window of consecutive steps the units are sorted by length, cut into steps again, and the steps put in
    random order. Each window keeps its units, and what is left behind the last whole step stays where it was, so each
    unit is read as often as without.

    Args:
        order: ``[n]``, from ``epoch_order``.
        lengths: ``[n]``, of each unit.
        batch: Units in a step.
        seed: The run's seed.
        epoch: From 0.
        window_steps: Steps in a window.

    Returns:
        int64 ``[n]``, a permutation of ``order``.
    """
    steps = len(order) // batch
    window = np.arange(steps * batch) // (batch * window_steps)
    cut = order[: steps * batch]
    by_length = cut[np.lexsort((lengths[cut], window))].reshape(steps, batch)
    at = np.lexsort((noise(seed, epoch, _STEPS, steps), np.arange(steps) // window_steps))
    return np.concatenate([by_length[at].ravel(), order[steps * batch :]])


@dataclass(frozen=True, slots=True)
class Schedule:
    """How an epoch's sequence is cut into optimiser steps, micro-batches and ranks.

    A unit is a group, or with ``pairing="pairs"`` a comparison. Step b of an epoch has units ``[b * batch_groups, (b +
    1) * batch_groups)`` of the sequence, whatever the number of ranks; each rank takes a contiguous part of them. What
    is left at the end of an epoch is less than one step and is not used in that epoch.

    Attributes:
        units: In an epoch's sequence.
        batch_groups: Units in one optimiser step, over all ranks.
        micro_groups: Units in one forward of one rank.
        ranks: Processes that train.
    """

    units: int
    batch_groups: int
    micro_groups: int
    ranks: int = 1

    def __post_init__(self) -> None:
        batch, share = self.batch_groups, self.micro_groups * self.ranks
        if min(batch, self.micro_groups, self.ranks) < 1:
            raise UserError(
                f"data.batch_groups={batch}, data.micro_groups={self.micro_groups} on {self.ranks} ranks: "
                "each must be at least 1"
            )
        if batch % share:
            near = sorted({max(1, batch // share) * share, (batch // share + 1) * share})
            fitting = [m for m in range(1, batch // self.ranks + 1) if batch % (m * self.ranks) == 0]
            micro = (
                f", or data.micro_groups={min(fitting, key=lambda m: abs(m - self.micro_groups))}" if fitting else ""
            )
            raise UserError(
                f"data.batch_groups={batch} cannot be cut into micro-batches of data.micro_groups={self.micro_groups} "
                f"on {self.ranks} ranks ({share} at a time); use data.batch_groups={' or '.join(map(str, near))}{micro}"
            )
        if self.units < batch:
            raise UserError(
                f"the training data have {self.units} groups, fewer than one step of data.batch_groups={batch}; "
                f"use data.batch_groups={max(1, self.units // share * share) if self.units >= share else self.units} "
                "or less"
            )

    @property
    def accumulation(self) -> int:
        """Micro-batches of a rank in one optimiser step."""
        return self.batch_groups // (self.micro_groups * self.ranks)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch."""
        return self.units // self.batch_groups

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a rank in one epoch."""
        return self.steps_per_epoch * self.accumulation

    def step_slice(self, step: int) -> slice:
        """The places of an optimiser step of an epoch in the epoch's sequence."""
        return slice(step * self.batch_groups, (step + 1) * self.batch_groups)

    def micro_slice(self, step: int, micro: int, rank: int) -> slice:
        """The places of one micro-batch of one rank in the epoch's sequence."""
        start = step * self.batch_groups + rank * (self.batch_groups // self.ranks) + micro * self.micro_groups
        return slice(start, start + self.micro_groups)


def evaluation_slices(groups: int, *, micro_groups: int, rank: int = 0, ranks: int = 1) -> list[slice]:
    """The micro-batches of one rank in an evaluation: every group exactly once over all ranks, in index order.

    Ranks take contiguous parts whose sizes differ by one at most, in equally many micro-batches (some may be empty),
    so that ranks stay in step.
    """
    begin, end = groups * rank // ranks, groups * (rank + 1) // ranks
    largest = -(-groups // ranks)
    batches = -(-largest // micro_groups)
    if ranks == 1:
        return [slice(at, min(at + micro_groups, end)) for at in range(begin, end, micro_groups)]
    share = end - begin
    return [slice(begin + share * b // batches, begin + share * (b + 1) // batches) for b in range(batches)]
