"""Every protocol gives the same numbers on one process and on two, with a set that does not divide."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rewardkit.callbacks.preference_accuracy import joined
from two_ranks import TwoRanks

from rewardkit.config.protocols import PROTOCOLS
from rewardkit.data.group import Candidate, Group, Ranking
from rewardkit.data.predictions import PredictionRows, Predictions
from rewardkit.metrics.evaluate import evaluate

GROUPS = 7


def a_group(number: int) -> tuple[Group, list[list[float]]]:
    """Three annotators' rankings with ties, four generators, scores on a coarse grid so that they tie too."""
    generator = np.random.default_rng(number)
    size = int(generator.integers(2, 6))
    rankings = tuple(Ranking("overall", f"ann{n}", tuple(generator.integers(1, 4, size).tolist())) for n in range(3))
    candidates = tuple(Candidate(f"{n}.jpg", "ABCD"[int(generator.integers(0, 4))]) for n in range(size))
    scores = (generator.integers(0, 5, size) / 4 + 0.1 * number).tolist()
    return Group(f"g{number}", "a cat", candidates, rankings=rankings), [[score] for score in scores]


def predictions_of(numbers: range) -> Predictions:
    rows = PredictionRows(["overall"])
    for number in numbers:
        group, scores = a_group(number)
        rows.add(group, scores, number=number, key=f"k{number}", source="val")
    return rows.predictions()


def all_numbers(predictions: Predictions) -> str:
    return json.dumps(evaluate(predictions, [*PROTOCOLS], tuning=predictions, draws=200))


def of_one_rank(rank: int) -> str:
    """Scores every second group and joins, as the callback does at the end of a validation."""
    return all_numbers(joined(predictions_of(range(rank, GROUPS, 2)), 2))


@pytest.mark.slow
@pytest.mark.xdist_group("two_ranks")
def test_two_processes_count_what_one_counts(two_ranks: TwoRanks) -> None:
    alone = all_numbers(joined(predictions_of(range(GROUPS)), 1))
    assert len(json.loads(alone)) > len(PROTOCOLS)
    assert two_ranks.call(of_one_rank) == [alone, alone], "to the last digit"
    fewer = all_numbers(predictions_of(range(GROUPS - 1)))
    assert fewer != alone, "a group that is lost would show"
