"""Which groups each micro-batch holds, decided in the main process from the index.

Workers hold no state, so their number changes nothing; nor does an interruption, since every position follows from the
optimiser steps that were done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.mixture import LabelCounts, Mixture
from rewardkit.data.order import Schedule, asked_dimensions, bucketed, epoch_order, evaluation_slices, sides
from rewardkit.data.question_counts import AnsweredQuestions
from rewardkit.data.source_schedule import weighted_order


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one micro-batch is to hold.

    Attributes:
        positions: int64 ``[G]``, groups; -1 is an empty place.
        counts: Labels of the whole optimiser step.
        numbers: int32 ``[G]``, with ``pairing="pairs"``: which comparison of each group.
        swapped: bool ``[G]``, likewise: whether its second candidate is shown first.
        epoch: Of the training, from 0; None in an evaluation, which is never augmented.
        asked: bool ``[G, D]``, the model's dimensions whose labels each group keeps, for ``data.question_sampling``;
            None: all.
    """

    positions: NDArray[np.int64]
    counts: LabelCounts
    numbers: NDArray[np.int32] | None = None
    swapped: NDArray[np.bool_] | None = None
    epoch: int | None = None
    asked: NDArray[np.bool_] | None = None


class TrainBatches:
    """Micro-batches of one rank for one epoch after the other; a batch sampler for ``DataLoader``.

    Each ``iter`` begins where ``steps_done`` says and goes to the end of that epoch; the length is always a whole
    epoch's, as Lightning expects of a loader that resumes in the middle of one.

    Args:
        mixture: The training data.
        schedule: Steps, micro-batches and ranks.
        rank: This process.
        seed: Of the order.
        pairing: ``grouped``: units are groups; ``pairs``: units are comparisons.
        captions: Whether captions count among the labels.
        steps_done: Optimiser steps done since the first epoch.
        questions: Counts answered questions among the labels; None for a model that asks none.
        sampling: Model dimension to the share of the groups that are asked about it in an epoch; None: all about all.
        bucket_lengths: float ``[n]``, by which the groups of a step are alike (``order.bucketed``); None: as they come.
    """

    def __init__(
        self,
        mixture: Mixture,
        schedule: Schedule,
        *,
        rank: int,
        seed: int,
        pairing: str,
        captions: bool,
        steps_done: Callable[[], int],
        questions: AnsweredQuestions | None = None,
        sampling: Mapping[str, float] | None = None,
        bucket_lengths: NDArray[np.float64] | None = None,
    ) -> None:
        self._mixture = mixture
        self._schedule = schedule
        self._rank = rank
        self._seed = seed
        self._captions = captions
        self._steps_done = steps_done
        self._questions = questions
        self._shares = None if not sampling else np.array([sampling.get(name, 1.0) for name in mixture.dimensions])
        self._units = mixture.units() if pairing == "pairs" else None
        shard = mixture.shard
        self._shard = shard if self._units is None else shard[self._units.position]
        self._starts = mixture.starts
        if self._units is not None:
            self._starts = np.searchsorted(self._units.position, mixture.starts)
        self._lengths = bucket_lengths
        if bucket_lengths is not None and self._units is not None:
            self._lengths = bucket_lengths[self._units.position]

    def __len__(self) -> int:
        return self._schedule.micro_batches

    def __iter__(self) -> Iterator[MicroBatch]:
        return self._from(*divmod(self._steps_done(), self._schedule.steps_per_epoch))

    def _from(self, epoch: int, first_step: int) -> Iterator[MicroBatch]:
        order = self._order(epoch)
        if self._lengths is not None:
            order = bucketed(order, self._lengths, batch=self._schedule.batch_groups, seed=self._seed, epoch=epoch)
        swapped = None if self._units is None else sides(len(self._shard), seed=self._seed, epoch=epoch)
        for step in range(first_step, self._schedule.steps_per_epoch):
            counts = self._count(order[self._schedule.step_slice(step)], epoch)
            for micro in range(self._schedule.accumulation):
                chosen = order[self._schedule.micro_slice(step, micro, self._rank)]
                if self._units is None or swapped is None:
                    yield MicroBatch(chosen, counts, epoch=epoch, asked=self._asked(chosen, epoch))
                else:
                    units = self._units
                    yield MicroBatch(units.position[chosen], counts, units.number[chosen], swapped[chosen], epoch)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """The sequence of an epoch's units."""
        if self._mixture.weights is None:
            return epoch_order(self._shard, seed=self._seed, epoch=epoch)
        # Whole steps only, so that no turn of a source falls into the rest of an epoch that is not used.
        used = self._schedule.steps_per_epoch * self._schedule.batch_groups
        weights = self._mixture.weights
        return weighted_order(self._shard, self._starts, weights, seed=self._seed, epoch=epoch, count=used)

    def _asked(self, positions: NDArray[np.int64], epoch: int) -> NDArray[np.bool_] | None:
        """The dimensions that each group is asked about in this epoch; None: all."""
        if self._shares is None:
            return None
        return asked_dimensions(positions, self._shares, seed=self._seed, epoch=epoch)

    def _count(self, chosen: NDArray[np.int64], epoch: int) -> LabelCounts:
        if self._units is None:
            asked = self._asked(chosen, epoch)
            counts = self._mixture.count(chosen, captions=self._captions, asked=asked)
            if self._questions is not None:
                counts.options = self._questions.count(chosen, asked)
            return counts
        return self._mixture.count_units(self._units, chosen, captions=self._captions)


class EvaluationBatches:
    """Micro-batches of one rank for an evaluation: every group exactly once over all ranks, in index order.

    The denominators are those of the whole data set, so that the losses of all batches add up to its mean loss.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        micro_groups: int,
        rank: int,
        ranks: int,
        captions: bool,
        questions: AnsweredQuestions | None = None,
    ) -> None:
        self._slices = evaluation_slices(len(mixture), micro_groups=micro_groups, rank=rank, ranks=ranks)
        everything = np.arange(len(mixture))
        self._counts = mixture.count(everything, captions=captions)
        if questions is not None:
            self._counts.options = questions.count(everything)

    def __len__(self) -> int:
        return len(self._slices)

    def __iter__(self) -> Iterator[MicroBatch]:
        for places in self._slices:
            positions = np.arange(places.start, places.stop)
            yield MicroBatch(positions if len(positions) else np.array([-1]), self._counts)
