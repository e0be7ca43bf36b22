"""The stream of micro-batches: samplers in the main process say what, workers read, decode and collate.

Which groups a micro-batch has, and the denominators of its optimiser step, are decided in the main process from the
index; workers hold no state, so their number changes nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from rewardkit.data.augment import Augmentation
from rewardkit.data.bad_samples import BadReport, BadSamples
from rewardkit.data.batch import Batch, EvaluatedGroup, Tokenizer
from rewardkit.data.collate import EmptyPlace, LoadedGroup, collate, single_comparison
from rewardkit.data.group import Group
from rewardkit.data.group_labels import LabelSpace, labels_of
from rewardkit.data.images import ImageTransform, decode_image, resize_uint8
from rewardkit.data.memory import GroupMemory, TokenMemory
from rewardkit.data.mixture import LabelCounts, Mixture
from rewardkit.data.order import Schedule, asked_dimensions, bucketed, epoch_order, evaluation_slices, sides
from rewardkit.data.question_counts import AnsweredQuestions
from rewardkit.data.shards import Sample, key_at
from rewardkit.errors import BadSample, RewardkitError

GRACE_SECONDS = 10
"""How long a loader worker goes on after SIGTERM: the main process finishes its step and saves meanwhile."""


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
        self._lengths = bucket_lengths
        if bucket_lengths is not None and self._units is not None:
            self._lengths = bucket_lengths[self._units.position]

    def __len__(self) -> int:
        return self._schedule.micro_batches

    def __iter__(self) -> Iterator[MicroBatch]:
        return self._from(*divmod(self._steps_done(), self._schedule.steps_per_epoch))

    def _from(self, epoch: int, first_step: int) -> Iterator[MicroBatch]:
        order = epoch_order(self._shard, seed=self._seed, epoch=epoch)
        if self._lengths is not None:
            order = bucketed(order, self._lengths, batch=self._schedule.batch_groups, seed=self._seed, epoch=epoch)
        swapped = None if self._units is None else sides(len(order), seed=self._seed, epoch=epoch)
        for step in range(first_step, self._schedule.steps_per_epoch):
            counts = self._count(order[self._schedule.step_slice(step)], epoch)
            for micro in range(self._schedule.accumulation):
                chosen = order[self._schedule.micro_slice(step, micro, self._rank)]
                if self._units is None or swapped is None:
                    yield MicroBatch(chosen, counts, epoch=epoch, asked=self._asked(chosen, epoch))
                else:
                    units = self._units
                    yield MicroBatch(units.position[chosen], counts, units.number[chosen], swapped[chosen], epoch)

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


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that must end the run, on its way from a worker to the main process without a traceback."""

    error: RewardkitError


