"""Batches of features instead of pixels: nothing is decoded, and what a group says is parsed once.

Beside ``stream.py``'s ``GroupDataset``, which reads the same micro-batches as pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from rewardkit.data.batch import Batch, EvaluatedGroup
from rewardkit.data.collate import EmptyPlace, denominators, single_comparison
from rewardkit.data.features import FeatureShards, GroupFeatures
from rewardkit.data.group_labels import GroupLabels, LabelSpace, join_labels, labels_of, no_labels
from rewardkit.data.micro_batches import MicroBatch
from rewardkit.data.mixture import Mixture
from rewardkit.data.shards import key_at
from rewardkit.data.stream import Failure, bad_place, evaluated_group
from rewardkit.errors import BadSample, RewardkitError

MAX_LABEL_BYTES = 2**29
"""Labels of as many groups are kept parsed; about 150 000 groups of the embedded dataset."""

_OVERHEAD = 2500
"""Bytes of one kept group beside its arrays' elements: the arrays' and the texts' own, measured."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is kept of a group, or of one comparison of it.

    Attributes:
        kept: Which candidates of the whole group it has; None is all of them.
        evaluated: In an evaluation, what travels along.
    """

    position: int
    key: str
    prompt: str
    labels: GroupLabels
    kept: tuple[int, ...] | None = None
    evaluated: EvaluatedGroup | None = None


class FeatureDataset(Dataset[Batch]):
    """Joins the groups of a micro-batch from their features and labels.

    Args:
        mixture: The data.
        features: Of each of the mixture's indices.
        space: The model's dimensions.
        evaluation: Whether the records travel along.
    """

    def __init__(
        self, mixture: Mixture, features: Sequence[FeatureShards], *, space: LabelSpace, evaluation: bool = False
    ) -> None:
        assert len(features) == len(mixture.indices)
        self._mixture = mixture
        self._features = list(features)
        self._begins = np.cumsum([0, *(len(index) for index in mixture.indices)])
        self._space = space
        self._evaluation = evaluation
        self._memory: dict[tuple[int, int, bool], Labelled] = {}
        self._bytes = 0

    def __getitems__(self, micro: MicroBatch) -> Batch | Failure:
        """The batch of a ``MicroBatch``."""
        numbers = [-1] * len(micro.positions) if micro.numbers is None else micro.numbers.tolist()
        swapped = [False] * len(micro.positions) if micro.swapped is None else micro.swapped.tolist()
        try:
            places = [self._place(*unit) for unit in zip(micro.positions.tolist(), numbers, swapped, strict=True)]
        except RewardkitError as error:
            return Failure(error)
        loaded = [place for place in places if not isinstance(place, EmptyPlace)]
        empty = [place for place in places if isinstance(place, EmptyPlace)]
        return self._join(loaded, empty, micro)

    def _join(self, loaded: list[tuple[Labelled, GroupFeatures]], empty: list[EmptyPlace], micro: MicroBatch) -> Batch:
        groups = [group for group, _ in loaded]
        labels = [*(group.labels for group in groups), no_labels(len(empty), self._space)]
        sizes = [len(group.labels.ratings) for group in groups] + [1] * len(empty)
        candidates = sum(sizes)
        width = self._width
        return Batch(
            pixels=torch.empty(candidates, 3, 0, 0, dtype=torch.uint8),
            valid=torch.tensor([True] * (candidates - len(empty)) + [False] * len(empty)),
            group=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
            tokens=torch.empty(len(sizes), 0, dtype=torch.int64),
            **join_labels(labels),
            caption_tokens=torch.zeros(0, 1, dtype=torch.int64),
            caption=torch.full((candidates,), -1),
            denominators=denominators(micro.counts),
            keys=[group.key for group in groups] + [place.bad.key if place.bad else "" for place in empty],
            prompts=[group.prompt for group in groups] + [""] * len(empty),
            positions=torch.tensor([group.position for group in groups] + [place.position for place in empty]),
            bad=[place.bad for place in empty if place.bad],
            records=[group.evaluated for group in groups if group.evaluated],
            image_features=_rows([features.image for _, features in loaded], len(empty), width),
            text_features=_rows([features.text for _, features in loaded], len(empty), width),
        )

    @property
    def _width(self) -> int:
        return self._features[0].width

    def _place(self, position: int, number: int, swapped: bool) -> tuple[Labelled, GroupFeatures] | EmptyPlace:
        if position < 0:
            return EmptyPlace()
        source = int(np.searchsorted(self._begins, position, side="right")) - 1 if len(self._features) > 1 else 0
        features = self._features[source].group(position - int(self._begins[source]))
        try:
            if None in features.bad:
                raise BadSample(features.bad[None])
            group = self._memory.get((position, number, swapped)) or self._read(position, number, swapped)
            if group.kept is not None:
                features = _some(features, group.kept)
            if features.bad:
                raise BadSample(next(iter(features.bad.values())))
            return group, features
        except BadSample as error:
            return bad_place(self._mixture, position, error.reason)

    def _read(self, position: int, number: int, swapped: bool) -> Labelled:
        """Parses a group's record, and keeps what it says while there is room."""
        path, offset = self._mixture.path(position), self._mixture.offset(position)
        group, key = self._mixture.record(position), key_at(path, offset)
        kept = None
        if number >= 0:
            group, kept = single_comparison(group, number, swapped=swapped)
        evaluated = evaluated_group(self._mixture, position, key, group) if self._evaluation else None
        made = Labelled(position, key, group.prompt, labels_of(group, self._space), kept, evaluated)
        size = made.labels.nbytes + _OVERHEAD
        if self._bytes + size <= MAX_LABEL_BYTES:
            self._memory[position, number, swapped] = made
            self._bytes += size
        return made


def _some(features: GroupFeatures, kept: tuple[int, ...]) -> GroupFeatures:
    """The features of some candidates of a group."""
    bad: dict[int | None, str] = {n: features.bad[k] for n, k in enumerate(kept) if k in features.bad}
    return GroupFeatures(features.image[list(kept)], features.text, bad)


def _rows(parts: Sequence[NDArray[np.floating]], dummies: int, width: int) -> Tensor:
    """Features joined, with rows of 0 for empty places at the end: float32 ``[…, E]``."""
    arrays = [*parts, np.zeros((dummies, width), np.float32)]
    return torch.from_numpy(np.concatenate(arrays, dtype=np.float32, casting="same_kind"))
