"""Two runs on the same validation data: what one gains over the other on each dimension."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.errors import DataError, UserError
from rewardkit.metrics.comparison import Difference, paired_difference
from rewardkit.report.evaluation import Evaluation, Row


@dataclass(frozen=True, slots=True)
class Gain:
    """One dimension of a comparison of two runs."""

    dimension: str
    ours: Row
    theirs: Row
    difference: Difference


def compare_evaluations(ours: Evaluation, theirs: Evaluation, *, name: str) -> list[Gain]:
    """Paired differences, on the dimensions that both runs have.

    Args:
        ours: Evaluation of the run that is reported.
        theirs: Evaluation of the other.
        name: Of the other run, for messages.

    Raises:
        UserError: One of them has no predictions, or they share no dimension or no comparison.
    """
    if ours.pairs is None or theirs.pairs is None:
        raise UserError(f"against={name}: both runs need a predictions table; one of them has none (no validation yet)")
    rows = {row.name: row for row in theirs.rows}
    shared = [row for row in ours.rows if row.name in rows]
    gains = []
    for row in shared:
        left = ours.pairs[ours.pairs["dimension"] == row.name]
        right = theirs.pairs[theirs.pairs["dimension"] == row.name]
        try:
            difference = paired_difference(left, right, ours.protocol)
        except DataError:
            continue  # nothing in common on this dimension; said below where it is so on all
        gains.append(Gain(row.name, row, rows[row.name], difference))
    if not gains:
        why = "they have no dimension in common" if not shared else "they have no comparison in common"
        raise UserError(f"against={name}: {why}; two runs are compared on the same validation data")
    return gains
