"""Small predictions tables for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from rewardkit.data.group import Candidate, Comparison, Group, Ranking
from rewardkit.data.predictions import PredictionRows, Predictions

Pair = tuple[int, int, tuple[float, float, float]]


def _predictions_of(
    groups: Sequence[tuple[Sequence[float], Sequence[Pair]]],
    *,
    generators: Sequence[str | None] = (),
    tags: Sequence[dict[str, str]] = (),
) -> Predictions:
    """One dimension, ``overall``; each group is its scores and its comparisons."""
    rows = PredictionRows(["overall"])
    for n, (scores, pairs) in enumerate(groups):
        candidates = tuple(Candidate(f"{i}.jpg", generators[i] if generators else None) for i in range(len(scores)))
        comparisons = tuple(Comparison("overall", i, j, votes) for i, j, votes in pairs)
        group = Group(f"g{n}", "a cat", candidates, comparisons, tags=tags[n] if tags else {})
        rows.add(group, [[score] for score in scores], number=n, key=f"k{n}", source="demo")
    return rows.predictions()


def _predictions_of_ranks(
    groups: Sequence[tuple[Sequence[float], Sequence[float | None]]], *, generators: Sequence[str | None] = ()
) -> Predictions:
    """One dimension, ``overall``; each group is its scores and one annotator's ranks."""
    rows = PredictionRows(["overall"])
    for n, (scores, ranks) in enumerate(groups):
        candidates = tuple(Candidate(f"{i}.jpg", generators[i] if generators else None) for i in range(len(scores)))
        group = Group(f"g{n}", "a cat", candidates, rankings=(Ranking("overall", "ann", tuple(ranks)),))
        rows.add(group, [[score] for score in scores], number=n, key=f"k{n}", source="demo")
    return rows.predictions()


def _random_predictions(groups: int, *, seed: int, skill: float = 1.0, prefer: str | None = None) -> Predictions:
    """Groups of 4 whose votes follow a Bradley-Terry law; the model sees the utility with noise."""
    generator = np.random.default_rng(seed)
    names = ["A", "B", "C", "D"]
    made = []
    for _ in range(groups):
        utility = generator.normal(size=4)
        if prefer is not None:
            utility[names.index(prefer)] += 3.0
        scores = (skill * utility + generator.normal(size=4)).tolist()
        pairs: list[Pair] = []
        for i in range(4):
            for j in range(i + 1, 4):
                first = generator.binomial(10, 1 / (1 + np.exp(utility[j] - utility[i])))
                pairs.append((i, j, (float(first), 0.0, float(10 - first))))
        made.append((scores, pairs))
    return _predictions_of(made, generators=names)


@pytest.fixture(scope="session")
def predictions_of() -> Callable[..., Predictions]:
    """Makes a table from scores and comparisons."""
    return _predictions_of


@pytest.fixture(scope="session")
def predictions_of_ranks() -> Callable[..., Predictions]:
    """Makes a table from scores and ranks."""
    return _predictions_of_ranks


@pytest.fixture(scope="session")
def random_predictions() -> Callable[..., Predictions]:
    """Makes a table by a known law."""
    return _random_predictions
