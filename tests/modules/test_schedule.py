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


def test_linear_schedule() -> None:
    factor = [rate_factor(s, total_steps=10, warmup_steps=2, schedule="linear") for s in range(12)]
    assert factor == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0])
    assert rate_factor(3, total_steps=12, warmup_steps=0, schedule="linear") == 0.75
