"""Best of n: against all subsets, ties, and groups that are too small."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from rewardkit.errors import DataError
from rewardkit.metrics.best_of_n import best_of_n_curve, chosen_probabilities, win_shares


@pytest.mark.parametrize("scores", [[3.0, 1.0, 2.0, 0.0, 5.0], [1.0, 1.0, 2.0, 2.0, 2.0], [0.0] * 5])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_all_subsets(scores: list[float], n: int) -> None:
    counts = np.zeros(5)
    subsets = list(combinations(range(5), n))
    for subset in subsets:
        best = [place for place in subset if scores[place] == max(scores[p] for p in subset)]
        counts[best] += 1 / len(best)
    assert chosen_probabilities(np.array(scores), n) == pytest.approx(counts / len(subsets))


def test_the_curve_of_a_perfect_a_random_and_a_reversed_model() -> None:
    generator = np.random.default_rng(0)
    values = [generator.permutation(4).astype(float) for _ in range(50)]
    perfect = best_of_n_curve([(v, v) for v in values], [1, 2, 4], draws=100)
    best_of_two = (1 + 2 + 3 + 2 + 3 + 3) / 6
    assert [point.value for point in perfect] == pytest.approx([1.5, best_of_two, 3.0]) and perfect[2].ceiling == 3.0
    assert [point.score for point in perfect] == pytest.approx([1.5, best_of_two, 3.0])
    constant = best_of_n_curve([(np.zeros(4), v) for v in values], [1, 4], draws=0)
    assert [point.value for point in constant] == pytest.approx([1.5, 1.5]), "never the order of the list"
    reversed_model = best_of_n_curve([(-v, v) for v in values], [1, 4])
    assert reversed_model[1].value == 0.0 and reversed_model[1].ceiling == 3.0
    noisy = best_of_n_curve([(v + generator.normal(0, 2, 4), v) for v in values], [1, 4])
    assert noisy[1].low < noisy[1].value < noisy[1].high and noisy[0].value < noisy[1].value < 3.0


def test_every_point_is_over_the_same_groups() -> None:
    groups = [([1.0, 2.0], [0.0, 1.0]), ([1.0, 2.0, 3.0], [0.0, 0.0, 1.0]), ([1.0, np.nan, 2.0], [1.0, 1.0, 1.0])]
    for point in best_of_n_curve(groups, [1, 3], draws=10):
        assert (point.groups, point.left_out) == (1, 2) and point.low is None
    (nothing,) = best_of_n_curve(groups, [9], draws=10)
    assert nothing.value is None and nothing.groups == 0


def test_win_shares() -> None:
    assert win_shares([1, 2, 2, 4]) == pytest.approx([1.0, 0.5, 0.5, 0.0])
    assert win_shares([1, np.nan, 2]) == pytest.approx([1.0, np.nan, 0.0], nan_ok=True)
    assert np.isnan(win_shares([1])).all()


def test_what_makes_no_curve() -> None:
    for ns in ([], [0]):
        with pytest.raises(DataError, match="numbers n of at least 1"):
            best_of_n_curve([([1.0], [1.0])], ns)
    with pytest.raises(DataError, match="group 0 has 2 scores and 1 values"):
        best_of_n_curve([([1.0, 2.0], [1.0])], [1])
    with pytest.raises(DataError, match="infinite"):
        best_of_n_curve([([np.inf], [1.0])], [1])
