"""Two runs on the same validation data: what one gains over the other on each dimension."""

from __future__ import annotations

from collections.abc import Sequence
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


def compare_evaluations(
    ours: Sequence[Evaluation], theirs: Sequence[Evaluation], *, name: str, required: bool = True
) -> dict[str, list[Gain]]:
    """Paired differences, on the validation sets and dimensions that both runs have.

    Args:
        ours: Evaluations of the run that is reported.
        theirs: Evaluations of the other, under the same protocol.
        name: Of the other run, for messages.
        required: Whether there must be something to compare.

    Returns:
        Name of the set to its gains.

    Raises:
        UserError: One of them has no predictions, or they have no comparison in common.
    """
    for who, evaluations in (("the run", ours), ("the other run", theirs)):
        if not any(evaluation.pairs is not None for evaluation in evaluations):
            raise UserError(f"against={name}: {who} has no predictions table yet, so there is nothing to compare")
    by_name = {evaluation.set: evaluation for evaluation in theirs}
    found = {}
    for evaluation in ours:
        gains = _gains(evaluation, by_name[evaluation.set]) if evaluation.set in by_name else []
        if gains:
            found[evaluation.set] = gains
    if not found and required:
        raise UserError(
            f"against={name}: the two runs have no comparison of the same dimension in common; runs are compared on "
            "the same validation data"
        )
    return found


def _gains(ours: Evaluation, theirs: Evaluation) -> list[Gain]:
    """One set's differences; a dimension without a common comparison is left out."""
    if ours.counted is None or theirs.counted is None:
        return []
    rows = {row.name: row for row in theirs.rows}
    gains = []
    for row in ours.rows:
        if row.name not in rows:
            continue
        left = ours.counted[ours.counted["dimension"] == row.name]
        right = theirs.counted[theirs.counted["dimension"] == row.name]
        try:
            difference = paired_difference(left, right, ours.protocol)
        except DataError:
            continue
        gains.append(Gain(row.name, row, rows[row.name], difference))
    return gains
