"""Collects differences between golden numbers and rewardkit's, for one kind of case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Malformed(Exception):
    """A golden file that does not follow its schema."""


@dataclass
class Check:
    """What came of one kind of case in one file.

    Attributes:
        kind: Name of the kind.
        cases: Number of cases in the file.
        covered: False where rewardkit has nothing for it yet, or where what it needs is not here.
        why: Why it is not covered.
        error: Largest absolute difference between numbers so far.
        compared: Numbers and texts compared so far.
        mismatches: One message for each.
    """

    kind: str
    cases: int
    covered: bool = True
    why: str = "not covered"
    error: float = 0.0
    compared: int = 0
    mismatches: list[str] = field(default_factory=list)

    def numbers(self, where: str, got: Any, wanted: Any, *, atol: float, rtol: float = 0.0) -> None:
        """Compares numbers or nested lists of numbers; ``null`` stands for an undefined number."""
        try:
            wanted_array = np.array(wanted, dtype=float)
        except (TypeError, ValueError):
            raise Malformed(f"{where} is not a number or a regular list of numbers") from None
        got_array = np.array(got, dtype=float)
        self.compared += wanted_array.size
        if got_array.shape != wanted_array.shape:
            self.mismatches.append(f"{where}: shape {list(got_array.shape)}, expected {list(wanted_array.shape)}")
            return
        difference = np.abs(got_array - wanted_array)
        undefined = np.isnan(got_array) & np.isnan(wanted_array)
        close = undefined | (difference <= atol + rtol * np.abs(wanted_array))
        finite = difference[np.isfinite(difference)]
        if finite.size:
            self.error = max(self.error, float(finite.max()))
        if not close.all():
            # Numbers that cannot be compared are the worst of all.
            size = np.where(np.isnan(difference), np.inf, difference)
            worst = np.unravel_index(int(np.argmax(np.where(close, -1.0, size))), close.shape)
            place = "".join(f"[{i}]" for i in worst)
            count = f"{int((~close).sum())} of {close.size} numbers, worst " if close.size > 1 else ""
            self.mismatches.append(
                f"{where}{place}: {count}{got_array[worst]:.9g}, expected {wanted_array[worst]:.9g} "
                f"(difference {difference[worst]:.3g}, allowed {atol + rtol * abs(float(wanted_array[worst])):.3g})"
            )

    def equal(self, where: str, got: Any, wanted: Any) -> None:
        """Compares anything that has to be the same exactly."""
        self.compared += 1
        if got != wanted:
            self.mismatches.append(f"{where}: {_short(got)}, expected {_short(wanted)}")


def need(record: Any, *keys: str) -> list[Any]:
    """The values of some keys of a case.

    Raises:
        Malformed: The case is no object, or a key is missing.
    """
    if not isinstance(record, Mapping):
        raise Malformed(f"a case is a {type(record).__name__}, not an object")
    missing = [key for key in keys if key not in record]
    if missing:
        raise Malformed(f"{_name(record)} lacks {', '.join(missing)}")
    return [record[key] for key in keys]


def _name(record: Mapping[str, Any]) -> str:
    name = record.get("name") or record.get("pattern")
    return f"the case {name!r}" if name else "a case"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
