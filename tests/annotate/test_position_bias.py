from __future__ import annotations

import numpy as np
import pytest
from simulated_scores import joint_scores

from rewardkit.annotate.position_bias import position_bias
from rewardkit.annotate.scores import Asked, asked, scores_of


def test_a_known_case_by_hand() -> None:
    # Two candidates, shown twice in swapped order; the first shown always gets 4, the other 2.
    rows = [(0, 0, 0, 0, 0, 0, 4.0), (0, 1, 0, 0, 0, 1, 2.0), (0, 1, 0, 0, 1, 0, 4.0), (0, 0, 0, 0, 1, 1, 2.0)]
    found = position_bias(asked(scores_of(rows, groups=1, dimensions=["d"], annotators=["a"]), 0, 0), draws=100)
    assert found is not None
    assert [(slot.place, slot.mean.value, slot.shift.value) for slot in found.slots] == [(1, 4.0, 1.0), (2, 2.0, -1.0)]
    assert (found.first_preference.value, found.first_preference.n) == (1.0, 2)
    assert (found.flips_swapped.value, found.flips_swapped.n) == (1.0, 1)
    assert (found.flips_same.value, found.flips_same.n) == (None, 0)
    assert found.first_preference.low is None  # one group tells nothing of how groups differ


def test_an_unbiased_annotator_has_intervals_around_no_bias() -> None:
    found = position_bias(asked(joint_scores(groups=400)[0], 0, 0), draws=500)
    assert found is not None
    assert found.first_preference.low < 0.5 < found.first_preference.high  # type: ignore[operator]
    assert all(slot.shift.low < 0 < slot.shift.high for slot in found.slots)  # type: ignore[operator]


def test_a_bonus_for_the_first_is_found_in_every_figure() -> None:
    found = position_bias(asked(joint_scores(groups=400, first_bonus=1.0)[0], 0, 0), draws=500)
    assert found is not None
    # The first of four gains 1 less what the clipping at 5 takes, and a quarter of that is in the request's mean.
    assert found.slots[0].shift.value == pytest.approx(0.65, abs=0.12)
    assert found.first_preference.low > 0.6  # type: ignore[operator]
    plain = position_bias(asked(joint_scores(groups=400)[0], 0, 0), draws=500)
    assert plain is not None
    assert found.flips_swapped.value > plain.flips_swapped.high  # type: ignore[operator]


def test_scores_of_single_images_have_no_place() -> None:
    rows = [(0, k, 0, 0, 0, -1, 3.0) for k in range(3)]
    assert position_bias(asked(scores_of(rows, groups=1, dimensions=["d"], annotators=["a"]), 0, 0), draws=10) is None
    assert position_bias(Asked(np.zeros((0, 0, 0)), np.zeros((0, 0, 0), np.int64)), draws=10) is None


def test_missing_scores_and_ties_are_in_no_pair() -> None:
    nan = np.nan
    values = np.array([[[3.0, nan, 3.0], [2.0, 5.0, 3.0]]])
    slots = np.array([[[0, 1, 2], [2, 1, 0]]])
    found = position_bias(Asked(values, slots), draws=10)
    assert found is not None
    assert (found.first_preference.n, found.first_preference.value) == (2, 0.5)  # ties of the first repeat: none
    assert found.flips_swapped.n == 0
