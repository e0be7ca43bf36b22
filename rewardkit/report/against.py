"""Two runs side by side: what one gains over the other on each dimension, and which options differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardkit.errors import DataError, UserError
from rewardkit.metrics.comparison import Difference, SideBySide, paired_difference, side_by_side
from rewardkit.report.evaluation import Evaluation, Row
from rewardkit.report.run_files import RunFiles


@dataclass(frozen=True, slots=True)
class Gain:
    """One dimension of a comparison of two runs."""

    dimension: str
    ours: Row
    theirs: Row
    difference: Difference
    counts: SideBySide


@dataclass(frozen=True, slots=True)
class Changed:
    """An option that differs between two runs; None where a run's config.yaml does not have it."""

    key: str
    ours: str | None
    theirs: str | None


_OF_THE_PLACE = ("run.", "data.workers", "cache.", "resume", "logger")


def changed_between(ours: RunFiles, theirs: RunFiles) -> list[Changed]:
    """The options in which two runs differ, but for those that only say where and how they ran."""
    mine, others = ({option.key: option.value for option in files.options} for files in (ours, theirs))
    return [
        Changed(key, mine.get(key), others.get(key))
        for key in dict.fromkeys((*mine, *others))
        if mine.get(key) != others.get(key) and not key.startswith(_OF_THE_PLACE)
    ]


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
            counts = side_by_side(left, right, ours.protocol)
        except DataError:
            continue
        gains.append(Gain(row.name, row, rows[row.name], difference, counts))
    return gains
