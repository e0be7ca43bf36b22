"""The numbers of a report: accuracies with all that stands beside them, taken from the predictions and the summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from rewardkit.data.predictions import Predictions
from rewardkit.metrics.breakdown import ORDERED, PARTS, breakdown, evaluation_rows, pairs_of
from rewardkit.metrics.judged_pairs import FIRST, SECOND, judged_pairs

MAX_PARTS = 30
"""Parts of one kind that a report lists for one dimension; the largest are kept."""

MAX_GENERATORS = 40
"""With more generators than this, pairs of them are not taken apart."""

MAX_TAGS = 200
"""With more values of tags than this, tags are not taken apart: they name groups rather than kinds of groups."""

_DRAWS_OF_PARTS = 500
_COUNTED = ("value", "low", "high", "comparisons", "groups", "ties", "undecided")
_BASELINES = ("chance", "annotators", "generator", "position")
_NAMES_IN_SUMMARY = {
    "n_comparisons": "comparisons",
    "n_groups": "groups",
    "ties_dropped": "ties",
    "annotator": "annotators",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One accuracy: of a dimension, or of a part of its comparisons. None is not known.

    Attributes:
        name: The dimension or the part.
        value: Accuracy, with the 95 % interval ``low`` to ``high``.
        comparisons: Comparisons that count, in ``groups`` groups; ``ties`` and ``undecided`` were left out.
        baselines: ``chance``, ``annotators``, ``generator``, ``position`` to accuracy.
        balanced: The generator-balanced accuracy.
        reachable: The best accuracy that the law behind the votes allows, where it is known.
        reachable_without_prompt: The best of a model that does not read the prompt.
    """

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    comparisons: int | None = None
    groups: int | None = None
    ties: int | None = None
    undecided: int | None = None
    baselines: Mapping[str, float | None] = field(default_factory=dict)
    balanced: float | None = None
    reachable: float | None = None
    reachable_without_prompt: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All accuracies of one validation of one set.

    Attributes:
        set: Name of the validation set; "" where it is not known.
        protocol: The rule they were counted by.
        step: The optimiser step of the weights.
        rows: One for each dimension.
        parts: Kind of part to dimension to its rows, largest first.
        left_out: Kind of part and dimension to the number of parts that are not listed.
        predictions: The table; None where only the summary is known.
        pairs: Its judged pairs, comparisons with votes.
        counted: The pairs that the protocol counts: the same, or those of the people's order.
        infinite_scores: Scores that are not finite; they count as missing.
        too_many: Kinds of parts that are so many that none is listed.
    """

    set: str
    protocol: str
    step: int | None
    rows: tuple[Row, ...]
    parts: Mapping[str, Mapping[str, tuple[Row, ...]]] = field(default_factory=dict)
    left_out: Mapping[tuple[str, str], int] = field(default_factory=dict)
    predictions: Predictions | None = None
    pairs: pd.DataFrame | None = None
    counted: pd.DataFrame | None = None
    infinite_scores: int = 0
    too_many: tuple[str, ...] = ()

    @property
    def headline(self) -> Row | None:
        """The row of ``overall``, else of the only dimension, else the first with a value."""
        known = [row for row in self.rows if row.value is not None] or list(self.rows)
        return next((row for row in known if row.name == "overall"), known[0] if known else None)


def evaluate(
    predictions: Predictions,
    protocol: str,
    *,
    name: str = "",
    step: int | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Evaluates a predictions table; what the run's summary says of the same dimension goes before.

    Args:
        predictions: The table.
        protocol: Name of the rule.
        name: Of the validation set.
        step: The optimiser step of the weights.
        summary: What summary.json says of this set.
    """
    finite = np.isfinite(predictions.scores["score"].to_numpy(float))
    if not finite.all():
        scores = predictions.scores.assign(score=predictions.scores["score"].where(finite))
        predictions = Predictions(scores, predictions.labels)
    pairs = judged_pairs(predictions)
    counted = pairs_of(predictions, protocol, pairs)
    rows = [_row(record) for record in evaluation_rows(predictions, protocol)]
    too_many = _too_many(pairs)
    parts, left_out = _take_apart(counted, protocol, [kind for kind in PARTS if kind not in too_many])
    return Evaluation(
        set=name,
        protocol=protocol,
        step=step,
        rows=tuple(_with_summary(row, summary or {}) for row in rows),
        parts=parts,
        left_out=left_out,
        predictions=predictions,
        pairs=pairs,
        counted=counted,
        infinite_scores=int((~finite).sum()),
        too_many=too_many,
    )


