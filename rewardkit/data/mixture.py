"""Several sources read as one: position to source and local position, labels in the model's dimensions."""

from __future__ import annotations

import difflib
import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.group import Group
from rewardkit.data.index import Scale, ShardIndex
from rewardkit.data.remote import ShardPlace
from rewardkit.data.shards import Sample
from rewardkit.data.sources import expect_range
from rewardkit.errors import UserError

PIXELS_PER_TOKEN = 28 * 28
"""Pixels of an image for one token of a language model: the cell of Qwen2.5-VL, two patches of 14 pixels each way."""


@dataclass(slots=True)
class LabelCounts:
    """Valid labels of some groups per model dimension, float64; see ``Denominators`` for what each counts."""

    comparisons: NDArray[np.float64]
    groups: NDArray[np.float64]
    decided: NDArray[np.float64]
    decided_groups: NDArray[np.float64]
    rankings: NDArray[np.float64]
    ratings: NDArray[np.float64]
    captions: float
    options: NDArray[np.float64]

    @classmethod
    def none(cls, dimensions: int) -> LabelCounts:
        """Zeros to add to."""
        a, b, c, d, e, f, g = np.zeros((7, dimensions))
        return cls(a, b, c, d, e, f, captions=0.0, options=g)


@dataclass(frozen=True, slots=True)
class ComparisonUnits:
    """Every comparison on the model's dimensions as a unit of its own, for ``pairing="pairs"``. M comparisons.

    Attributes:
        position: int64 ``[M]``, the group it belongs to.
        number: int32 ``[M]``, its place in ``all_comparisons`` of the group.
        dimension: int16 ``[M]``, model dimension.
        weight: float32 ``[M]``.
        decided: bool ``[M]``, whether it prefers one candidate.
    """

    position: NDArray[np.int64]
    number: NDArray[np.int32]
    dimension: NDArray[np.int16]
    weight: NDArray[np.float32]
    decided: NDArray[np.bool_]


