"""What annotators said, as flat arrays: one row for each score of a log. Every statistic of a fold reads these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """S scores, sorted by group, dimension, candidate, annotator and repeat.

    Attributes:
        groups: Number of groups, those without a score too.
        dimensions: Names; ``dimension`` points at them.
        annotators: Names; ``annotator`` points at them.
        group: ``[S]``, place of the group in the input.
        candidate: ``[S]``.
        dimension: ``[S]``.
        annotator: ``[S]``.
        repeat: ``[S]``, from 0.
        slot: ``[S]``, place at which the candidate was shown, from 0; -1 where it was shown alone.
        value: ``[S]``, on the question's scale, higher is better; NaN is N/A.
    """

    groups: int
    dimensions: tuple[str, ...]
    annotators: tuple[str, ...]
    group: Ints
    candidate: Ints
    dimension: Ints
    annotator: Ints
    repeat: Ints
    slot: Ints
    value: Floats

    def where(self, rows: NDArray[np.bool_]) -> Scores:
        """A part of the rows."""
        columns = (self.group, self.candidate, self.dimension, self.annotator, self.repeat, self.slot, self.value)
        return Scores(self.groups, self.dimensions, self.annotators, *(column[rows] for column in columns))  # type: ignore[arg-type]

    def of(self, annotator: int, dimension: int) -> Scores:
        """The rows of one annotator on one dimension."""
        return self.where((self.annotator == annotator) & (self.dimension == dimension))


@dataclass(frozen=True, slots=True)
class Asked:
    """One annotator's scores on one dimension, by group, repeat and candidate.

    Attributes:
        values: ``[G, R, K]`` of the groups that have any; NaN: no number.
        slots: ``[G, R, K]`` places at which candidates were shown; -1: not shown, or shown alone.
    """

    values: Floats
    slots: Ints


def scores_of(
    rows: Sequence[tuple[int, int, int, int, int, int, float]],
    *,
    groups: int,
    dimensions: Sequence[str],
    annotators: Sequence[str],
) -> Scores:
    """Scores from rows of group, candidate, dimension, annotator, repeat, slot and value, in any order.

    Args:
        rows: Whole numbers but for the value.
        groups: Number of groups.
        dimensions: Names.
        annotators: Names.
    """
    table = np.array(rows, np.float64).reshape(-1, 7)
    table = table[np.lexsort(table.T[[6, 5, 4, 3, 1, 2, 0]])]
    group, candidate, dimension, annotator, repeat, slot = table[:, :6].astype(np.int64).T
    value = table[:, 6].copy()
    return Scores(
        groups, tuple(dimensions), tuple(annotators), group, candidate, dimension, annotator, repeat, slot, value
    )


def asked(scores: Scores, annotator: int, dimension: int) -> Asked:
    """What one annotator said on one dimension; several questions of one dimension speak with their mean."""
    part = scores.of(annotator, dimension)
    if not len(part.value):
        return Asked(np.zeros((0, 0, 0)), np.zeros((0, 0, 0), np.int64))
    _, row = np.unique(part.group, return_inverse=True)
    shape = (int(row.max()) + 1, int(part.repeat.max()) + 1, int(part.candidate.max()) + 1)
    cell = np.ravel_multi_index((row, part.repeat, part.candidate), shape)
    known = ~np.isnan(part.value)
    size = int(np.prod(shape))
    count = np.bincount(cell[known], minlength=size)
    total = np.bincount(cell[known], weights=part.value[known], minlength=size)
    values = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    slots = np.full(size, -1, np.int64)
    slots[cell] = part.slot
    return Asked(values.reshape(shape), slots.reshape(shape))
