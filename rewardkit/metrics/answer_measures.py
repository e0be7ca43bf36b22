"""How well an evaluator chooses among a question's options: accuracy, error, kappa, N/A, calibration, unparsed rate.

Each is a function of sums over groups (``results.py``). People's label is what most of them said; where two options are
said equally often the row is undecided, left out and counted.

- **option accuracy**: the chosen option is people's; N/A is an option.
- **MAE**: distance of the expected score and the mean of people's numbers, where both have one.
- **QWK**: Cohen's kappa with squared distances of levels (Cohen 1968) of chosen option and people's, both not N/A.
- **N/A precision, recall, F1**: of those said to be N/A how many are, of those that are how many are said to be.
- **ECE**: top-label: the probability of the most probable option against how often people chose it, in ``BINS`` bins.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.metrics.answers import MASKED, MISSING, UNPARSED, QuestionAnswers, majority_of
from rewardkit.metrics.calibration import BINS
from rewardkit.metrics.intervals import ratio
from rewardkit.metrics.results import Counts, Measurement, Statistic

PROTOCOL = "answers"
UNPARSED_RATE = "unparsed_rate"

_ALMOST = 1e-9
"""Sums of shares below it are 0."""


def measure_options(answers: QuestionAnswers) -> list[Measurement]:
    """The measures of the module's docstring; those of N/A only for a question that has it."""
    found = [_accuracy(answers), _absolute_error(answers), _kappa(answers)]
    if answers.has_na:
        found += _not_applicable(answers)
    return [*found, _calibration(answers), _unparsed(answers)]


def most_frequent_accuracy(answers: QuestionAnswers) -> float | None:
    """Accuracy of always giving the answer that people give most often; what an accuracy has to be read beside."""
    said = answers.majority[answers.answered & (answers.majority >= 0)]
    return float(np.bincount(said).max() / len(said)) if len(said) else None


def confusion(answers: QuestionAnswers) -> NDArray[np.float64]:
    """What was chosen ``[C, C]`` (columns) where most people said an option (rows); N/A last.

    A choice shared by equally probable options counts in parts.
    """
    counted = (answers.majority >= 0) & _labelled(answers)
    found = np.zeros((answers.chosen.shape[1],) * 2)
    np.add.at(found, answers.majority[counted], answers.chosen[counted])
    return found


def annotator_accuracy(answers: QuestionAnswers) -> float | None:
    """How often one person's answer is that of most of the others, over all people; divided others are dropped.

    None where no image was judged by two people.
    """
    several = (answers.raters >= 2) & ~np.isnan(answers.people).any(axis=1)
    counts = answers.people[several] * answers.raters[several][:, None]
    right = judged = 0.0
    for column in range(counts.shape[1]):
        rest = majority_of(np.maximum(counts - np.eye(counts.shape[1])[column], 0.0))
        decided = rest >= 0
        right += float(counts[decided & (rest == column), column].sum())
        judged += float(counts[decided, column].sum())
    return right / judged if judged > _ALMOST else None