def _take_apart(
    pairs: pd.DataFrame, protocol: str, kinds: Sequence[str]
) -> tuple[dict[str, dict[str, tuple[Row, ...]]], dict[tuple[str, str], int]]:
    """``Evaluation.parts`` and ``Evaluation.left_out``."""
    parts: dict[str, dict[str, tuple[Row, ...]]] = {}
    left_out = {}
    # A part of a hundred thousand groups needs fewer resamples than time to draw them.
    draws = min(_DRAWS_OF_PARTS, max(100, 5_000_000 // max(1, pairs["group"].nunique())))
    for kind in kinds:
        rows: dict[str, list[Row]] = {}
        for record in breakdown(pairs, kind, protocol, draws=draws):
            rows.setdefault(record["dimension"], []).append(_row(record, name=record["part"]))
        for dimension, members in rows.items():
            counted = [row for row in members if row.comparisons] if kind in ORDERED else members
            largest = counted if kind in ORDERED else sorted(counted, key=lambda row: -(row.comparisons or 0))
            left_out[kind, dimension] = max(0, len(largest) - MAX_PARTS)
            parts.setdefault(kind, {})[dimension] = tuple(largest[:MAX_PARTS])
    return parts, left_out


def _too_many(pairs: pd.DataFrame) -> tuple[str, ...]:
    """The kinds of parts that would fill the page with parts of a few comparisons."""
    generators = pd.concat([pairs["generator_first"], pairs["generator_second"]]).nunique()
    values = {item for text in pairs["tags"].unique() for item in json.loads(text or "{}").items()}
    found = {"generator_pair": generators > MAX_GENERATORS, "tag": len(values) > MAX_TAGS}
    return tuple(kind for kind, is_so in found.items() if is_so)


def evaluations_of_summary(summary: Mapping[str, Any]) -> list[Evaluation]:
    """What can be told of a run whose predictions are gone: one evaluation for each set with accuracies."""
    found = []
    for name in summary.get("sets") or [""]:
        said = summary_of_set(summary, name)
        rows = tuple(_with_summary(Row(dimension), said) for dimension in said.get("accuracies") or {})
        if rows:
            found.append(Evaluation(name, str(summary.get("protocol", "")), summary.get("step"), rows))
    return found


def summary_of_set(summary: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The part of summary.json about one validation set; the ceilings are those of the first."""
    sets = summary.get("sets") or {}
    if name not in sets:
        return dict(summary) if not sets else {}
    first = next(iter(sets)) == name
    return {**sets[name], "ceilings": sets[name].get("ceilings") or (summary.get("ceilings") if first else None)}


def margins(pairs: pd.DataFrame, dimension: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Score of the candidate that people preferred minus score of the other, for each decided comparison: ``[P]``."""
    part = pairs[(pairs["dimension"] == dimension) & pairs["verdict"].isin([FIRST, SECOND])]
    delta = (part["score_first"] - part["score_second"]).to_numpy(float) * part["verdict"].to_numpy(float)
    return delta[np.isfinite(delta)]


def _row(record: Mapping[str, Any], *, name: str | None = None) -> Row:
    """A row of ``metrics/breakdown.py`` as a row of the report."""
    beside = {
        "chance": record.get("chance"),
        "annotators": record.get("annotator_agreement"),
        "generator": record.get("which_generator"),
        "position": record.get("list_position"),
    }
    return Row(
        name=name if name is not None else record["dimension"],
        value=record["value"],
        low=record["low"],
        high=record["high"],
        comparisons=record["comparisons"],
        groups=record["groups"],
        ties=record["ties"],
        undecided=record["undecided"],
        baselines={kind: value for kind, value in beside.items() if value is not None},
        balanced=record.get("generator_balanced"),
    )


def _with_summary(row: Row, summary: Mapping[str, Any]) -> Row:
    """The row with what summary.json says of its dimension, which is what the run printed."""
    said = (summary.get("accuracies") or {}).get(row.name) or {}
    known = {_NAMES_IN_SUMMARY.get(name, name): value for name, value in said.items() if value is not None}
    beside = (summary.get("baselines") or {}).get(row.name) or {}
    baselines = {_NAMES_IN_SUMMARY.get(name, name): value for name, value in beside.items() if value is not None}
    ceilings = summary.get("ceilings") or {}
    return replace(
        row,
        **{name: known[name] for name in _COUNTED if name in known},
        baselines={**row.baselines, **{name: baselines[name] for name in _BASELINES if name in baselines}},
        balanced=_number((summary.get("generator_balanced") or {}).get(row.name), row.balanced),
        reachable=_number((ceilings.get("best") or {}).get(row.name), None),
        reachable_without_prompt=_number((ceilings.get("ignoring_prompt") or {}).get(row.name), None),
    )


def _number(told: Any, otherwise: float | None) -> float | None:
    """A number out of JSON: plain, or the ``value`` of an object with an interval."""
    if isinstance(told, Mapping):
        told = told.get("value")
    return float(told) if isinstance(told, int | float) else otherwise
