from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from simulated_scores import joint_scores

from rewardkit.annotate.consistency import alpha_estimate, consistency
from rewardkit.annotate.scores import Asked, asked

NAN = np.nan


def test_a_known_case_by_hand() -> None:
    values = np.array([[[3.0, 5.0, NAN], [4.0, 5.0, 2.0]]])  # one group, two repeats, three candidates
    found = consistency(Asked(values, np.full(values.shape, -1)), draws=10)
    assert found is not None
    assert (found.same.value, found.same.n) == (0.5, 2)
    assert (found.distance.value, found.alpha.n) == (0.5, 2)


def test_without_repeats_there_is_nothing_to_say() -> None:
    assert consistency(asked(joint_scores(groups=3, repeats=1)[0], 0, 0), draws=10) is None


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_the_librarys_and_its_interval_holds_it(level: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(1, 6, (3, 120)).astype(float)
    values[1] = np.clip(values[0] + rng.integers(-1, 2, 120), 1, 5)
    values[rng.random(values.shape) < 0.2] = NAN
    found = alpha_estimate(values, np.arange(120) // 4, level, draws=400)  # type: ignore[arg-type]
    assert found.value == pytest.approx(krippendorff.alpha(values, level_of_measurement=level))
    assert found.low < found.value < found.high and found.groups == 30  # type: ignore[operator]


def test_more_noise_is_less_consistent() -> None:
    calm, loud = (consistency(asked(joint_scores(noise=(n,))[0], 0, 0), draws=200) for n in (0.2, 1.5))
    assert calm is not None and loud is not None
    assert calm.alpha.low > loud.alpha.high and calm.same.low > loud.same.high  # type: ignore[operator]
