"""A sweep's parameters as Optuna samples them, and as ``fit`` is given them.

Optuna has four of W&B's eighteen distributions. The others are drawn as a number that Optuna can draw, and turned into
the value: through the inverse of their distribution function, or by rounding to multiples of q, as W&B does.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from rewardkit.config.help import show_value
from rewardkit.config.sweep_parameters import Parameter

Point = dict[str, Any]
"""Dotted option of ``fit`` to its value."""

_EDGE = 1e-9
"""Shares are drawn from this to 1 less this: some distributions have no end."""


class Space:
    """All that a sweep may try.

    Args:
        parameters: Option to what it may be.

    Attributes:
        distributions: Option to what Optuna draws for it; options with one value alone are not among them.
        size: Number of points where they can be counted, else None.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self.parameters = dict(parameters)
        self.fixed: Point = {}
        self.distributions: dict[str, BaseDistribution] = {}
        for name, one in self.parameters.items():
            if one.distribution == "constant" or (one.probabilities is None and len(one.values) == 1):
                self.fixed[name] = one.values[0]
            else:
                self.distributions[name] = _distribution(one)
        grids = [one.grid for one in self.parameters.values()]
        chosen = [one.distribution != "q_uniform" for one in self.parameters.values()]  # its grid lacks its maximum
        self.size = (
            math.prod(len(grid) for grid in grids if grid is not None)
            if all(grid is not None for grid in grids) and all(chosen)
            else None
        )

    def point(self, drawn: Mapping[str, Any]) -> Point:
        """What Optuna drew, as values of options, in the order of the file."""
        return {
            name: self.fixed[name] if name in self.fixed else _value(one, drawn[name])
            for name, one in self.parameters.items()
        }

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination of the values, as Optuna would have drawn it; the last option changes fastest.

        Only where every parameter has a list of values.
        """
        lists = []
        for name in self.distributions:
            values = self.parameters[name].grid
            assert values is not None, name
            texts = self.parameters[name].distribution in ("categorical", "categorical_w_probabilities")
            lists.append([show_value(value) for value in values] if texts else list(values))
        for combination in itertools.product(*lists):
            yield dict(zip(self.distributions, combination, strict=True))

    def corners(self) -> Iterator[Point]:
        """Points that together take every listed value and both ends of every range, one option changed at a time."""
        first = {name: _ends(one)[0] for name, one in self.parameters.items()}
        yield first
        for name, one in self.parameters.items():
            for value in _ends(one)[1:]:
                yield {**first, name: value}


def arguments(point: Mapping[str, Any]) -> list[str]:
    """A point as ``key=value`` arguments of ``fit``."""
    return [f"{name}={show_value(value)}" for name, value in point.items()]


def identity(point: Mapping[str, Any]) -> str:
    """A text that two points share only where they are the same."""
    return json.dumps(point, sort_keys=True)


def _distribution(one: Parameter) -> BaseDistribution:
    """What Optuna draws for a parameter."""
    numbers = one.numbers
    if one.probabilities is not None:
        return FloatDistribution(0.0, 1.0)
    if one.values:
        return CategoricalDistribution([show_value(value) for value in one.values])
    if one.distribution == "int_uniform":
        return IntDistribution(int(numbers["min"]), int(numbers["max"]))
    if "min" in numbers:
        return FloatDistribution(numbers["min"], numbers["max"], log=one.distribution.endswith("log_uniform_values"))
    return FloatDistribution(_EDGE, 1 - _EDGE)


def _value(one: Parameter, drawn: Any) -> Any:
    """The option's value for what Optuna drew."""
    if one.probabilities is not None:
        return one.values[_place(one.probabilities, drawn)]
    if one.values:
        return next(value for value in one.values if show_value(value) == drawn)
    value = _of_share(one, drawn) if "min" not in one.numbers else drawn
    if one.distribution in ("log_uniform", "q_log_uniform"):
        value = math.exp(value)
    elif one.distribution == "inv_log_uniform":  # log(1 / value) is uniform
        value = math.exp(-value)
    if one.distribution.startswith("q_"):
        q = one.numbers["q"]
        rounded = round(value / q) * q
        return int(rounded) if isinstance(q, int) else float(f"{rounded:.12g}")  # 0.3, not 0.30000000000000004
    return value


def _place(shares: Sequence[float], drawn: float) -> int:
    """Which of the values a share of 0 to 1 falls on; never one of probability 0."""
    place = next((n for n, end in enumerate(itertools.accumulate(shares)) if drawn < end), len(shares))
    return place if place < len(shares) else max(n for n, share in enumerate(shares) if share > 0)


def _of_share(one: Parameter, share: float) -> float:
    """The value below which a share of the distribution lies."""
    from scipy import stats

    numbers = one.numbers
    if one.distribution.endswith("beta"):
        return float(stats.beta.ppf(share, numbers["a"], numbers["b"]))
    normal = float(stats.norm.ppf(share, numbers["mu"], numbers["sigma"]))
    return math.exp(normal) if one.distribution.endswith("log_normal") else normal


def _ends(one: Parameter) -> list[Any]:
    """Every listed value, or what lies at both ends."""
    if one.values:
        return list(one.values)
    low, high = (one.numbers["min"], one.numbers["max"]) if "min" in one.numbers else (_EDGE, 1 - _EDGE)
    if one.distribution in ("normal", "q_normal", "log_normal", "q_log_normal"):
        low, high = 0.16, 0.84  # a standard deviation; its ends have no meaning
    return [_value(one, low), _value(one, high)]
