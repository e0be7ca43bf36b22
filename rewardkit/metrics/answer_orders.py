"""Does an evaluator's score to one question order images as people's answers do? Correlations and pairs of a prompt.

Correlations are given over all images, and as the mean over groups of those within a group (where either side is
constant they are undefined, and the group is counted as one without). Pairs are two candidates of one group: people
prefer the one with the higher mean of their numbers, and tie where the means are equal. They are judged by the rules of
``protocols.py``: ``strict`` (people's ties left out, the evaluator's wrong) and ``tie_calibrated``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.metrics.answer_measures import PROTOCOL, counts_of_answers, over_groups
from rewardkit.metrics.answers import QuestionAnswers
from rewardkit.metrics.correlations import kendall_tau_b, pearson, spearman
from rewardkit.metrics.judged_pairs import FIRST, SECOND, TIE
from rewardkit.metrics.protocols import PROTOCOLS, credit, measured
from rewardkit.metrics.results import Counts, Measurement, Statistic
from rewardkit.metrics.tie_thresholds import Tuned, tune_threshold

MOST_GROUPS = 3000
"""A rank correlation over more groups has no interval: its resamples need matrices of groups by groups."""

_CELLS_AT_ONCE = 4_000_000
_CONSTANT = 1e-12
"""A variance below this share of the mean square is rounding."""

Floats = NDArray[np.float64]


def measure_orders(answers: QuestionAnswers, tuning: QuestionAnswers | None = None) -> list[Measurement]:
    """SRCC, PLCC and tau-b over all images and within groups, and accuracies of pairs.

    Args:
        answers: The answers.
        tuning: Answers to the same question on other groups, that the threshold of ties is tuned on. Without them it is
            tuned on ``answers`` themselves, and the name ends in ``_published``.
    """
    return [*measure_correlations(answers), *measure_pairs(answers, tuning)]


def measure_correlations(answers: QuestionAnswers) -> list[Measurement]:
    """``srcc``, ``plcc`` and ``tau_b`` over all images; the same ``…_in_groups`` as means over groups."""
    judged = ~np.isnan(answers.people_value)
    counted = np.asarray(judged & ~np.isnan(answers.expected))
    x, y = answers.expected[counted], answers.people_value[counted]
    codes, names = pd.factorize(answers.group[counted], sort=True)
    counts = counts_of_answers(answers, counted, judged, len(names))
    found = [
        _pooled("srcc", x, y, codes, names, counts),
        _plcc(answers, counted, counts),
        _pooled("tau_b", x, y, codes, names, counts),
    ]
    return [*found, *_in_groups(x, y, codes, names, counts)]


def answer_pairs(answers: QuestionAnswers) -> pd.DataFrame:
    """All pairs of one group's candidates that people gave a number, in the columns that protocols read.

    Returns:
        As ``judged_pairs``, as far as protocols need it; scores are NaN where the evaluator gave none.
    """
    judged = ~np.isnan(answers.people_value)
    codes, names = pd.factorize(answers.group[judged], sort=True)
    x, y, candidate = answers.expected[judged], answers.people_value[judged], answers.candidate[judged]
    order = np.lexsort((candidate, codes))
    sizes = np.bincount(codes, minlength=len(names))
    starts = np.cumsum(sizes) - sizes
    places = [order[start + np.stack(np.triu_indices(size, 1))] for start, size in zip(starts, sizes, strict=True)]
    i, j = np.concatenate([np.zeros((2, 0), dtype=np.int64), *places], axis=1)
    parts = [str(names[code]).partition("\n") for code in codes[i]]
    return pd.DataFrame(
        {
            "group": codes[i].astype(np.int64),
            "source": pd.Series([source for source, _, _ in parts], dtype=object),
            "key": pd.Series([key for _, _, key in parts], dtype=object),
            "first": candidate[i],
            "second": candidate[j],
            "verdict": np.where(y[i] > y[j], FIRST, np.where(y[j] > y[i], SECOND, TIE)).astype(np.int8),
            "score_first": x[i],
            "score_second": x[j],
        }
    )


def measure_pairs(answers: QuestionAnswers, tuning: QuestionAnswers | None = None) -> list[Measurement]:
    """Strict and tie-calibrated accuracy, over pairs; arguments as ``measure_orders``."""
    pairs = answer_pairs(answers)
    strict, calibrated = PROTOCOLS["strict_micro"], PROTOCOLS["tie_calibrated_micro"]
    tuned: Tuned
    if tuning is None:
        calibrated = PROTOCOLS["tie_calibrated_micro_published"]
        tuned, where = tune_threshold(pairs, calibrated), "these pairs themselves"
    else:
        tuned = tune_threshold(answer_pairs(tuning), calibrated)
        where = f"{tuned.comparisons} other pairs"
    found = measured(pairs, credit(pairs, strict), strict)
    if tuned.value is None:
        nothing = measured(pairs, np.full(len(pairs), np.nan), calibrated)
        return [found, replace(nothing, note=f"not tuned: {tuned.note}")]
    note = f"scores tie where |difference| <= {tuned.value:.6g}, tuned on {where}"
    with_ties = measured(pairs, credit(pairs, calibrated, tuned.value), calibrated)
    return [found, replace(with_ties, tuned=tuned.value, note=note)]


def _plcc(answers: QuestionAnswers, counted: NDArray[np.bool_], counts: Counts) -> Measurement:
    """Pearson's correlation of the images that count, from moments about their means."""
    x, y = answers.expected, answers.people_value
    if counted.any():
        x, y = x - x[counted].mean(), y - y[counted].mean()
    moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    names, sums = over_groups(answers, counted, moments)
    scale = (_mean_square(answers.expected[counted]), _mean_square(answers.people_value[counted]))

    def statistic(totals: Floats) -> Floats:
        n, sx, sy, sxx, syy, sxy = totals.T
        of_x, of_y = sxx - sx * sx / n, syy - sy * sy / n
        varies = (of_x > _CONSTANT * n * scale[0]) & (of_y > _CONSTANT * n * scale[1])
        whole = np.sqrt(np.where(varies, of_x * of_y, 1.0))
        return np.where(varies, np.clip((sxy - sx * sy / n) / whole, -1.0, 1.0), np.nan)

    return Measurement(PROTOCOL, "plcc", names, sums, statistic, counts, share=False)


