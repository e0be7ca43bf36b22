"""The flip rate is found again in simulated votes, and votes that cannot tell it are refused or told so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rewardkit.metrics.flip_rate import FlipRate, flip_rate, latent_flip_rate

Noise = float | Callable[[np.random.Generator, int], np.ndarray]


def bradley_terry(spread: float) -> Callable[[np.random.Generator, int], np.ndarray]:
    """People's noise where the gaps of utilities are normal: some comparisons are plain, some are a toss-up."""
    return lambda rng, n: 1 / (1 + np.exp(np.abs(rng.normal(0, spread, n))))


def simulate(
    seed: int, *, e: float, h: Noise, people: int, groups: int = 400, ties: float = 0.0, tie_votes: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Votes of an annotator and of people by the model of the module: six comparisons a group."""
    rng = np.random.default_rng(seed)
    n = groups * 6
    wrong = h(rng, n) if callable(h) else np.full(n, h)
    first = rng.random(n) < 0.5
    right = rng.binomial(people, 1 - wrong)
    for_first = np.where(first, right, people - right)
    human = np.stack([for_first, np.full(n, tie_votes), people - for_first], axis=1).astype(float)
    says_first = np.where(rng.random(n) < e, ~first, first)
    tie = rng.random(n) < ties
    annotator = np.stack([says_first & ~tie, tie, ~says_first & ~tie], axis=1).astype(float)
    return annotator, human, np.repeat(np.arange(groups), 6)


def mean_of(estimates: list[FlipRate]) -> float:
    return float(np.mean([f.unclipped for f in estimates]))


@pytest.mark.parametrize("people", [2, 3, 6, 10])
@pytest.mark.parametrize(("e", "h"), [(0.0, 0.1), (0.1, 0.2), (0.25, 0.05), (0.3, 0.3)])
def test_known_rates_are_found(e: float, h: float, people: int) -> None:
    found = [flip_rate(*simulate(seed, e=e, h=h, people=people, ties=0.4), draws=100) for seed in range(8)]
    assert mean_of(found) == pytest.approx(e, abs=0.02)
    assert {f.method for f in found} == {"one_rate" if people < 4 else "varying"}
    assert found[0].annotator_ties / found[0].matched == pytest.approx(0.4, abs=0.03)
    # Against the majority of two or three people alone, their mistakes would be the annotator's.
    if people < 4 and h > 0.1:
        assert np.mean([f.raw_disagreement for f in found]) > e + 0.03


@pytest.mark.parametrize("e", [0.1, 0.25])
@pytest.mark.parametrize("spread", [1.5, 3.0])
def test_comparisons_of_different_clearness(e: float, spread: float) -> None:
    cases = [simulate(seed, e=e, h=bradley_terry(spread), people=10) for seed in range(8)]
    varying = [flip_rate(*case, draws=100) for case in cases]
    assert mean_of(varying) == pytest.approx(e, abs=0.02)
    # One rate for all is biased upwards there, and is the upper bound.
    one_rate = [flip_rate(*case, noise="one_rate", draws=100) for case in cases]
    assert mean_of(one_rate) > e + 0.012
    for free, fixed in zip(varying, one_rate, strict=True):
        assert fixed.agreement is not None and fixed.human_agreement is not None
        closed = latent_flip_rate(fixed.agreement, fixed.human_agreement)
        assert fixed.unclipped == pytest.approx(closed) and fixed.most == pytest.approx(closed)
        assert free.most == pytest.approx(closed, abs=0.01)
        assert free.least is not None and free.most is not None and free.unclipped is not None
        assert free.least <= free.unclipped + 1e-9 <= free.most + 2e-9


def test_the_interval_covers_the_rate() -> None:
    inside = 0
    for seed in range(40):
        f = flip_rate(*simulate(seed, e=0.15, h=bradley_terry(2.0), people=8, groups=150), draws=200)
        assert f.low is not None and f.high is not None
        inside += f.low <= 0.15 <= f.high
    assert inside >= 34  # 38 expected; 34 or more with a chance of 0.99


def test_the_closed_form() -> None:
    for e, h in ((0.0, 0.0), (0.1, 0.2), (0.45, 0.3), (0.7, 0.1)):
        a, b = (1 - e) * (1 - h) + e * h, (1 - h) ** 2 + h**2
        assert latent_flip_rate(a, b) == pytest.approx(e)
    with pytest.raises(ValueError, match="no more than by chance"):
        latent_flip_rate(0.6, 0.5)


def test_by_hand() -> None:
    # Three comparisons: 2 of 2, 1 of 2 and 2 of 2 votes with the annotator, in either direction.
    annotator = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1]])
    human = np.array([[2, 0, 0], [1, 3, 1], [0, 1, 2]])
    f = flip_rate(annotator, human, np.array([0, 0, 1]), draws=100)
    assert f.agreement == pytest.approx(5 / 6)
    assert f.human_agreement == pytest.approx(2 / 3)
    assert f.unclipped == pytest.approx(0.5 * (1 - (2 / 3) / np.sqrt(1 / 3)))
    assert f.flip_rate == 0.0
    assert (f.comparisons, f.groups, f.majorities, f.raw_disagreement) == (3, 2, 2, 0.0)
    assert (f.human_ties, f.annotator_ties, f.matched) == (1, 0, 3)


def test_direction_and_order_do_not_matter() -> None:
    annotator, human, group = simulate(1, e=0.2, h=0.2, people=6)
    straight = flip_rate(annotator, human, group, draws=100)
    turned = np.arange(len(group)) % 2 == 0
    for votes in (annotator, human):
        votes[turned] = votes[turned][:, ::-1]
    assert flip_rate(annotator, human, group, draws=100).unclipped == pytest.approx(straight.unclipped)


def test_ties_are_counted_apart() -> None:
    annotator = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    human = np.array([[0, 4, 0], [3, 0, 0], [2, 0, 2], [0, 3, 0], [0, 2, 1], [4, 0, 1]])
    f = flip_rate(annotator, human, np.arange(6), draws=100)
    assert (f.annotator_ties, f.human_ties, f.both_ties, f.human_undecided) == (3, 3, 1, 1)
    assert (f.no_side, f.one_side_vote, f.comparisons, f.majorities) == (1, 1, 1, 1)


def test_single_votes_give_an_upper_bound() -> None:
    f = flip_rate(*simulate(0, e=0.1, h=0.2, people=1), draws=100)
    assert f.method == "uncorrected" and f.human_agreement is None
    assert f.flip_rate is not None and f.flip_rate == pytest.approx(0.1 * 0.8 + 0.9 * 0.2, abs=0.03)


def test_worse_than_chance_is_told_and_not_usable() -> None:
    f = flip_rate(*simulate(0, e=0.8, h=0.1, people=5), draws=100)
    assert f.flip_rate == pytest.approx(0.8, abs=0.03) and not f.usable
    assert f.low is not None and f.low > 0.5


def test_people_at_chance_tell_nothing() -> None:
    human = np.tile([[1.0, 0.0, 1.0]], (20, 1))
    f = flip_rate(np.tile([[1.0, 0.0, 0.0]], (20, 1)), human, np.arange(20), draws=100)
    assert f.flip_rate is None and "by chance" in f.reason and not f.usable


@pytest.mark.parametrize("human", [[[0, 1, 0]], np.zeros((0, 3))])
def test_nothing_to_compare(human: object) -> None:
    votes = np.asarray(human, float)
    f = flip_rate(np.tile([[1.0, 0.0, 0.0]], (len(votes), 1)), votes, np.arange(len(votes)))
    assert f.flip_rate is None and f.low is None and "no comparison" in f.reason


def test_one_group_has_no_interval() -> None:
    annotator, human, _ = simulate(0, e=0.1, h=0.1, people=5, groups=10)
    f = flip_rate(annotator, human, np.zeros(60, int))
    assert f.flip_rate is not None and f.low is None and f.groups == 1


@pytest.mark.parametrize(
    ("annotator", "human", "group"),
    [
        ([[1, 0]], [[1, 0]], [0]),
        ([[1, 0, 0]], [[1, 0, 0], [1, 0, 0]], [0]),
        ([[1, 0, 0]], [[1, 0, 0]], [0, 1]),
        ([[1, 0, 0]], [[-1, 0, 0]], [0]),
        ([[1, 0, float("nan")]], [[1, 0, 0]], [0]),
    ],
)
def test_bad_input(annotator: object, human: object, group: object) -> None:
    with pytest.raises(ValueError, match=r"votes|groups"):
        flip_rate(np.asarray(annotator, float), np.asarray(human, float), np.asarray(group))
