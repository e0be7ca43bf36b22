"""From the log of an annotation to groups: answers, comparisons by stated rules, and where each came from.

A group is written with what annotators said alone. Labels that people gave the input stay where they are, untouched:
they are what the annotation is compared with, and the input goes on being a set to validate on.

::

    answers       each annotator's, ``by`` its name, every repeat with its rationale; or the aggregated ones instead, by
                  ``aggregate=RULE``. Overall, where it is a mean: by ``overall=RULE``
    comparisons   of the aggregated scores, ties kept, on every dimension and overall: one vote each
    provenance    what the input's record had; under ``annotation`` the rules, the log's digest, and every request with
                  its order, model, version of the prompt, seed and raw text
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from rewardkit.annotate.aggregate import Aggregated
from rewardkit.annotate.log import LogLine
from rewardkit.annotate.overall import (
    OVERALL,
    OverallRule,
    PairCounts,
    dimension_comparisons,
    overall_comparisons,
    overall_scores,
)
from rewardkit.annotate.scores import Floats
from rewardkit.data.group import NOT_APPLICABLE, Answer, Comparison, Group
from rewardkit.data.reading.statements import RAW_PROMPT
from rewardkit.errors import DataError

Kept = Literal["annotators", "aggregated"]


@dataclass(frozen=True, slots=True)
class FoldRules:
    """How labels follow from scores.

    Attributes:
        aggregate: See ``aggregate.py``.
        overall: See ``overall.py``.
        answers: Whose answers are written.
    """

    aggregate: str = "mean"
    overall: OverallRule = field(default_factory=OverallRule)
    answers: Kept = "annotators"

    def as_record(self) -> dict[str, Any]:
        """For provenance and indices."""
        overall = self.overall
        weights = {"weights": dict(overall.weights)} if overall.rule == "weighted" else {}
        return {
            "aggregate": self.aggregate,
            "overall": overall.rule,
            **weights,
            "tie_eps": overall.tie_eps,
            "answers": self.answers,
        }


@dataclass(frozen=True, slots=True)
class Values:
    """Aggregated scores by group.

    Attributes:
        dimensions: Names of the columns.
        of: Position of a group to its scores ``[K', D]``, NaN where there is no number; K' reaches to the last
            candidate with a score.
        not_applicable: Position to which of these are N/A ``[K', D]``.
    """

    dimensions: tuple[str, ...]
    of: Mapping[int, Floats]
    not_applicable: Mapping[int, np.ndarray]


def values_of(aggregated: Aggregated, dimensions: Sequence[str]) -> Values:
    """Aggregated scores as a table for each group."""
    groups, start = np.unique(aggregated.group, return_index=True)
    tables, marks = {}, {}
    for position, rows in zip(groups.tolist(), np.split(np.arange(len(aggregated.group)), start[1:]), strict=True):
        candidate, dimension, value = (
            column[rows] for column in (aggregated.candidate, aggregated.dimension, aggregated.value)
        )
        shape = (int(candidate.max()) + 1, len(dimensions))
        tables[position], marks[position] = np.full(shape, np.nan), np.zeros(shape, bool)
        tables[position][candidate, dimension] = value
        marks[position][candidate, dimension] = np.isnan(value)
    return Values(tuple(dimensions), tables, marks)


def padded(values: Floats | None, candidates: int, dimensions: int) -> Floats:
    """``[K, D]`` for all candidates of a group, NaN where nothing was said."""
    table = np.full((candidates, dimensions), np.nan)
    if values is not None:
        table[: len(values)] = values
    return table


def fold_group(
    group: Group,
    lines: Sequence[LogLine],
    table: Floats,
    not_applicable: np.ndarray,
    dimensions: tuple[str, ...],
    rules: FoldRules,
    counts: Mapping[str, PairCounts],
    *,
    log: str,
) -> Group:
    """One group with its labels.

    Args:
        group: Of the input; its own labels are left out.
        lines: Of the log, on this group.
        table: ``[K, D]`` aggregated scores.
        not_applicable: ``[K, D]``, which of them are N/A.
        dimensions: Names of the columns.
        rules: How labels follow.
        counts: Of each dimension and overall; added to.
        log: Digest of the log.

    Raises:
        DataError: The group's images are not those that were shown.
    """
    _check_images(group, lines)
    prompt = lines[0].prompt
    raw = {RAW_PROMPT: group.slots.get(RAW_PROMPT, group.prompt)} if prompt != group.prompt else {}
    if rules.answers == "annotators":
        answers = [
            Answer(score.dimension, score.candidate, line.annotator, score.value, score.rationale)
            for line in lines
            for score in line.scores
        ]
    else:
        answers = _aggregated_answers(lines, table, not_applicable, dimensions, rules.aggregate)
    overall = overall_scores(table, dimensions, rules.overall)
    answers += [
        Answer(OVERALL, n, f"overall={rules.overall.rule}", float(value))
        for n, value in enumerate(overall)
        if not np.isnan(value)
    ]
    return replace(
        group,
        prompt=prompt,
        slots={**group.slots, **raw},
        comparisons=comparisons_by(table, dimensions, rules.overall, counts),
        rankings=(),
        answers=tuple(answers),
        provenance={**group.provenance, "annotation": _provenance(group, lines, rules, log)},
    )


def comparisons_by(
    table: Floats, dimensions: tuple[str, ...], rule: OverallRule, counts: Mapping[str, PairCounts]
) -> tuple[Comparison, ...]:
    """The comparisons of every dimension and of overall, from scores ``[K, D]``."""
    found = [
        comparison
        for d, name in enumerate(dimensions)
        for comparison in dimension_comparisons(table[:, d], name, rule.tie_eps, counts[name])
    ]
    return (*found, *overall_comparisons(table, dimensions, rule, counts[OVERALL]))


def _aggregated_answers(
    lines: Sequence[LogLine], table: Floats, not_applicable: np.ndarray, dimensions: tuple[str, ...], rule: str
) -> list[Answer]:
    """The aggregated scores as answers, each with the rationale of the nearest score behind it.

    Utilities are no scores, so that none is near them: they stand without a rationale.
    """
    said = defaultdict(list)
    for line in lines:
        for score in line.scores:
            said[score.candidate, score.dimension].append(score)
    found = []
    for k, d in np.argwhere(not_applicable | ~np.isnan(table)).tolist():
        is_na = bool(not_applicable[k, d])
        behind = [score for score in said[k, dimensions[d]] if (score.value == NOT_APPLICABLE) == is_na]
        if not is_na:
            behind.sort(key=lambda score, value=table[k, d]: abs(float(score.value) - value))  # type: ignore[misc]
        rationale = next((score.rationale for score in behind if score.rationale), None)
        value = NOT_APPLICABLE if is_na else float(table[k, d])
        kept = None if rule == "bradley_terry" else rationale
        found.append(Answer(dimensions[d], k, f"aggregate={rule}", value, kept))
    return found


def _check_images(group: Group, lines: Sequence[LogLine]) -> None:
    for line in lines:
        for n, digest in zip(line.order, line.images, strict=True):
            if n >= len(group.candidates) or group.candidates[n].sha256 != digest:
                raise DataError(
                    f"group {group.id!r}: the image of candidate {n} is not the one that {line.annotator} was shown; "
                    "images= has changed since. Give the images that were annotated, or another out= for these"
                )


def _provenance(group: Group, lines: Sequence[LogLine], rules: FoldRules, log: str) -> dict[str, Any]:
    """Where the labels came from."""
    people = {
        what: len(labels)
        for what, labels in (
            ("comparisons", group.comparisons),
            ("rankings", group.rankings),
            ("answers", group.answers),
        )
        if labels
    }
    record = {"log": log, "rules": rules.as_record(), "requests": [_request(line) for line in lines]}
    return record | ({"labels_of_the_input": people} if people else {})


def _request(line: LogLine) -> dict[str, Any]:
    """A request as provenance keeps it."""
    last = line.attempts[-1] if line.attempts else None
    said = {name: value for name, value in asdict(line).items() if name in _KEPT and value is not None}
    return {**said, "server_model": last.model if last else None, "text": last.text if last else None}


_KEPT = (
    "request", "annotator", "model", "mode", "order", "repeat", "seed", "temperature", "questions", "template",
    "outcome", "reason",
)  # fmt: skip
