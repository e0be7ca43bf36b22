from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import expit
from simulated_scores import joint_scores

from rewardkit.annotate.aggregate import RULES, Aggregated, aggregate
from rewardkit.annotate.noisy_bradley_terry import Judgements, fit_noisy_bradley_terry, loss_and_gradient
from rewardkit.annotate.scores import Scores, scores_of

NA = math.nan


def said(*answers: tuple[int, float], dimensions: tuple[str, ...] = ("aesthetic",)) -> Scores:
    """Answers (annotator, value) on one candidate, each a repeat of its own."""
    rows = [(0, 0, 0, annotator, n, -1, value) for n, (annotator, value) in enumerate(answers)]
    return scores_of(rows, groups=1, dimensions=dimensions, annotators=["a", "b", "c"])


def value(scores: Scores, rule: str) -> float:
    """The one aggregated score."""
    return float(aggregate(scores, rule).value[0])


def test_the_mean_is_over_annotators_of_the_mean_over_repeats() -> None:
    assert value(said((0, 5), (0, 4), (0, 3), (1, 2)), "mean") == 3.0  # not 3.5, the mean of four answers
    found = aggregate(said((0, 5), (1, 2)), "mean")
    assert (found.spread[0], found.answers[0], found.reliability) == (1.5, 2, {})


@pytest.mark.parametrize(
    ("answers", "rule", "expected"),
    [
        ([(0, 4), (1, NA)], "mean", 4.0),
        ([(0, 4), (1, NA), (2, NA)], "mean", NA),
        ([(0, 4), (1, 4), (2, 1)], "majority", 4.0),
        ([(0, 2), (1, 5)], "majority", 3.5),  # neither is more frequent
        ([(0, NA), (1, NA), (2, 1)], "majority", NA),
        ([(0, NA), (1, 3)], "majority", 3.0),
        ([(0, 4), (1, 4), (2, 1)], "dawid_skene", 4.0),
    ],
)
def test_small_cases(answers: list[tuple[int, float]], rule: str, expected: float) -> None:
    np.testing.assert_equal(value(said(*answers), rule), expected)


@pytest.mark.parametrize("rule", list(RULES))
def test_the_order_of_rows_and_the_names_of_annotators_change_nothing(rule: str) -> None:
    scores, _ = joint_scores(groups=8, noise=(0.4, 1.0, 1.5))
    rows = np.stack([scores.group, scores.candidate, scores.dimension, 2 - scores.annotator, scores.repeat, scores.slot,
                     scores.value], axis=1)  # fmt: skip
    rows = rows[np.random.default_rng(1).permutation(len(rows))]
    turned = scores_of([tuple(row) for row in rows], groups=8, dimensions=["aesthetic"], annotators=["a", "b", "c"])
    ours, theirs = aggregate(scores, rule), aggregate(turned, rule)
    np.testing.assert_allclose(ours.value, theirs.value, atol=0.0011)


def agreement(found: Aggregated, truth: np.ndarray) -> float:
    """Share of pairs of a group in the true order; a tie is one half."""
    values = found.value.reshape(truth.shape)
    i, j = np.triu_indices(truth.shape[1], 1)
    over = np.sign(values[:, i] - values[:, j]) * np.sign(truth[:, i] - truth[:, j])
    return float((0.5 + over / 2).mean())


def test_rules_that_know_reliability_beat_the_mean_where_annotators_differ() -> None:
    scores, truth = joint_scores(groups=400, repeats=1, noise=(0.3, 2.5, 2.5, 2.5))
    right = {rule: agreement(aggregate(scores, rule), truth) for rule in RULES}
    assert right["dawid_skene"] > right["majority"] + 0.02
    assert right["bradley_terry"] > right["mean"] + 0.02
    for rule in ("dawid_skene", "bradley_terry"):
        reliability = aggregate(scores, rule).reliability
        others = [reliability[name]["aesthetic"] for name in ("a1", "a2", "a3")]
        assert reliability["a0"]["aesthetic"] > max(others) + 0.05, rule


def test_equal_candidates_tie_under_bradley_terry() -> None:
    rows = [(0, k, 0, a, 0, -1, v) for a in (0, 1) for k, v in enumerate([4.0, 4.0, 1.0])]
    found = aggregate(scores_of(rows, groups=1, dimensions=["d"], annotators=["a", "b"]), "bradley_terry")
    assert found.value[0] == found.value[1] > 0 > found.value[2]


def judgements(seed: int = 0, count: int = 120) -> Judgements:
    """Random judgements of 8 items by 3 annotators."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, 8, count)
    wins = rng.integers(0, 3, count) / 2
    return Judgements(left, (left + rng.integers(1, 8, count)) % 8, rng.integers(0, 3, count), wins, 1 - wins)


def test_the_gradient_is_that_of_the_loss_and_the_law_is_crowdkits() -> None:
    from crowdkit.aggregation.pairwise.noisy_bt import NoisyBradleyTerry

    judged, rng = judgements(), np.random.default_rng(3)
    utility, skill, place = rng.normal(size=8), rng.normal(size=3), rng.normal(size=3)
    g, b = expit(skill), expit(place)
    error = check_grad(
        lambda u: loss_and_gradient(u, judged, g, b)[0], lambda u: loss_and_gradient(u, judged, g, b)[1], utility
    )
    assert error < 1e-4
    decided = judged.left_wins != 0.5
    left, right, worker = judged.left[decided], judged.right[decided], judged.worker[decided]
    label = np.where(judged.left_wins[decided] == 1, left, right)
    theirs = NoisyBradleyTerry._compute_log_likelihood(
        np.concatenate([[0.0], utility, place, skill]), np.stack([left, right, label], 1) + 1, worker, 8, 3, 0.0
    )
    sided = Judgements(left, right, worker, judged.left_wins[decided], judged.right_wins[decided])
    assert loss_and_gradient(utility, sided, g, b)[0] - 0.5 * (utility**2).sum() / 4 == pytest.approx(theirs)


def test_an_annotator_who_picks_the_left_one_is_found_out() -> None:
    rng = np.random.default_rng(0)
    utility = rng.normal(size=40)
    left = rng.integers(0, 40, 3000)
    right = (left + rng.integers(1, 40, 3000)) % 40
    worker = rng.integers(0, 2, 3000)
    judged = rng.random(3000) < 1 / (1 + np.exp(-3 * (utility[left] - utility[right])))
    wins = np.where(worker == 0, judged, rng.random(3000) < 0.9).astype(float)
    found = fit_noisy_bradley_terry(Judgements(left, right, worker, wins, 1 - wins), items=40, workers=2)
    assert found.reliability[0] > 0.7 and found.reliability[1] < 0.2
    assert found.left[1] == pytest.approx(0.9, abs=0.04)
    assert np.corrcoef(found.utility, utility)[0, 1] > 0.97


def test_nobody_is_called_reliable_whom_nobody_else_was_held_against() -> None:
    scores, truth = joint_scores(groups=50, repeats=1, noise=(0.5,))
    found = aggregate(scores, "bradley_terry")
    assert found.reliability == {}
    assert agreement(found, truth) == pytest.approx(agreement(aggregate(scores, "mean"), truth), abs=0.01)
