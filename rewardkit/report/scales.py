"""Axes of charts: round tick marks, numbers as a person writes them, and long curves made short."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_POINTS = 240
"""A curve of more points is drawn as the mean and the range of this many pieces."""

TINY = 1e-290
"""Values nearer to each other than this are drawn as equal; arithmetic on smaller ones loses its digits."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a chart.

    Attributes:
        low: Value at the start.
        high: Value at the end; greater than ``low``.
        ticks: Round values between the two.
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float, start: float, end: float) -> float:
        """Where a value lies on a line from ``start`` to ``end``."""
        return start + (value - self.low) / (self.high - self.low) * (end - start)

    def label(self, tick: float) -> str:
        """A tick's number, with as many digits as its neighbours need."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else max(abs(tick), 1.0)
        return number(tick, step)


def axis_of(low: float, high: float, *, ticks: int = 5, grow: bool = True) -> Axis:
    """An axis that holds ``low`` and ``high``, with about ``ticks`` round tick marks (steps of 1, 2, 2.5 or 5).

    Args:
        low: Smallest value; finite.
        high: Largest value; finite.
        ticks: Wished for.
        grow: The axis ends at tick marks; else it ends at the values.
    """
    size = max(abs(low), abs(high))
    if not high - low > 1e-12 * size + TINY:  # equal, or too near for steps between them to differ
        pad = size * 0.1 if size > TINY else 0.5
        low, high = low - pad, high + pad
    step = _round_step((high - low) / max(1, ticks - 1))
    if grow:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(n * step for n in range(first, last + 1)))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * round_step for round_step in (1, 2, 2.5, 5, 10) if rough <= power * round_step * (1 + 1e-9))


def number(value: float, step: float = 0.0) -> str:
    """A number for a tick or a tooltip: ``0.75``, ``1,200``, ``3.3e-6``.

    Args:
        value: Finite.
        step: Distance to the next tick, which says how fine the digits must be; 0 for a number that stands alone.
    """
    if value == 0 or (step and abs(value) < step * 1e-6):
        return "0"
    fine = step or abs(value) / 1000
    if fine < 1e-6 or (step and step < 1e-3) or abs(value) >= 1e7:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    else:
        digits = min(6, max(0, math.ceil(-math.log10(fine) - 1e-9)))
        if step and abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
            digits += 1  # steps of 0.25
        text = f"{value:,.{digits}f}"
        text = text if step or "." not in text else text.rstrip("0").rstrip(".")
    return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else text


@dataclass(frozen=True, slots=True)
class Piece:
    """A short stretch of a curve: where it lies, its mean and its range."""

    x: float
    mean: float
    low: float
    high: float


def pieces(points: Sequence[tuple[float, float]], limit: int = MAX_POINTS) -> list[list[Piece]]:
    """A curve as at most about ``limit`` pieces, broken where a value is not finite.

    Args:
        points: (x, value), x ascending.
        limit: Pieces at most, if the curve is not broken.

    Returns:
        One list for each unbroken stretch.
    """
    width = max(1, math.ceil(len(points) / limit))
    stretches: list[list[tuple[float, float]]] = [[]]
    for x, value in points:
        if math.isfinite(value):
            stretches[-1].append((x, value))
        elif stretches[-1]:
            stretches.append([])
    return [
        [_piece(stretch[start : start + width]) for start in range(0, len(stretch), width)]
        for stretch in stretches
        if stretch
    ]


def _piece(part: Sequence[tuple[float, float]]) -> Piece:
    values = [value for _, value in part]
    # Halves first: the sum of two huge values may overflow.
    mean = math.fsum(value / len(values) for value in values)
    return Piece(part[-1][0] if len(part) == 1 else (part[0][0] + part[-1][0]) / 2, mean, min(values), max(values))