class GroupDataset(Dataset[Batch]):
    """Reads, decodes and collates the groups of a micro-batch; runs on loader workers.

    Args:
        mixture: The data.
        transform: Of the images.
        tokenizer: The model's.
        space: The model's dimensions.
        evaluation: Whether the records travel along.
        augmentation: Of training pictures; None shows them as they are.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        transform: ImageTransform,
        tokenizer: Tokenizer,
        space: LabelSpace,
        evaluation: bool = False,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._mixture = mixture
        self._transform = transform
        self._tokenizer = TokenMemory(tokenizer)
        self._space = space
        self._evaluation = evaluation
        self._augmentation = augmentation
        self._memory = GroupMemory(images=mixture.candidates, size=transform.size)

    def __getitems__(self, micro: MicroBatch) -> Batch | Failure:
        """The batch of a ``MicroBatch``."""
        self._mixture.expect(int(at) for at in micro.positions if at >= 0 and self._memory.get(int(at)) is None)
        try:
            return collate(
                [self._augmented(micro, self._place(micro, n)) for n in range(len(micro.positions))],
                space=self._space,
                tokenize=self._tokenizer,
                size=self._transform.size,
                counts=micro.counts,
            )
        except RewardkitError as error:
            return Failure(error)

    def _augmented(self, micro: MicroBatch, place: LoadedGroup | EmptyPlace) -> LoadedGroup | EmptyPlace:
        if self._augmentation is None or micro.epoch is None or isinstance(place, EmptyPlace):
            return place
        return replace(
            place,
            pixels=self._augmentation(place.pixels, place.group, epoch=micro.epoch, position=place.position),
        )

    def _place(self, micro: MicroBatch, n: int) -> LoadedGroup | EmptyPlace:
        position = int(micro.positions[n])
        if position < 0:
            return EmptyPlace()
        remembered = self._memory.get(position) if micro.numbers is None else None
        if remembered is not None:
            return remembered
        try:
            sample = self._mixture.sample(position)
            if micro.numbers is None or micro.swapped is None:
                return self._memory.put(self._loaded(position, sample))
            number, swapped = int(micro.numbers[n]), bool(micro.swapped[n])
            group, kept = single_comparison(sample.group, number, swapped=swapped)
            return self._loaded(position, Sample(sample.key, group, [sample.images[k] for k in kept]))
        except BadSample as error:
            path = self._mixture.path(position)
            key = key_at(path, self._mixture.offset(position))
            return EmptyPlace(position, BadReport(str(path.parent), path.name, key, error.reason))

    def _loaded(self, position: int, sample: Sample) -> LoadedGroup:
        pixels = []
        for number, data in enumerate(sample.images):
            try:
                image = decode_image(data, decode=self._transform.decode, size=self._transform.size)
            except BadSample as error:
                raise BadSample(f"{sample.group.candidates[number].file}: {error.reason}") from error
            pixels.append(resize_uint8(image, self._transform))
        evaluated = None
        if self._evaluation:
            evaluated = evaluated_group(self._mixture, position, sample.key, sample.group)
        labels = labels_of(sample.group, self._space)
        return LoadedGroup(position, sample.key, sample.group, torch.stack(pixels), evaluated, labels)


def evaluated_group(mixture: Mixture, position: int, key: str, group: Group) -> EvaluatedGroup:
    """What an evaluation needs of a group that was read."""
    from rewardkit.data.predictions import ImagePlace

    index, local = mixture.locate(position)
    place = ImagePlace(index.path(local).name, int(index.offset[local]), int(index.length[local]))
    return EvaluatedGroup(group, position, key, place)


class BatchLoader(DataLoader[Batch]):
    """A ``DataLoader`` of micro-batches that hands bad samples to their collector and raises workers' failures.

    Args:
        dataset: Makes batches.
        batches: Says which.
        bad: Collects bad samples in this process.
        workers: Worker processes; 0 reads in this one.
        keep_workers: Whether they live on between epochs.
        pin_memory: Whether batches lie in pinned memory, for GPUs.
    """

    def __init__(
        self,
        dataset: Dataset[Batch],
        batches: TrainBatches | EvaluationBatches,
        *,
        bad: BadSamples,
        workers: int,
        keep_workers: bool,
        pin_memory: bool,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=keep_workers and workers > 0,
            worker_init_fn=leave_signals_alone,
        )
        self.bad = bad

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        return self._checked(super().__iter__())

    def _checked(self, batches: Iterator[Batch | Failure]) -> Iterator[Batch]:
        for batch in batches:
            if isinstance(batch, Failure):
                raise batch.error
            if batch.bad:
                self.bad.add(batch.bad)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Nothing: the position lives in ``PreferenceData``. Lightning asks only whether a loader can resume."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing; see ``state_dict``."""


def leave_signals_alone(worker: int) -> None:
    """Ctrl-C and a cluster's signals reach every process of a run; only the main one may act on them at once.

    A worker that died of one would end the run before its checkpoint is written. SIGTERM is also how a process that
    ends stops the workers it still has, so it only starts a clock, after which the worker ends.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _end_soon)


def _end_soon(number: int, frame: FrameType | None) -> None:
    signal.alarm(GRACE_SECONDS)


def _as_it_is(batch: Any) -> Any:
    return batch
