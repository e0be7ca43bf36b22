"""The law of the simulated votes and the ceilings that follow from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.data.demo.voters import (
    ANNOTATORS,
    DIMENSIONS,
    FAULT_DIMENSIONS,
    LOG_THETA,
    OVERALL_WEIGHTS,
    SHARPNESS,
    answer_law,
    cast_votes,
    ceilings,
    decided,
    utilities,
)


def test_the_law_is_rao_and_kuppers() -> None:
    # theta = 5, delta = 0.7: first .287115, second .090344, tie .622541 (worked out by hand from the formula).
    assert answer_law(0.7, math.log(5)) == pytest.approx((0.287115, 0.622541, 0.090344), abs=1e-6)
    assert answer_law(0.0, math.log(5))[1] == pytest.approx((5 - 1) / (5 + 1))


@given(st.floats(-20, 20), st.floats(0.01, 5))
def test_the_law_adds_up_and_swaps(delta: float, log_theta: float) -> None:
    law = answer_law(delta, log_theta)
    assert sum(law) == pytest.approx(1)
    assert min(law) >= -1e-12
    assert answer_law(-delta, log_theta) == pytest.approx(law[::-1])


def test_utilities_are_the_stated_sum() -> None:
    levels = {"prompt_following": 1, "aesthetic": 2, "fidelity": 0, "harmlessness": 3}
    found = utilities(levels)
    assert {d: found[d] for d in FAULT_DIMENSIONS} == {d: -float(n) for d, n in levels.items()}
    assert found["overall"] == pytest.approx(-sum(OVERALL_WEIGHTS[d] * n for d, n in levels.items()))
    assert sum(OVERALL_WEIGHTS.values()) == pytest.approx(1)


def test_decided_counts_what_the_votes_do() -> None:
    rng = np.random.default_rng(0)
    for dimension, first, second in [("overall", 0.0, -0.6), ("fidelity", -1.0, -1.0), ("aesthetic", -2.0, 0.0)]:
        votes = np.array([cast_votes(rng, dimension, first, second) for _ in range(20000)])
        assert set(votes.sum(axis=1)) == {ANNOTATORS}
        counts = (votes[:, 0] != votes[:, 2]) & (votes[:, 1] <= np.maximum(votes[:, 0], votes[:, 2]))
        won = (counts & (votes[:, 0] > votes[:, 2])).mean()
        lost = (counts & (votes[:, 0] < votes[:, 2])).mean()
        expected = decided(SHARPNESS[dimension] * (first - second), LOG_THETA[dimension])
        assert (won, lost) == pytest.approx(expected, abs=0.012)


def test_ceilings_of_two_candidates_by_hand() -> None:
    good, worse = dict.fromkeys(FAULT_DIMENSIONS, 0), {**dict.fromkeys(FAULT_DIMENSIONS, 0), "prompt_following": 2}
    found = ceilings([[utilities(good), utilities(worse)]])
    won, lost = decided(round(SHARPNESS["overall"] * 2 * OVERALL_WEIGHTS["prompt_following"], 9), LOG_THETA["overall"])
    assert found.best["overall"] == pytest.approx(won / (won + lost))
    assert found.blind == pytest.approx(0.5)  # the images look equally good
    assert found.best["aesthetic"] == pytest.approx(0.5)  # equals
    assert found.best["prompt_following"] > 0.99


def test_no_order_of_candidates_beats_the_ceiling() -> None:
    rng = np.random.default_rng(1)
    groups = [[utilities({d: int(rng.integers(4)) for d in FAULT_DIMENSIONS}) for _ in range(4)] for _ in range(200)]
    found = ceilings(groups)
    assert set(found.best) == set(DIMENSIONS)
    assert 0.5 < found.blind < found.best["overall"] < 1
    right = counted = 0.0
    for group in groups:
        # A score that sees the utilities through noise.
        noisy = [u["overall"] + rng.normal(0, 0.2) for u in group]
        for i in range(4):
            for j in range(i + 1, 4):
                delta = SHARPNESS["overall"] * (group[i]["overall"] - group[j]["overall"])
                won, lost = decided(round(delta, 9), LOG_THETA["overall"])
                right += won if noisy[i] > noisy[j] else lost
                counted += won + lost
    assert right / counted < found.best["overall"]
