"""Answers of the simulated raters: their law, and that they leave all else as it was."""

from __future__ import annotations

import numpy as np
import pytest

from rewardkit.data.demo.dataset import demo_group, plan_group
from rewardkit.data.demo.prompts import sentence
from rewardkit.data.demo.raters import RATERS, rate, value_law
from rewardkit.data.demo.voters import FAULT_DIMENSIONS


def test_the_likeliest_value_falls_with_the_fault() -> None:
    for level in range(4):
        law = value_law(-float(level))
        assert sum(law) == pytest.approx(1) and max(range(4), key=law.__getitem__) == 3 - level
        assert 0.7 < max(law) < 0.9


def test_raters_follow_their_law() -> None:
    rng = np.random.default_rng(0)
    said = [rate(rng, dict.fromkeys(FAULT_DIMENSIONS, -1.0)) for _ in range(500)]
    values = np.array([one["fidelity"] for one in said]).ravel()
    assert len(values) == 500 * RATERS
    assert np.bincount(values, minlength=4) / len(values) == pytest.approx(value_law(-1.0), abs=0.04)


def test_answers_change_nothing_else() -> None:
    plain, files = demo_group(seed=0, index=3, split="train")
    answered, same = demo_group(seed=0, index=3, split="train", answers=True)
    assert files == same and plain.answers == ()
    assert (answered.comparisons, answered.candidates, answered.slots) == (
        plain.comparisons,
        plain.candidates,
        plain.slots,
    )
    assert len(answered.answers) == 4 * len(FAULT_DIMENSIONS) * RATERS
    shown = plan_group(seed=0, index=3, split="train").shown
    for answer in answered.answers:
        about = f"It shows {sentence(shown[answer.candidate])}."
        assert answer.rationale == (about if answer.dimension == "prompt_following" else None)
        assert answer.value in (0, 1, 2, 3)
