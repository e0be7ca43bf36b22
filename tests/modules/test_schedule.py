"""The learning rate and the coefficients as functions of the step."""

from __future__ import annotations

import itertools

import pytest

from rewardkit.modules.schedule import linear, rate_factor


def test_cosine_with_warmup() -> None:
    factor = [rate_factor(s, total_steps=100, warmup_steps=10, schedule="cosine") for s in range(101)]
    assert factor[0] == pytest.approx(0.1) and factor[9] == 1.0 and factor[10] == 1.0
    assert factor[55] == pytest.approx(0.5) and factor[100] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(factor[10:]))


def test_constant_and_no_warmup() -> None:
    assert rate_factor(0, total_steps=5, warmup_steps=0, schedule="constant") == 1.0
    assert rate_factor(0, total_steps=5, warmup_steps=0, schedule="cosine") == 1.0


def test_linear_ends_where_it_should() -> None:
    assert linear(0, total_steps=11, start=2.0, end=1.0) == 2.0
    assert linear(10, total_steps=11, start=2.0, end=1.0) == 1.0
    assert linear(0, total_steps=1, start=2.0, end=1.0) == 2.0
