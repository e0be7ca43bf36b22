"""One parameter of a sweep in W&B's schema: its distribution, its limits, and the values that a grid lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardkit.config.help import show_value
from rewardkit.config.messages import did_you_mean

BETWEEN = (
    "uniform", "int_uniform", "q_uniform", "log_uniform", "log_uniform_values", "q_log_uniform", "q_log_uniform_values",
    "inv_log_uniform", "inv_log_uniform_values",
)  # fmt: skip
"""Distributions with ``min`` and ``max``."""

_SHAPES = {
    "normal": {"mu": 0.0, "sigma": 1.0},
    "q_normal": {"mu": 0.0, "sigma": 1.0},
    "log_normal": {"mu": 0.0, "sigma": 1.0},
    "q_log_normal": {"mu": 0.0, "sigma": 1.0},
    "beta": {"a": 1.0, "b": 1.0},
    "q_beta": {"a": 1.0, "b": 1.0},
}
"""Distributions without limits, with the defaults of their numbers."""

CHOSEN = ("categorical", "categorical_w_probabilities", "constant")
"""Distributions over listed values."""

DISTRIBUTIONS = (*BETWEEN, *_SHAPES, *CHOSEN)
"""All that W&B's schema names."""

MAX_GRID = 10_000
"""Longest list of values that a grid makes of one range."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What one option may be.

    Attributes:
        distribution: One of ``DISTRIBUTIONS``.
        values: Of ``CHOSEN``: the values.
        probabilities: One for each value; they sum to 1.
        numbers: Of the others: ``min``, ``max``, ``q``, ``mu``, ``sigma``, ``a``, ``b``, as far as they have them.
    """

    distribution: str
    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[Any, ...] | None:
        """The values that a grid tries; None where there is no end of them. As W&B: ``q_uniform`` without its max."""
        if self.probabilities is not None:
            return None
        if self.distribution in CHOSEN:
            return self.values
        if self.distribution == "int_uniform":
            return tuple(range(int(self.numbers["min"]), int(self.numbers["max"]) + 1))
        if self.distribution == "q_uniform":
            low, high, q = (self.numbers[name] for name in ("min", "max", "q"))
            count = max(0, -int(-(high - low) // q))
            return tuple(low + n * q for n in range(min(count, MAX_GRID))) if count else None
        return None

    def describe(self) -> str:
        """What it may be, in a few words; a line for each value where they are long."""
        if self.values:
            each = [show_value(value) for value in self.values]
            if self.probabilities is not None:
                each = [f"{value} ({100 * share:g} %)" for value, share in zip(each, self.probabilities, strict=True)]
            text = " | ".join(each)
            return text if len(text) <= 60 else "\n".join(each)
        numbers = dict(self.numbers)
        limits = f"{numbers.pop('min'):g} … {numbers.pop('max'):g}, " if "min" in numbers else ""
        more = "".join(f", {name} {value:g}" for name, value in numbers.items())
        return f"{limits}{self.distribution}{more}"


def read_parameters(given: Any, problems: list[str], prefix: str = "") -> dict[str, Parameter]:
    """Dotted option to parameter; nested ``parameters`` are flattened, and what is wrong is added to ``problems``."""
    where = f"parameters.{prefix}".rstrip(".")
    if not isinstance(given, Mapping) or not given:
        problems.append(
            f"{where}: expects a map of options of fit to what they may be, such as {{optim.lr: {{values: …}}}}"
        )
        return {}
    found: dict[str, Parameter] = {}
    for name, record in given.items():
        key = f"{prefix}{name}"
        if isinstance(record, Mapping) and "parameters" in record:
            if len(record) > 1:
                problems.append(
                    f"parameters.{key}: `parameters` stands alone, without {', '.join(set(record) - {'parameters'})}"
                )
            found |= read_parameters(record["parameters"], problems, f"{key}.")
            continue
        wrong: list[str] = []
        one = _read(record, wrong)
        problems += [f"parameters.{key}: {problem}" for problem in wrong]
        if one is not None:
            found[key] = one
    return found


def _read(record: Any, problems: list[str]) -> Parameter | None:
    if not isinstance(record, Mapping) or not record:
        problems.append(f"expects a map such as {{values: [1, 2]}} or {{min: 0.0, max: 1.0}}, got {record!r}")
        return None
    distribution = record.get("distribution", _inferred(record))
    if distribution is None:
        problems.append("says neither `values`, `value`, `min` and `max`, nor a distribution")
        return None
    if distribution not in DISTRIBUTIONS:
        hint = did_you_mean(str(distribution), DISTRIBUTIONS)
        problems.append(f"there is no distribution {distribution!r}.{hint} There are {', '.join(DISTRIBUTIONS)}")
        return None
    if distribution in CHOSEN:
        return _chosen(distribution, record, problems)
    names = ("min", "max") if distribution in BETWEEN else tuple(_SHAPES[distribution])
    names = (*names, *(("q",) if distribution.startswith("q_") else ()))
    _only(record, names, problems)
    defaults = {"q": 1, **_SHAPES.get(distribution, {})}
    numbers: dict[str, float] = {}
    for name in names:
        value = record.get(name, defaults.get(name))
        if isinstance(value, bool) or not isinstance(value, int | float):
            got = "" if value is None else f", got {value!r}"
            dot = " (YAML reads 1e-4 as text; write 1.0e-4)" if isinstance(value, str) and "e" in value else ""
            problems.append(f"{distribution} needs {name}, a number{got}{dot}")
            return None
        numbers[name] = value
    _check_numbers(distribution, numbers, problems)
    return Parameter(distribution, numbers=numbers)


def _inferred(record: Mapping[str, Any]) -> str | None:
    """The distribution that W&B takes where none is named."""
    if "values" in record:
        return "categorical_w_probabilities" if "probabilities" in record else "categorical"
    if "value" in record:
        return "constant"
    if {"min", "max"} <= set(record):
        return "int_uniform" if all(type(record[name]) is int for name in ("min", "max")) else "uniform"
    return None


def _chosen(distribution: str, record: Mapping[str, Any], problems: list[str]) -> Parameter | None:
    if distribution == "constant":
        _only(record, ("value",), problems)
        if "value" not in record:
            problems.append("constant needs `value`")
            return None
        return Parameter(distribution, (record["value"],))
    weighted = distribution == "categorical_w_probabilities"
    _only(record, ("values", "probabilities") if weighted else ("values",), problems)
    values = record.get("values")
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        problems.append(f"`values` expects a list of one or more, got {values!r}")
        return None
    if len({show_value(value) for value in values}) != len(values):
        problems.append("`values` names one of them twice, as fit reads them")
    if not weighted:
        return Parameter(distribution, tuple(values))
    shares = record.get("probabilities")
    right = isinstance(shares, Sequence) and all(type(s) in (int, float) and s >= 0 for s in shares)
    if not right or len(shares) != len(values) or abs(sum(shares) - 1) > 1e-6:  # type: ignore[arg-type]
        problems.append(f"`probabilities` expects {len(values)} numbers that sum to 1, got {shares!r}")
        return None
    return Parameter(distribution, tuple(values), tuple(float(share) for share in shares))  # type: ignore[union-attr]


def _only(record: Mapping[str, Any], names: Sequence[str], problems: list[str]) -> None:
    known = (*names, "distribution")
    problems += [f"{key}: does not go with it; {' and '.join(known)} do" for key in record if key not in known]


def _check_numbers(distribution: str, numbers: Mapping[str, float], problems: list[str]) -> None:
    if distribution in BETWEEN and not numbers["min"] < numbers["max"]:
        problems.append(f"min ({numbers['min']:g}) is not below max ({numbers['max']:g})")
    if distribution.endswith("log_uniform_values") and numbers["min"] <= 0:
        problems.append(f"{distribution} needs a min above 0, got {numbers['min']:g}")
    if distribution in ("log_uniform", "q_log_uniform", "inv_log_uniform") and numbers["max"] > 700:
        problems.append(
            f"the limits of {distribution} are natural logarithms; for limits of the values take {distribution}_values"
        )
    if distribution == "int_uniform" and any(type(numbers[name]) is not int for name in ("min", "max")):
        problems.append("int_uniform needs whole numbers as min and max")
    if numbers.get("q", 1) <= 0:
        problems.append(f"q must be above 0, got {numbers['q']:g}")
    for name in ("sigma", "a", "b"):
        if numbers.get(name, 1) <= 0:
            problems.append(f"{name} must be above 0, got {numbers[name]:g}")