def over_groups(
    answers: QuestionAnswers, counted: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """Names ``[G]`` and sums ``[G, C]`` of values ``[A, C]`` over the groups with a row that counts ``[A]``."""
    codes, names = pd.factorize(answers.group[counted], sort=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, codes, values[counted])
    return np.asarray(names, dtype=object), sums


def counts_of_answers(
    answers: QuestionAnswers,
    counted: NDArray[np.bool_],
    judged: NDArray[np.bool_],
    groups: int,
    *,
    by_label: bool = False,
) -> Counts:
    """What stands behind a number.

    Args:
        answers: The answers.
        counted: ``[A]``, whether a row counts.
        judged: ``[A]``, whether people said what the measure needs.
        groups: Groups with something that counts.
        by_label: Whether rows with no majority are left out.

    Returns:
        ``comparisons`` are answers here, ``unscored`` those that people judged and the evaluator did not answer.
    """
    return Counts(
        comparisons=int(counted.sum()),
        groups=groups,
        undecided=int(answers.undecided.sum()) if by_label else 0,
        unscored=int((judged & ~answers.answered).sum()),
        groups_without=int(pd.unique(answers.group).size) - groups,
    )


def _measured(
    answers: QuestionAnswers,
    metric: str,
    counted: NDArray[np.bool_],
    judged: NDArray[np.bool_],
    values: NDArray[np.float64],
    statistic: Statistic = ratio,
    *,
    note: str = "",
    share: bool = True,
    lower_is_better: bool = False,
    by_label: bool = False,
) -> Measurement:
    names, sums = over_groups(answers, counted, values)
    counts = counts_of_answers(answers, counted, judged, len(names), by_label=by_label)
    return Measurement(
        PROTOCOL, metric, names, sums, statistic, counts, note=note, share=share, lower_is_better=lower_is_better
    )


def _accuracy(answers: QuestionAnswers) -> Measurement:
    judged = answers.majority >= 0
    counted = judged & _labelled(answers)
    right = np.take_along_axis(answers.chosen, np.maximum(answers.majority, 0)[:, None], axis=1)
    values = np.concatenate([right, np.ones_like(right)], axis=1)
    return _measured(answers, "option_accuracy", counted, judged, values, by_label=True)


def _absolute_error(answers: QuestionAnswers) -> Measurement:
    judged = ~np.isnan(answers.people_value)
    counted = judged & ~np.isnan(answers.expected)
    error = np.abs(answers.expected - answers.people_value)
    values = np.stack([error, np.ones_like(error)], axis=1)
    return _measured(answers, "mae", counted, judged, values, share=False, lower_is_better=True)


def _kappa(answers: QuestionAnswers) -> Measurement:
    """Levels are the options' distinct values in order; a choice shared by equally probable options counts in parts."""
    options = len(answers.values)
    levels, level = np.unique(answers.values, return_inverse=True)
    size = len(levels)
    judged = (answers.majority >= 0) & (answers.majority < options)
    applying = answers.chosen[:, :-1].sum(axis=1)
    counted = judged & (applying > _ALMOST)  # a row with no label has NaN, which is not above it
    said = np.zeros((len(answers.group), size))
    said[judged, level[answers.majority[judged]]] = 1.0
    chosen = answers.chosen[:, :-1] @ np.eye(size)[level]
    cells = (chosen[:, :, None] * said[:, None, :]).reshape(-1, size * size)
    return _measured(answers, "qwk", counted, judged, cells, kappa_of(size), share=False, by_label=True)


def kappa_of(levels: int) -> Statistic:
    """Quadratic-weighted kappa of flat confusion matrices ``[draws, levels²]``; NaN where nothing could disagree."""
    places = np.arange(levels, dtype=float)
    weights = (places[:, None] - places[None, :]) ** 2

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        observed = sums.reshape(-1, levels, levels)
        whole = observed.sum(axis=(1, 2))
        expected = observed.sum(axis=2)[:, :, None] * observed.sum(axis=1)[:, None, :]
        above, below = (weights * observed).sum(axis=(1, 2)) * whole, (weights * expected).sum(axis=(1, 2))
        quotient = np.divide(above, below, out=np.full(len(sums), np.nan), where=below > _ALMOST)
        return np.asarray(1.0 - quotient)

    return statistic


def _not_applicable(answers: QuestionAnswers) -> list[Measurement]:
    judged = answers.majority >= 0
    counted = judged & _labelled(answers)
    said, true = answers.chosen[:, -1], (answers.majority == len(answers.values)).astype(float)
    both = np.stack([said * true, said, true], axis=1)
    note = f"N/A by people: {int(true[counted].sum())}, by the evaluator: {float(said[counted].sum()):g}"
    parts: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
        "na_precision": lambda sums: ratio(sums[:, [0, 1]]),
        "na_recall": lambda sums: ratio(sums[:, [0, 2]]),
        "na_f1": lambda sums: ratio(np.stack([2 * sums[:, 0], sums[:, 1] + sums[:, 2]], axis=1)),
    }
    return [
        _measured(answers, name, counted, judged, both, part, note=note, by_label=True) for name, part in parts.items()
    ]


def _calibration(answers: QuestionAnswers) -> Measurement:
    """A row in which two options are equally probable is right by the mean of people's shares on them."""
    judged = np.asarray(~np.isnan(answers.people).any(axis=1))
    p = answers.probabilities
    counted = np.asarray(judged & ~np.isnan(p).any(axis=1))
    sure = np.where(counted, np.nan_to_num(p).max(axis=1), 0.0)
    top = p == sure[:, None]
    right = (top * np.nan_to_num(answers.people)).sum(axis=1) / np.maximum(1, top.sum(axis=1))
    place = np.clip((sure * BINS).astype(np.int64), 0, BINS - 1)
    bins = np.eye(BINS)[place]
    values = np.concatenate([bins * sure[:, None], bins * right[:, None], np.ones((len(bins), 1))], axis=1)
    note = f"ece is that of the most probable option, {BINS} bins on [0, 1]"
    return _measured(answers, "ece", counted, judged, values, _ece_of, note=note, share=False, lower_is_better=True)


def _ece_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    sure, right = np.split(sums[:, :-1], 2, axis=1)
    return ratio(np.stack([np.abs(sure - right).sum(axis=1), sums[:, -1]], axis=1))


def _unparsed(answers: QuestionAnswers) -> Measurement:
    """Share of the evaluator's texts that are no answer, whatever people said of the image."""
    asked = ~np.isin(answers.outcome, (MISSING, MASKED))
    unparsed = (answers.outcome == UNPARSED).astype(float)
    names, sums = over_groups(answers, asked, np.stack([unparsed, np.ones_like(unparsed)], axis=1))
    counts = Counts(
        comparisons=int(asked.sum()),
        groups=len(names),
        unscored=int((~asked).sum()),
        groups_without=int(pd.unique(answers.group).size) - len(names),
    )
    return Measurement(PROTOCOL, UNPARSED_RATE, names, sums, ratio, counts, lower_is_better=True)


def _labelled(answers: QuestionAnswers) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(answers.chosen).any(axis=1))
