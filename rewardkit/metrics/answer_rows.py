"""Every measure of an evaluator's answers as rows that ``validate`` prints and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rewardkit.metrics.answer_measures import UNPARSED_RATE, measure_options, most_frequent_accuracy
from rewardkit.metrics.answer_orders import measure_orders
from rewardkit.metrics.answers import ANSWERED, MISSING, UNPARSED, QuestionAnswers, aligned_answers
from rewardkit.metrics.evaluate import BESIDE
from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.results import Difference, Measurement, difference

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
        Beside accuracies ``chance`` is that of a random option, and ``most_frequent`` that of always giving the answer
        that people give most often. ``asked``, ``answered``, ``unparsed`` and ``missing`` count the question's rows.
    """
    rows = []
    for answers in questions:
        counts = {
            "asked": len(answers.outcome),
            "answered": int((answers.outcome == ANSWERED).sum()),
            "unparsed": int((answers.outcome == UNPARSED).sum()),
            "missing": int((answers.outcome == MISSING).sum()),
        }
        for found in measure_answers(answers, (tuning or {}).get(answers.question)):
            row = {"dimension": answers.question, **found.result(draws=draws, seed=seed).as_row()}
            rows.append(row | _beside(answers, found) | counts)
    return rows


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


def _beside(answers: QuestionAnswers, found: Measurement) -> dict[str, float | None]:
    beside: dict[str, float | None] = {**dict.fromkeys(BESIDE), "most_frequent": None}
    if found.metric == "option_accuracy":
        beside |= {"chance": 1.0 / answers.columns, "most_frequent": most_frequent_accuracy(answers)}
    elif found.metric.removesuffix("_in_groups") in _NO_ORDER:
        beside["chance"] = 0.0
    return beside
