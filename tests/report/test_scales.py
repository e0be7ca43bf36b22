"""Axes, numbers on them, and long curves made short."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rewardkit.report.scales import MAX_POINTS, axis_of, number, pieces

finite = st.floats(-1e12, 1e12, allow_nan=False)


@given(finite, finite)
@example(0.0, 5e-324)
@example(1e12, 1e12 + 2e-4)
@example(1e-310, 2e-310)
def test_axis_holds_its_values_with_few_ticks(a: float, b: float) -> None:
    axis = axis_of(min(a, b), max(a, b))
    slack = 1e-6 * (axis.high - axis.low)
    assert axis.low <= min(a, b) + slack
    assert axis.high >= max(a, b) - slack
    assert 2 <= len(axis.ticks) <= 9
    assert list(axis.ticks) == sorted(set(axis.ticks))


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.5, 0.9, ["0.5", "0.6", "0.7", "0.8", "0.9"]),
        (0, 1e-3, ["0", "2.5e-4", "5e-4", "7.5e-4", "1e-3"]),
        (0, 4000, ["0", "1,000", "2,000", "3,000", "4,000"]),
        (-1, 1, ["−1.0", "−0.5", "0", "0.5", "1.0"]),
        (0, 1, ["0", "0.25", "0.50", "0.75", "1.00"]),
    ],
)
def test_labels_are_round(low: float, high: float, labels: list[str]) -> None:
    axis = axis_of(low, high)
    assert [axis.label(tick) for tick in axis.ticks] == labels


def test_a_single_value_gets_an_axis_around_it() -> None:
    axis = axis_of(3.0, 3.0)
    assert axis.low < 3 < axis.high


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.1234567, "0.1235"), (12.5, "12.5"), (-3, "−3"), (3.3e-6, "3.3e-6"), (2e9, "2e9")]
)
def test_single_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_long_curves_become_pieces_with_mean_and_range() -> None:
    points = [(float(x), float(x % 2)) for x in range(10 * MAX_POINTS)]
    (stretch,) = pieces(points)
    assert len(stretch) <= MAX_POINTS
    assert all((piece.low, piece.mean, piece.high) == (0.0, 0.5, 1.0) for piece in stretch)
    assert stretch[0].x < 10 and stretch[-1].x > 10 * MAX_POINTS - 10


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=2000))
def test_curves_break_at_what_is_not_finite(values: list[float]) -> None:
    stretches = pieces([(float(n), value) for n, value in enumerate(values)])
    known = [value for value in values if math.isfinite(value)]
    assert sum(len(stretch) for stretch in stretches) <= len(known)
    assert bool(stretches) == bool(known)
    for stretch in stretches:
        assert all(piece.low <= piece.high and math.isfinite(piece.mean) for piece in stretch)


def test_a_curve_with_a_hole_is_two() -> None:
    assert [len(s) for s in pieces([(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0), (4, 3.0)])] == [1, 2]
