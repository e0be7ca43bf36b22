from __future__ import annotations

import numpy as np
import pytest

from rewardkit.annotate.people import AgreementWithPeople, kappa_estimate, people_dimensions
from rewardkit.data.group import Answer, Candidate, Comparison, Group
from rewardkit.data.index import Scale
from rewardkit.metrics.agreement import quadratic_weighted_kappa
from rewardkit.metrics.correlations import kendall_tau_b

FIVE = Scale(1, 5, True)
IMAGES = tuple(Candidate(f"{k}.png") for k in range(3))


def compared(*votes: tuple[int, int, tuple[float, float, float]], dimension: str = "d") -> Group:
    """A group of three with comparisons."""
    return Group("g", "p", IMAGES, comparisons=tuple(Comparison(dimension, i, j, v) for i, j, v in votes))


def test_a_case_by_hand() -> None:
    people = compared((0, 1, (7, 0, 3)), (1, 2, (0, 0, 10)), (0, 2, (1, 8, 1)))
    ours = compared((0, 1, (1, 0, 0)), (1, 2, (0, 1, 0)), (0, 2, (1, 0, 0)))
    part = AgreementWithPeople({"d": "d"}, {"d": FIVE})
    part.add(0, people, ours, {"d": np.array([4.0, 3.0, 3.0])})
    found = part.found(draws=20)["d"]
    assert (found.strict.value, found.strict.n) == (0.5, 2)  # 0 over 1 is right, 1 and 2 tie; people's tie counts not
    assert (found.half.value, found.half.n) == (0.75, 2)
    assert found.strict.low is None  # one group
    assert found.of == "comparisons" and found.kappa.n == found.alpha.n == 3
    assert found.flips.matched == 3 and found.flips.annotator_ties == 1


def test_the_dimension_of_people_may_have_another_name() -> None:
    people = compared((0, 1, (3, 0, 0)), dimension="liked")
    part = AgreementWithPeople({"d": "liked"}, {"d": FIVE})
    part.add(0, people, compared((0, 1, (1, 0, 0))), {"d": np.array([4.0, 3.0, 3.0])})
    found = part.found(draws=0)["d"]
    assert found.strict.value == 1.0
    empty = AgreementWithPeople({"d": "d"}, {"d": FIVE})
    empty.add(0, people, compared((0, 1, (1, 0, 0))), {"d": np.array([4.0, 3.0, 3.0])})
    assert empty.found(draws=0) == {}
    assert people_dimensions(["a", "b", "c"], {"a": "liked", "b": None}) == {"a": "liked", "c": "c"}


def answered(values: np.ndarray, by: int = 2) -> Group:
    """A group whose people answer: K values of each."""
    answers = tuple(Answer("d", k, f"p{n}", float(v)) for n in range(by) for k, v in enumerate(values))
    return Group("g", "p", tuple(Candidate(f"{k}.png") for k in range(len(values))), answers=answers)


def test_answers_on_the_scale_give_kappa_alpha_and_tau_of_answers() -> None:
    rng = np.random.default_rng(0)
    part, ours, theirs, taus = AgreementWithPeople({"d": "d"}, {"d": FIVE}), [], [], []
    for number in range(40):
        people = rng.integers(1, 6, 4)
        values = np.clip(people + rng.integers(-1, 2, 4), 1, 5).astype(float)
        part.add(number, answered(people), answered(values, 1), {"d": values})
        ours += values.tolist()
        theirs += people.tolist()
        taus.append(kendall_tau_b(values, people))
    found = part.found(draws=200)["d"]
    assert found.of == "answers" and found.kappa.n == 160
    a, b = (np.array(side, np.int64) - 1 for side in (ours, theirs))
    assert found.kappa.value == pytest.approx(quadratic_weighted_kappa(a, b, 5))
    assert found.kappa.low < found.kappa.value < found.kappa.high  # type: ignore[operator]
    assert found.tau_b.value == pytest.approx(np.nanmean(taus)) and found.tau_b.n == np.isfinite(taus).sum()


def test_answers_on_another_scale_are_not_compared_as_numbers() -> None:
    part = AgreementWithPeople({"d": "d"}, {"d": FIVE})
    part.add(0, answered(np.array([0, 1, 3])), answered(np.array([1, 2, 5]), 1), {"d": np.array([1.0, 2.0, 5.0])})
    found = part.found(draws=0)["d"]
    assert found.of == "comparisons" and found.half.value == 1.0


def test_kappa_does_not_depend_on_how_groups_are_cut() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 5, 60), rng.integers(0, 5, 60)
    values = {kappa_estimate(a, b, 5, group, draws=0).value for group in (np.arange(60), np.arange(60) // 6)}
    assert len({round(v, 12) for v in values if v is not None}) == 1
