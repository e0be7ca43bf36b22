"""The one number of a validation that decides which model is best and when to stop."""

from __future__ import annotations

from collections.abc import Sequence

from rewardkit.callbacks.preference_accuracy import Validation


def deciding_dimension(named: str | None, dimensions: Sequence[str]) -> str | None:
    """The dimension that decides: the named one, else ``overall`` where there is one, else None for the mean of all."""
    return named or ("overall" if "overall" in dimensions else None)


def deciding_accuracy(validations: Sequence[Validation], dimension: str | None) -> float | None:
    """Accuracy of the deciding dimension (None: the mean of all), averaged over the sets; None where there is none."""
    values = [
        row["value"]
        for validation in validations
        for row in validation.rows
        if row["value"] is not None and dimension in (None, row["dimension"])
    ]
    return sum(values) / len(values) if values else None
