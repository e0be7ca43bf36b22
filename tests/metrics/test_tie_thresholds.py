"""Thresholds: brute force, the worked oracle, what must never be done (cutting between equal differences)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rewardkit.data.predictions import Predictions
from rewardkit.errors import UserError
from rewardkit.metrics.evaluate import apply, tune
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.metrics.protocols import accuracy
from rewardkit.metrics.tie_thresholds import (
    PROBABILITY_GRID,
    Tuned,
    accuracies_at,
    best_threshold,
    tune_threshold,
    videoalign_accuracy,
)

Make = Callable[..., Predictions]
TIED = (("tie_calibrated_micro", False), ("tie_calibrated_macro", True), ("pickapic", False))


def with_ties(groups: int, seed: int, make: Make, *, size: int = 4) -> Predictions:
    """Scores on a coarse grid, so that differences repeat, and ranks with ties."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(groups):
        k = int(generator.integers(2, size + 1))
        made.append(((generator.integers(0, 6, k) / 4).tolist(), generator.integers(1, 4, k).tolist()))
    return make(made)


@pytest.mark.parametrize(("protocol", "macro"), TIED)
@pytest.mark.parametrize(("seed", "groups"), [(0, 12), (1, 12), (2, 12), (3, 90), (4, 90), (5, 90)])
def test_equals_brute_force(protocol: str, macro: bool, seed: int, groups: int, predictions_of_ranks: Make) -> None:
    pairs = judged_pairs(with_ties(groups, seed, predictions_of_ranks))
    delta = (pairs["score_first"] - pairs["score_second"]).to_numpy(float)
    candidates = PROBABILITY_GRID if protocol == "pickapic" else sorted({0.0, *np.abs(delta)})
    by_hand = [accuracy(pairs, protocol, threshold=eps, draws=0).value or 0.0 for eps in candidates]
    best = max(by_hand)
    smallest = next(eps for eps, value in zip(candidates, by_hand, strict=True) if value > best - 1e-12)
    found = tune_threshold(pairs, protocol)
    assert (found.value, found.score) == (pytest.approx(smallest, abs=0), pytest.approx(best))
    assert found.comparisons == len(pairs)


@pytest.mark.parametrize(("eps", "right"), [(0.0, 3), (0.125, 4), (0.375, 2), (0.5, 1)])
def test_worked_oracle(eps: float, right: int, predictions_of_ranks: Make) -> None:
    pairs = judged_pairs(predictions_of_ranks([([1, 0.5, 0.625, 0.625], [1, 2, 2, 4])]))
    assert accuracy(pairs, "tie_calibrated_micro", threshold=eps, draws=0).value == pytest.approx(right / 6)
    found = tune_threshold(pairs, "tie_calibrated_micro")
    assert (found.value, found.score) == (0.125, pytest.approx(4 / 6))


def test_a_threshold_is_tuned_on_one_table_and_applied_to_another(predictions_of_ranks: Make) -> None:
    # There, differences up to 0.25 are ties; here, people told a difference of 0.25 apart.
    validation = predictions_of_ranks([([0.0, 0.25], [1, 1]), ([0.0, 1.0], [2, 1])])
    test = predictions_of_ranks([([0.0, 0.25], [2, 1]), ([0.5, 0.75], [1, 1]), ([2.0, 0.0], [1, 2])])
    tuned = tune("tie_calibrated_micro", validation)
    assert (tuned["overall"].value, tuned["overall"].score) == (0.25, 1.0)
    (found,) = apply("tie_calibrated_micro", test, tuned)["overall"]
    assert found.value() == pytest.approx(2 / 3) and found.tuned == 0.25 and "tuned on 2 other" in found.note
    (itself,) = apply("tie_calibrated_micro_published", test)["overall"]
    assert "these comparisons themselves" in itself.note
    with pytest.raises(UserError, match=r"data\.tune="):
        apply("tie_calibrated_micro", test)
    with pytest.raises(UserError, match="nothing to tune"):
        tune("strict_micro", validation)
    with pytest.raises(UserError, match="no threshold"):
        tune_threshold(judged_pairs(test), "half_micro")


def test_tuning_data_without_a_comparison_give_no_number(predictions_of_ranks: Make, predictions_of: Make) -> None:
    tuned = tune("pickapic", predictions_of([([0.0, 1.0], [])]))
    (found,) = apply("pickapic", predictions_of_ranks([([0.0, 1.0], [2, 1])]), tuned)["overall"]
    assert found.value() is None and found.note.startswith("not tuned")


def test_equal_differences_are_never_cut_apart() -> None:
    gaps, tied, apart = np.array([0.5, 0.5, 0.75]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0])
    assert best_threshold(gaps, tied, apart, [0.0, 0.5, 0.75]) == (0.0, pytest.approx(2 / 3))
    assert accuracies_at(gaps, tied, apart, [0.0, 0.5, 0.75]) == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    # VideoAlign's own arithmetic does cut there, and finds what no threshold reaches.
    verdict, delta = np.array([0, 1, 1], dtype=np.int8), np.array([0.5, 0.5, 0.75])
    assert videoalign_accuracy(verdict, delta) == 1.0
    assert videoalign_accuracy(np.array([1], dtype=np.int8), np.array([1.0])) == 0.0, (
        "it never tries to call none a tie"
    )


def test_pickapic_credits(predictions_of: Make) -> None:
    def credit_of(votes: tuple[float, float, float], scores: list[float], t: float) -> float | None:
        pairs = judged_pairs(predictions_of([(scores, [(0, 1, votes)])]))
        return accuracy(pairs, "pickapic", threshold=t, draws=0).value

    first, tie = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
    assert [credit_of(first, s, 0.1) for s in ([1.0, 0.0], [0.0, 0.0], [0.0, 1.0])] == [1.0, 0.5, 0.0]
    assert [credit_of(tie, s, 0.1) for s in ([0.0, 0.0], [0.1, 0.0], [1.0, 0.0])] == [1.0, 1.0, 0.5]
    assert credit_of((5.0, 0.0, 5.0), [1.0, 0.0], 0.1) is None, "undecided is no tie"
    # |p1 - p0| = tanh(d / 2): 0.4621 for d = 1.
    assert [credit_of(first, [1.0, 0.0], t) for t in (0.4, 0.5)] == [1.0, 0.5]


def test_ties_of_pairs_without_a_score_are_counted(predictions_of: Make) -> None:
    pairs = judged_pairs(
        predictions_of([([float("nan"), 1.0], [(0, 1, (0, 1, 0))]), ([0.0, 1.0], [(0, 1, (0, 1, 0))])])
    )
    assert accuracy(pairs, "tie_calibrated_micro", draws=0).unscored == 1
    assert accuracy(pairs, "strict_micro", draws=0).unscored == 0, "it would not have counted"


def test_what_was_tuned_is_plain() -> None:
    assert Tuned("pickapic", 0.1, 3, 2, 0.5).note == ""


def test_the_best_is_the_best_by_however_little() -> None:
    # 401 pairs: one more tie is met at the second threshold, and only there.
    gaps = np.r_[np.full(1, 0.25), np.full(400, 0.5)]
    tied, apart = np.r_[1.0, np.zeros(400)], np.r_[0.0, np.ones(400)]
    assert best_threshold(gaps, tied, apart, [0.0, 0.25, 0.5]) == (0.25, pytest.approx(1.0))
