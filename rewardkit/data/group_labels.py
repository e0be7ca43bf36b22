"""What people said of one group as arrays, and the arrays of many groups joined into those of a batch.

A group's arrays point at its own candidates, from 0, so they follow from the group and the model's dimensions alone and
can be kept from epoch to epoch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardkit.data.comparisons import all_comparisons, rankings_to_learn
from rewardkit.data.group import NOT_APPLICABLE, Group
from rewardkit.data.index import Scale


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """What a model judges.

    Attributes:
        dimensions: The model's.
        dimension_map: Dimension of the data to dimension of the model; None leaves its labels out.
        scales: Model dimension to the scale of its answers.
        captions: Whether the batch carries the candidates' captions.
    """

    dimensions: tuple[str, ...]
    dimension_map: Mapping[str, str | None]
    scales: Mapping[str, Scale]
    captions: bool = False

    def column(self, dimension: str) -> int | None:
        """The model's dimension that a dimension of the data counts for; None if its labels are left out."""
        target = self.dimension_map.get(dimension, dimension)
        return None if target is None else self.dimensions.index(target)

    @property
    def levels(self) -> int:
        """Levels of the longest scale; 0 if no dimension has an integer scale."""
        return max((self.scales[name].levels for name in self.dimensions if name in self.scales), default=0)


@dataclass(frozen=True, slots=True)
class GroupLabels:
    """Labels of one group of K candidates: P comparisons, R rankings, A answers; see ``Batch`` for each field."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    dimension: NDArray[np.int64]
    target: NDArray[np.float32]
    votes: NDArray[np.float32]
    weight: NDArray[np.float32]
    ranking_dimension: NDArray[np.int64]
    ranking_candidate: NDArray[np.int64]
    ranking_rank: NDArray[np.float32]
    answer_candidate: NDArray[np.int64]
    answer_dimension: NDArray[np.int64]
    answer_target: NDArray[np.float32]
    ratings: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays' elements."""
        return sum(getattr(self, item.name).nbytes for item in fields(self))


def labels_of(group: Group, space: LabelSpace) -> GroupLabels:
    """The labels of one group on the model's dimensions."""
    return GroupLabels(**_comparisons(group, space), **_rankings(group, space), **_answers(group, space))


def no_labels(candidates: int, space: LabelSpace) -> GroupLabels:
    """The labels of candidates of whom nothing was said."""
    return GroupLabels(**_comparison_arrays([]), **_ranking_arrays([]), **_answer_arrays({}, candidates, space))


def join_labels(parts: Sequence[GroupLabels]) -> dict[str, Tensor]:
    """The label fields of a batch whose groups have these labels, in order; at least one group."""
    sizes = [len(part.ratings) for part in parts]
    starts = np.cumsum([0, *sizes[:-1]])

    def shifted(name: str) -> NDArray[np.int64]:
        arrays = [getattr(part, name) for part in parts]
        return np.concatenate(arrays) + np.repeat(starts, [len(array) for array in arrays])

    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _JOINED}
    joined |= {name: shifted(name) for name in ("first", "second", "answer_candidate")}
    joined["ranking_candidate"], joined["ranking_rank"] = _padded(parts, starts)
    return {name: torch.from_numpy(array) for name, array in joined.items()}


_JOINED = (
    "dimension", "target", "votes", "weight", "ranking_dimension", "answer_dimension", "answer_target", "ratings",
)  # fmt: skip
"""Fields that do not point at candidates."""


def _padded(parts: Sequence[GroupLabels], starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rankings of all groups, padded to the longest."""
    rows = sum(len(part.ranking_candidate) for part in parts)
    longest = max(part.ranking_candidate.shape[1] for part in parts)
    candidate = np.full((rows, longest), -1, np.int64)
    rank = np.full((rows, longest), -1, np.float32)
    at = 0
    for part, start in zip(parts, starts, strict=True):
        count, width = part.ranking_candidate.shape
        if count:
            mine = part.ranking_candidate
            candidate[at : at + count, :width] = np.where(mine < 0, -1, mine + start)
            rank[at : at + count, :width] = part.ranking_rank
            at += count
    return candidate, rank


def _comparisons(group: Group, space: LabelSpace) -> dict[str, NDArray]:
    rows = []
    for c in all_comparisons(group):
        column = space.column(c.dimension)
        if column is not None:
            total = sum(c.votes)
            rows.append((c.first, c.second, column, [v / total for v in c.votes], total, c.weight))
    return _comparison_arrays(rows)


def _comparison_arrays(rows: Sequence[tuple[int, int, int, list[float], float, float]]) -> dict[str, NDArray]:
    return {
        "first": np.array([row[0] for row in rows], np.int64),
        "second": np.array([row[1] for row in rows], np.int64),
        "dimension": np.array([row[2] for row in rows], np.int64),
        "target": np.array([row[3] for row in rows], np.float32).reshape(-1, 3),
        "votes": np.array([row[4] for row in rows], np.float32),
        "weight": np.array([row[5] for row in rows], np.float32),
    }


def _rankings(group: Group, space: LabelSpace) -> dict[str, NDArray]:
    rows = []
    for name in group.dimensions:
        column = space.column(name)
        if column is None:
            continue
        for ranking in rankings_to_learn(group, name):
            rows.append((column, [(n, rank) for n, rank in enumerate(ranking.ranks) if rank is not None]))
    return _ranking_arrays(rows)


def _ranking_arrays(rows: Sequence[tuple[int, list[tuple[int, float]]]]) -> dict[str, NDArray]:
    longest = max((len(ranked) for _, ranked in rows), default=0)
    candidate = np.full((len(rows), longest), -1, np.int64)
    rank = np.full((len(rows), longest), -1, np.float32)
    for n, (_, ranked) in enumerate(rows):
        candidate[n, : len(ranked)] = [c for c, _ in ranked]
        rank[n, : len(ranked)] = [r for _, r in ranked]
    return {
        "ranking_dimension": np.array([column for column, _ in rows], np.int64),
        "ranking_candidate": candidate,
        "ranking_rank": rank,
    }


def _answers(group: Group, space: LabelSpace) -> dict[str, NDArray]:
    said: dict[tuple[int, int], list[float | None]] = defaultdict(list)
    for answer in group.answers:
        column = space.column(answer.dimension)
        if column is not None:
            value = None if answer.value == NOT_APPLICABLE else float(answer.value)
            said[answer.candidate, column].append(value)
    return _answer_arrays(said, len(group.candidates), space)


def _answer_arrays(
    said: Mapping[tuple[int, int], list[float | None]], candidates: int, space: LabelSpace
) -> dict[str, NDArray]:
    ratings = np.full((candidates, len(space.dimensions)), np.nan, np.float32)
    rows, targets = [], []
    for (candidate, column), values in said.items():
        numbers = [value for value in values if value is not None]
        if numbers:
            ratings[candidate, column] = sum(numbers) / len(numbers)
        scale = space.scales.get(space.dimensions[column])
        if scale is None or not scale.levels:
            continue
        shares = [0.0] * (space.levels + 1)
        for value in values:
            shares[-1 if value is None else round(value - scale.low)] += 1 / len(values)
        rows.append((candidate, column))
        targets.append(shares)
    return {
        "answer_candidate": np.array([candidate for candidate, _ in rows], np.int64),
        "answer_dimension": np.array([column for _, column in rows], np.int64),
        "answer_target": np.array(targets, np.float32).reshape(-1, space.levels + 1),
        "ratings": ratings,
    }