def _pooled(
    metric: str, x: Floats, y: Floats, codes: NDArray[np.int64], names: NDArray[np.object_], counts: Counts
) -> Measurement:
    """A rank correlation over all images. It is no function of sums, but one of how often each group is drawn."""
    groups = len(names)
    if groups > MOST_GROUPS:
        from scipy import stats  # whose import takes a second or two

        whole = spearman(x, y) if metric == "srcc" else stats.kendalltau(x, y).statistic
        note = f"no interval: more than {MOST_GROUPS} groups"
        sums = np.array([[float(whole), 1.0]])
        all_groups = np.array(["all"], dtype=object)
        return Measurement(PROTOCOL, metric, all_groups, sums, counts=counts, note=note, share=False, fixed=True)
    statistic = resampled_spearman(x, y, codes) if metric == "srcc" else resampled_tau_b(x, y, codes, groups)
    return Measurement(
        PROTOCOL, metric, np.asarray(names, dtype=object), np.eye(groups), statistic, counts, share=False
    )


def resampled_spearman(x: Floats, y: Floats, codes: NDArray[np.int64]) -> Statistic:
    """Spearman's correlation, ranks taken anew in every resample, as a function of draws of groups ``[draws, G]``.

    Args:
        x: ``[A]`` scores.
        y: ``[A]`` people's numbers.
        codes: ``[A]`` number of the group.
    """
    ranks = [_drawn_ranks(side) for side in (x, y)]
    step = max(1, _CELLS_AT_ONCE // max(1, len(x)))

    def statistic(draws: Floats) -> Floats:
        found = np.full(len(draws), np.nan)
        for start in range(0, len(draws) if len(x) else 0, step):
            weights = draws[start : start + step][:, codes]  # [d, A], how often each image is drawn
            n = np.maximum(weights.sum(axis=1, keepdims=True), 1.0)  # a draw may hold none that counts
            a, b = (rank(weights) for rank in ranks)
            a, b = (side - (weights * side).sum(axis=1, keepdims=True) / n for side in (a, b))
            of_a, of_b = (weights * a * a).sum(axis=1), (weights * b * b).sum(axis=1)
            varies = (of_a > 0.1) & (of_b > 0.1)  # two ranks that differ are at least 1/2 from their mean
            whole = np.sqrt(np.where(varies, of_a * of_b, 1.0))
            rho = np.clip((weights * a * b).sum(axis=1) / whole, -1.0, 1.0)
            found[start : start + step] = np.where(varies, rho, np.nan)
        return found

    return statistic


def _drawn_ranks(values: Floats) -> Callable[[Floats], Floats]:
    """From how often each image is drawn ``[d, A]`` to its mid-rank among those drawn."""
    levels, level = np.unique(values, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(len(levels)))

    def ranks(weights: Floats) -> Floats:
        at_level = np.add.reduceat(weights[:, order], starts, axis=1)  # [d, levels]
        middle = np.cumsum(at_level, axis=1) - at_level / 2 + 0.5
        return np.asarray(middle[:, level])

    return ranks


def resampled_tau_b(x: Floats, y: Floats, codes: NDArray[np.int64], groups: int) -> Statistic:
    """Kendall's tau-b as a function of draws of groups ``[draws, G]``: sums over pairs of groups, drawn so often.

    Args:
        x: ``[A]`` scores.
        y: ``[A]`` people's numbers.
        codes: ``[A]`` number of the group.
        groups: G.
    """
    order = np.argsort(codes, kind="stable")
    x, y, codes = x[order], y[order], codes[order]
    starts = np.searchsorted(codes, np.arange(groups))
    both, of_x, of_y = (np.zeros((groups, groups)) for _ in range(3))  # over pairs of images of two groups
    step = max(1, _CELLS_AT_ONCE // max(1, len(x)))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        over_x = np.sign(x[rows, None] - x[None, :])
        over_y = np.sign(y[rows, None] - y[None, :])
        for matrix, signs in ((both, over_x * over_y), (of_x, np.abs(over_x)), (of_y, np.abs(over_y))):
            np.add.at(matrix, codes[rows], np.add.reduceat(signs, starts, axis=1))

    def statistic(draws: Floats) -> Floats:
        agree, untied_x, untied_y = (((draws @ matrix) * draws).sum(axis=1) for matrix in (both, of_x, of_y))
        whole = np.sqrt(untied_x * untied_y)
        return np.divide(agree, whole, out=np.full(len(draws), np.nan), where=whole > 0)

    return statistic


def _in_groups(
    x: Floats, y: Floats, codes: NDArray[np.int64], names: NDArray[np.object_], counts: Counts
) -> list[Measurement]:
    """Means over the groups in which a correlation is defined."""
    order = np.argsort(codes, kind="stable")
    each = np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]) if len(names) else []
    found = []
    everyone = counts.groups + counts.groups_without
    for metric, correlation in (("srcc", spearman), ("plcc", pearson), ("tau_b", kendall_tau_b)):
        values = np.array([float(correlation(x[of], y[of])) if len(of) > 1 else np.nan for of in each], dtype=float)
        defined = ~np.isnan(values)
        of_metric = replace(
            counts,
            comparisons=int(sum(len(of) for of, known in zip(each, defined, strict=True) if known)),
            groups=int(defined.sum()),
            groups_without=everyone - int(defined.sum()),
        )
        sums = np.stack([values[defined], np.ones(int(defined.sum()))], axis=1)
        at = np.asarray(names, dtype=object)[defined]
        found.append(Measurement(PROTOCOL, f"{metric}_in_groups", at, sums, counts=of_metric, share=False))
    return found


def _mean_square(values: Floats) -> float:
    return float(np.mean(values * values)) if len(values) else 0.0
