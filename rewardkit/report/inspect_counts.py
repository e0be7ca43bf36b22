"""What the page of ``data inspect`` draws, counted group by group: votes, ratings, and how often a generator wins."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.group import NOT_APPLICABLE, Group
from rewardkit.data.index import Scale
from rewardkit.metrics.judged_pairs import FIRST, SECOND, verdicts

BINS = 40
"""Bars of a histogram of a continuous scale."""


@dataclass(slots=True)
class Wins:
    """Decided comparisons of a generator with other generators.

    Attributes:
        won: Where its candidate is the verdict.
        decided: All whose verdict is one of the two.
    """

    won: int = 0
    decided: int = 0


class LabelCounts:
    """Takes groups one by one.

    Args:
        scales: Dimension to the scale of its answers.

    Attributes:
        votes: Dimension to the number of comparisons for each number of votes (rounded).
        ratings: Dimension to the number of answers on each level, or in each of ``BINS`` parts, of its scale.
        wins: Dimension and generator to wins.
    """

    def __init__(self, scales: Mapping[str, Scale]) -> None:
        self.scales = scales
        self.votes: dict[str, Counter[int]] = defaultdict(Counter)
        self.ratings: dict[str, NDArray[np.int64]] = {
            name: np.zeros(scale.levels or BINS, np.int64) for name, scale in scales.items()
        }
        self.wins: dict[str, dict[str, Wins]] = defaultdict(lambda: defaultdict(Wins))

    def add(self, group: Group) -> None:
        """Counts one group."""
        for answer in group.answers:
            if answer.value != NOT_APPLICABLE and answer.dimension in self.scales:
                self.ratings[answer.dimension][self._level(answer.dimension, float(answer.value))] += 1
        for dimension in group.dimensions:
            comparisons = comparisons_of(group, dimension)
            if not comparisons:
                continue
            self.votes[dimension].update(round(sum(c.votes)) for c in comparisons)
            votes = np.array([c.votes for c in comparisons], float)
            wins = self.wins[dimension]
            verdict = verdicts(votes[:, 0], votes[:, 1], votes[:, 2])
            for comparison, said in zip(comparisons, verdict.tolist(), strict=True):
                one = group.candidates[comparison.first].generator
                other = group.candidates[comparison.second].generator
                if one and other and one != other and said in (FIRST, SECOND):
                    wins[one].decided += 1
                    wins[other].decided += 1
                    wins[one if said == FIRST else other].won += 1

    def labels(self, dimension: str) -> list[str]:
        """What the bars of ``ratings`` stand for."""
        scale = self.scales[dimension]
        if scale.levels:
            return [f"{scale.low + n:g}" for n in range(scale.levels)]
        edges = np.linspace(scale.low, scale.high, BINS + 1)
        return [f"{low:.3g}" for low in edges[:-1]]

    def _level(self, dimension: str, value: float) -> int:
        scale, count = self.scales[dimension], len(self.ratings[dimension])
        if scale.levels:
            place = round(value - scale.low)
        else:
            place = int((value - scale.low) / ((scale.high - scale.low) or 1.0) * count)
        return min(max(place, 0), count - 1)