class Mixture:
    """The groups of one or more indices, one index after the other; the order of an epoch mixes them.

    Args:
        indices: At least one.
        dimensions: The model's dimensions.
        dimension_map: Dimension of the data to dimension of the model; None leaves its labels out. Dimensions that it
            does not name keep their name.
        weights: Each index's share of the training, above 0; only their proportions matter. None takes every group
            once in an epoch.

    Raises:
        UserError: The data speak to a dimension that the model lacks, or the map names one that nobody has.
    """

    def __init__(
        self,
        indices: Sequence[ShardIndex],
        *,
        dimensions: Sequence[str],
        dimension_map: Mapping[str, str | None] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        assert indices and (weights is None or len(weights) == len(indices))
        self.weights = None if weights is None else tuple(weights)
        self.indices = tuple(indices)
        self.dimensions = tuple(dimensions)
        self.dimension_map = dict(dimension_map or {})
        self._columns = [self._model_columns(index) for index in self.indices]
        self._starts = np.concatenate([[0], np.cumsum([len(index) for index in self.indices])]).astype(np.int64)
        self._begins: list[int] = self._starts.tolist()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each index's groups begin, and the end: int64 ``[indices + 1]``."""
        return self._starts

    @property
    def candidates(self) -> int:
        """Candidates of all groups together."""
        return sum(len(index.each_candidate_hash) for index in self.indices)

    @property
    def digest(self) -> str:
        """Identifies the groups and their order."""
        return hashlib.sha256("\n".join(index.digest for index in self.indices).encode()).hexdigest()

    @property
    def shard(self) -> NDArray[np.int64]:
        """The shard of each group, numbered over all sources: int64 ``[n]``."""
        firsts = np.cumsum([0, *(len(index.shards) for index in self.indices)])
        return np.concatenate([index.shard + first for index, first in zip(self.indices, firsts, strict=False)])

    @property
    def scales(self) -> dict[str, Scale]:
        """The scale of each model dimension that has numeric answers."""
        scales: dict[str, Scale] = {}
        for index in self.indices:
            for name, scale in index.scales.items():
                target = self.dimension_map.get(name, name)
                if target is not None:
                    scales[target] = scales[target].union(scale) if target in scales else scale
        return scales

    def locate(self, position: int) -> tuple[ShardIndex, int]:
        """The source of a group and its position there."""
        number = bisect_right(self._begins, position) - 1
        return self.indices[number], position - self._begins[number]

    def path(self, position: int) -> ShardPlace:
        """The shard of a group."""
        index, local = self.locate(position)
        return index.path(local)

    def offset(self, position: int) -> int:
        """Where a group begins in its shard, bytes."""
        index, local = self.locate(position)
        return int(index.offset[local])

    def sample(self, position: int) -> Sample:
        """Reads a group with its images; see ``read_sample``."""
        index, local = self.locate(position)
        return index.sample(local)

    def expect(self, positions: Iterable[int]) -> None:
        """Says which groups will be read next, so that they are fetched all at once, not one after the other."""
        for position in positions:
            index, local = self.locate(position)
            expect_range(index.path(local), int(index.offset[local]), int(index.length[local]))

    def record(self, position: int) -> Group:
        """Reads a group without its images; see ``read_record``."""
        index, local = self.locate(position)
        return index.record(local)

    def rows_of(self, positions: NDArray[np.integer], number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of some groups are of one source: their places in ``positions``, and their rows in its index."""
        inside = (positions >= self._starts[number]) & (positions < self._starts[number + 1])
        places = np.flatnonzero(inside)
        return places, np.asarray(positions)[places] - self._starts[number]

    def columns(self, number: int) -> NDArray[np.int64]:
        """For each dimension of a source its place in the model's, -1 where it is left out."""
        return self._columns[number]

    def count(
        self, positions: NDArray[np.integer], *, captions: bool, asked: NDArray[np.bool_] | None = None
    ) -> LabelCounts:
        """The labels of some groups, from the indices alone; of questions it counts none.

        Args:
            positions: ``[G]``.
            captions: Whether captions count.
            asked: ``[G, D]``, the model's dimensions on which a group's labels count; None: all.
        """
        total = LabelCounts.none(len(self.dimensions))
        for number, index in enumerate(self.indices):
            places, rows = self.rows_of(positions, number)
            to_model = self._matrix(number)
            kept = np.ones((len(rows), len(self.dimensions)), bool) if asked is None else asked[places]
            total.comparisons += ((index.comparison_weight[rows].astype(np.float64) @ to_model) * kept).sum(0)
            total.groups += ((index.comparisons[rows] @ to_model > 0) & kept).sum(0)
            total.decided += ((index.decided_weight[rows].astype(np.float64) @ to_model) * kept).sum(0)
            total.decided_groups += ((index.decided[rows] @ to_model > 0) & kept).sum(0)
            total.rankings += ((index.rankings[rows] @ to_model) * kept).sum(0)
            total.ratings += self._ratings(number, rows, to_model, kept)
            total.captions += float(index.captions[rows].sum()) if captions else 0.0
        return total

    def has_labels(self, kind: str) -> list[bool]:
        """Whether each model dimension has ``comparisons``, ``decided`` ones, ``rankings`` or ``ratings``."""
        there = np.zeros(len(self.dimensions), bool)
        for number, index in enumerate(self.indices):
            there |= (getattr(index, kind) > 0).any(0) @ self._matrix(number) > 0
        return [bool(each) for each in there]

    def lengths(self, pixel_budget: tuple[int, int] | None = None) -> NDArray[np.float64]:
        """About how many tokens a candidate of each group takes, prompt and image: float64 ``[n]``.

        Only differences matter. An image takes a token for each ``PIXELS_PER_TOKEN``.

        Args:
            pixel_budget: Least and most pixels that the model's processor leaves an image; None: as many as it has.
        """
        parts = []
        for index in self.indices:
            pixels = index.pixels / np.maximum(index.candidates, 1)
            if pixel_budget is not None:
                pixels = pixels.clip(*pixel_budget)
            parts.append(index.prompt_tokens + pixels / PIXELS_PER_TOKEN)
        return np.concatenate(parts)

    def has_captions(self) -> bool:
        """Whether a candidate has a caption of its own."""
        return any((index.captions > 0).any() for index in self.indices)

    def units(self) -> ComparisonUnits:
        """Every comparison on the model's dimensions, group after group."""
        parts = []
        for number, index in enumerate(self.indices):
            per_group = index.comparisons.sum(1)
            group = np.repeat(np.arange(len(index)), per_group)
            place = np.arange(len(group)) - index.starts(per_group)[group]
            dimension = self._columns[number][index.each_comparison_dimension]
            kept = dimension >= 0
            parts.append(
                (
                    group[kept] + self._starts[number],
                    place[kept].astype(np.int32),
                    dimension[kept].astype(np.int16),
                    index.each_comparison_weight[kept],
                    index.each_comparison_decided[kept],
                )
            )
        return ComparisonUnits(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def count_units(self, units: ComparisonUnits, chosen: NDArray[np.integer], *, captions: bool) -> LabelCounts:
        """The labels of some comparisons as units: each is a group of two candidates with one comparison."""
        size = len(self.dimensions)
        dimension, weight, decided = units.dimension[chosen], units.weight[chosen], units.decided[chosen]
        none = np.zeros(size)
        told = 0.0
        if captions:
            which = np.searchsorted(self._starts, units.position[chosen], side="right") - 1
            for number, index in enumerate(self.indices):
                rows = units.position[chosen][which == number] - self._starts[number]
                told += 2.0 * float((index.captions[rows] > 0).sum())
        return LabelCounts(
            comparisons=np.bincount(dimension, weight, size).astype(np.float64),
            groups=np.bincount(dimension, None, size).astype(np.float64),
            decided=np.bincount(dimension, weight * decided, size).astype(np.float64),
            decided_groups=np.bincount(dimension, decided, size).astype(np.float64),
            rankings=none,
            ratings=none.copy(),
            captions=told,
            options=none.copy(),
        )

    def _model_columns(self, index: ShardIndex) -> NDArray[np.int64]:
        """For each dimension of an index its place in the model's, -1 where it is left out."""
        columns = []
        for name in index.dimensions:
            target = self.dimension_map.get(name, name)
            if target is not None and target not in self.dimensions:
                raise UserError(self._unknown(index, name, target))
            columns.append(-1 if target is None else self.dimensions.index(target))
        return np.array(columns, np.int64)

    def _unknown(self, index: ShardIndex, name: str, target: str) -> str:
        near = difflib.get_close_matches(target, self.dimensions, n=1)
        goal = near[0] if near else self.dimensions[0]
        mapped = f" (mapped to {target!r})" if target != name else ""
        return (
            f"{index.place}: there are labels on dimension {name!r}{mapped}, which the model lacks; it has "
            f"{', '.join(self.dimensions)}. Add it to model.dimensions, map it with "
            f"data.dimension_map={{{name}: {goal}}}, or leave its labels out with data.dimension_map={{{name}: null}}"
        )

    def _matrix(self, number: int) -> NDArray[np.int64]:
        """int64 ``[D of the data, D of the model]``, 1 where a dimension counts for another."""
        return (self._columns[number][:, None] == np.arange(len(self.dimensions))).astype(np.int64)

    def _ratings(
        self, number: int, rows: NDArray[np.int64], to_model: NDArray[np.int64], kept: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        index = self.indices[number]
        if (to_model.sum(0) <= 1).all():
            return ((index.ratings[rows] @ to_model) * kept).sum(0).astype(np.float64)
        # Two dimensions became one: a candidate rated on both counts once.
        starts = index.starts(index.candidates)
        rated = [index.each_candidate_rated[starts[row] : starts[row + 1]] @ to_model > 0 for row in rows]
        return sum((part.sum(0) * keep for part, keep in zip(rated, kept, strict=True)), np.zeros(len(self.dimensions)))
