"""Curves of sureness: what each point counts, against the plain accuracy of the same rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rewardkit.data.predictions import Predictions
from rewardkit.metrics.baselines import agreement
from rewardkit.metrics.breakdown import breakdown
from rewardkit.metrics.calibration import ece, fit_temperature, labelled_differences
from rewardkit.metrics.comparison import side_by_side
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.metrics.protocols import PROTOCOLS, accuracy, score_gaps
from rewardkit.metrics.sureness import accuracy_above, beside_annotators, cross_tempered

Make = Callable[..., Predictions]


@pytest.mark.parametrize("name", ["strict_micro", "half_macro"])
def test_accuracy_above_is_the_accuracy_of_what_is_kept(random_predictions: Make, name: str) -> None:
    pairs = judged_pairs(random_predictions(60, seed=1))
    points = accuracy_above(pairs, PROTOCOLS[name], points=5, least=5)
    assert points[0].at == 0 and points[0].kept == 1 and len(points) >= 4
    for point in points:
        found = accuracy(pairs[score_gaps(pairs) >= point.at], name, draws=0)
        assert (point.value, point.comparisons) == (pytest.approx(found.value), found.comparisons)
        assert point.low <= point.value <= point.high
    whole = accuracy(pairs, name)
    assert whole.low is not None and points[0].low == pytest.approx(whole.low, abs=0.03)


def test_beside_annotators_takes_the_same_comparisons_for_both(random_predictions: Make) -> None:
    pairs = judged_pairs(random_predictions(60, seed=2))
    rule = PROTOCOLS["strict_micro"]
    points = beside_annotators(pairs, rule, bins=3, least=1)
    votes = pairs[["votes_first", "votes_tie", "votes_second"]].to_numpy(float)
    told = pairs[np.isin(pairs["verdict"], (1, -1)) & (votes.sum(axis=1) >= 2)]
    assert sum(point.comparisons for point in points) == len(told)
    assert [point.at for point in points] == sorted(point.at for point in points)
    mean = sum(point.value * point.comparisons for point in points) / len(told)
    assert mean == pytest.approx(accuracy(told, rule, draws=0).value)
    one = sum((point.beside or 0) * point.comparisons for point in points) / len(told)
    assert one == pytest.approx(np.nanmean(agreement(told, rule)))


def test_each_half_is_tempered_by_the_other(random_predictions: Make) -> None:
    pairs = judged_pairs(random_predictions(80, seed=3))
    pairs = pairs.assign(**{name: 10.0 * pairs[name] for name in ("score_first", "score_second")})  # far too sure
    found = cross_tempered(pairs)
    assert found is not None
    delta, label, tempered, betas = found
    counts, _, _ = labelled_differences(pairs)
    groups = np.unique(pairs["group"].to_numpy()[counts])
    half = np.searchsorted(groups, pairs["group"].to_numpy()[counts]) % 2 == 0
    assert betas[0] == fit_temperature(delta[~half], label[~half]).value
    assert np.allclose(tempered[half], betas[0] * delta[half]) and np.allclose(tempered[~half], betas[1] * delta[~half])
    assert ece(1 / (1 + np.exp(-tempered)), label) < ece(1 / (1 + np.exp(-delta)), label)


def test_nothing_to_temper_is_no_curve(predictions_of: Make) -> None:
    assert cross_tempered(judged_pairs(predictions_of([([1.0, 0.0], [(0, 1, (0, 0, 3))])]))) is None


def test_parts_by_margin_and_votes(predictions_of: Make) -> None:
    votes = [(5, 0, 5), (6, 0, 4), (4, 1, 0), (3, 0, 0), (1, 0, 0)]
    pairs = judged_pairs(predictions_of([([1.0, 0.0], [(0, 1, vote)]) for vote in votes]))
    rows = {row["part"]: row["comparisons"] for row in breakdown(pairs, "margin", "strict_micro", draws=0)}
    assert rows == {"up to 20 %": 1, "60 to 80 %": 1, "all agree": 2}
    rows = {row["part"]: row["comparisons"] for row in breakdown(pairs, "votes", "strict_micro", draws=0)}
    assert rows == {"1 vote": 1, "3 votes": 1, "5 votes": 1, "10 votes": 1}
    many = [([1.0, 0.0], [(0, 1, (n, 0, 0))]) for n in range(1, 13)]
    names = [row["part"] for row in breakdown(judged_pairs(predictions_of(many)), "votes", "strict_micro", draws=0)]
    assert names == ["1 vote", "2 votes", "3 to 4 votes", "5 to 9 votes", "10 to 19 votes"]


def test_two_models_side_by_side(predictions_of: Make) -> None:
    def table(scores: list[tuple[float, float]]) -> Predictions:
        return predictions_of([(list(pair), [(0, 1, (3, 0, 0))]) for pair in scores])

    ours = judged_pairs(table([(1, 0), (1, 0), (0, 1), (1, 0), (1, 0), (1, 0), (1, 0), (1, 0)]))
    theirs = judged_pairs(table([(1, 0), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1)]))
    found = side_by_side(ours, theirs, "strict_micro")
    assert (found.both, found.only_ours, found.only_theirs, found.neither) == (1, 6, 0, 1)
    assert (found.ours, found.theirs) == (7 / 8, 1 / 8)
    # Six groups differ, all the same way: of 2^6 ways to name the models two are as far apart.
    assert found.p_value == pytest.approx(2 / 64, abs=0.01)
    assert side_by_side(ours, ours, "strict_micro").p_value == 1
