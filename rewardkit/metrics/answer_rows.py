"""Every measure of an evaluator's answers as rows that ``validate`` prints and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.metrics.answer_measures import (
    PROTOCOL,
    UNPARSED_RATE,
    annotator_accuracy,
    measure_options,
    most_frequent_accuracy,
)
from rewardkit.metrics.answer_orders import measure_orders
from rewardkit.metrics.answers import ANSWERED, MASKED, MISSING, UNPARSED, QuestionAnswers, aligned_answers
from rewardkit.metrics.evaluate import BESIDE
from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.results import Counts, Difference, Measurement, difference

ALL_QUESTIONS = "all questions"
"""Stands for the question in the rows that are means over questions."""

_MEANS = ("option_accuracy", "qwk", "srcc", UNPARSED_RATE)
"""Measures whose mean over questions says something: they are on the same scale for all."""

_NO_ORDER = ("srcc", "plcc", "tau_b", "qwk")
"""What says nothing has 0 of these."""


def measure_answers(answers: QuestionAnswers, tuning: QuestionAnswers | None = None) -> list[Measurement]:
    """Every measure of one question; see ``answer_measures.py`` and ``answer_orders.py``.

    Args:
        answers: The answers.
        tuning: Answers to the same question on other groups, for the threshold of ties.
    """
    return [*measure_options(answers), *measure_orders(answers, tuning)]


def answer_rows(
    questions: Sequence[QuestionAnswers],
    *,
    tuning: Mapping[str, QuestionAnswers] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row for each question and measure: value, interval, counts, and what it has to be read beside.

    Args:
        questions: The answers to each question.
        tuning: Question to answers on other groups, for the threshold of ties.
        draws: Resamples of groups behind each interval.
        seed: Of the resamples.

    Returns:
        The columns of ``evaluate``, the question as ``dimension``; ``comparisons`` are answers (of pairs: pairs).
        Beside accuracies ``chance`` is that of a random option, ``annotator_agreement`` that of one person against the
        others, and ``most_frequent`` that of always giving the answer that people give most often. ``asked``,
        ``answered``, ``unparsed``, ``missing`` and ``masked`` count the question's rows. Of two or more questions the
        rows of ``ALL_QUESTIONS`` come last.
    """
    rows: list[dict[str, Any]] = []
    measures: list[Measurement] = []
    everyone = [_counts(answers) for answers in questions]
    for answers, counts in zip(questions, everyone, strict=True):
        for found in measure_answers(answers, (tuning or {}).get(answers.question)):
            measures.append(found)
            row = {"dimension": answers.question, **found.result(draws=draws, seed=seed).as_row()}
            rows.append(row | _beside(answers, found) | counts)
    if len(questions) > 1:
        counts = {name: sum(of[name] for of in everyone) for name in everyone[0]}
        for metric in _MEANS:
            found = mean_over_questions([m for m in measures if (m.protocol, m.metric) == (PROTOCOL, metric)])
            row = {"dimension": ALL_QUESTIONS, **found.result(draws=draws, seed=seed).as_row()}
            beside = _means_beside([r for r in rows if (r["protocol"], r["metric"]) == (PROTOCOL, metric)])
            rows.append(row | dict.fromkeys((*BESIDE, "most_frequent")) | beside | counts)
    return rows


def _means_beside(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """What stands beside a mean over questions: the means of what stands beside those that have a value."""
    known = [row for row in rows if row["value"] is not None]
    found: dict[str, float | None] = {}
    for name in ("chance", "annotator_agreement", "most_frequent"):
        values = [row[name] for row in known if row[name] is not None]
        found[name] = sum(values) / len(values) if values and len(values) == len(known) else None
    return found


def mean_over_questions(found: Sequence[Measurement]) -> Measurement:
    """The mean of one measure over questions, each weighing the same; those that have no value are left out.

    Args:
        found: The measure of each question; those without an interval (``fixed``) have no part in it.
    """
    parts = [m for m in found if not m.fixed and m.value() is not None]
    names = pd.Index(np.unique(np.concatenate([np.zeros(0, object), *(m.groups for m in parts)])))
    blocks = []
    for m in parts:
        block = np.zeros((len(names), m.sums.shape[1]))
        block[names.get_indexer(pd.Index(m.groups))] = m.sums
        blocks.append(block)
    edges = np.cumsum([block.shape[1] for block in blocks])[:-1]

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        each = np.stack(
            [m.statistic(part) for m, part in zip(parts, np.split(sums, edges, axis=1), strict=True)], axis=1
        )
        known = (~np.isnan(each)).sum(axis=1)
        return np.divide(np.nansum(each, axis=1), known, out=np.full(len(sums), np.nan), where=known > 0)

    counts = Counts(
        comparisons=sum(m.counts.comparisons for m in parts),
        groups=len(names),
        undecided=sum(m.counts.undecided for m in parts),
        unscored=sum(m.counts.unscored for m in parts),
    )
    note = "" if len(parts) == len(found) else f"{found[0].metric}: mean over {len(parts)} of {len(found)} questions"
    sums = np.concatenate(blocks, axis=1) if blocks else np.zeros((0, 1))
    return replace(found[0], groups=np.asarray(names, dtype=object), sums=sums, statistic=statistic, counts=counts,
                   note=note, fixed=False)  # fmt: skip


def answer_differences(
    ours: QuestionAnswers,
    theirs: QuestionAnswers,
    *,
    tuning: tuple[QuestionAnswers | None, QuestionAnswers | None] = (None, None),
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Difference]:
    """Two evaluators on the same question, the same groups drawn for both.

    Candidates that one of them did not answer on count in the rate of unparsed answers alone, and measures that are
    undefined for one are left out.

    Args:
        ours: Of the first evaluator.
        theirs: Of the second, on the same groups.
        tuning: Each one's answers on other groups.
        draws: Resamples.
        seed: Of the resamples.

    Raises:
        DataError: They have no candidate in common, or people said something else of one.
    """
    ours, theirs = aligned_answers(ours, theirs)
    both = np.flatnonzero(ours.answered & theirs.answered)
    mine, others = (
        {(found.protocol, found.metric): found for found in measure_answers(answers.take(both), tuned)}
        | {(found.protocol, found.metric): found for found in measure_options(answers) if found.metric == UNPARSED_RATE}
        for answers, tuned in zip((ours, theirs), tuning, strict=True)
    )
    gains = []
    for name, found in mine.items():
        other = others[name]
        if found.fixed or not len(found.groups) or not len(other.groups):
            continue
        gain = difference(found, other, draws=draws, seed=seed)
        if gain is not None:
            gains.append(gain)
    return gains


def _counts(answers: QuestionAnswers) -> dict[str, int]:
    return {
        "asked": len(answers.outcome),
        "answered": int((answers.outcome == ANSWERED).sum()),
        "unparsed": int((answers.outcome == UNPARSED).sum()),
        "missing": int((answers.outcome == MISSING).sum()),
        "masked": int((answers.outcome == MASKED).sum()),
    }


def _beside(answers: QuestionAnswers, found: Measurement) -> dict[str, float | None]:
    beside: dict[str, float | None] = {**dict.fromkeys(BESIDE), "most_frequent": None}
    if found.metric == "option_accuracy":
        beside |= {
            "chance": 1.0 / answers.columns,
            "annotator_agreement": annotator_accuracy(answers),
            "most_frequent": most_frequent_accuracy(answers),
        }
    elif found.metric.removesuffix("_in_groups") in _NO_ORDER:
        beside["chance"] = 0.0
    return beside
