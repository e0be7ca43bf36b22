"""The stream of micro-batches: the main process says what each holds, workers read, decode and collate."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from rewardkit.data.augment import Augmentation
from rewardkit.data.bad_samples import BadReport, BadSamples
from rewardkit.data.batch import Batch, EvaluatedGroup, Tokenizer
from rewardkit.data.collate import EmptyPlace, LoadedGroup, collate, single_comparison
from rewardkit.data.group import Group
from rewardkit.data.group_labels import LabelSpace, labels_of
from rewardkit.data.images import ImageTransform, decode_image, resize_uint8
from rewardkit.data.memory import GroupMemory, TokenMemory
from rewardkit.data.micro_batches import EvaluationBatches, MicroBatch, TrainBatches
from rewardkit.data.mixture import Mixture
from rewardkit.data.shards import Sample, key_at
from rewardkit.errors import BadSample, RewardkitError

GRACE_SECONDS = 10
"""How long a loader worker goes on after SIGTERM: the main process finishes its step and saves meanwhile."""


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
            return bad_place(self._mixture, position, error.reason)

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


def bad_place(mixture: Mixture, position: int, reason: str) -> EmptyPlace:
    """The empty place of a group that cannot be used, with its report."""
    path = mixture.path(position)
    return EmptyPlace(position, BadReport(str(path.parent), path.name, key_at(path, mixture.offset(position)), reason))


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
