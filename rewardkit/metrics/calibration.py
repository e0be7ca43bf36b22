"""How far scores can be taken at their word: as probabilities of a preference, and as numbers on a scale.

The probability that a person prefers the first of two candidates is the sigmoid of the difference of their scores
(which are logits in a predictions table). The label is the share of votes for the first, a vote for a tie counting one
half. Every measure treats a pair (p, y) and its mirror image (1 - p, 1 - y) alike, so that the order in which a pair is
listed changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit

from rewardkit.data.predictions import Predictions
from rewardkit.errors import DataError
from rewardkit.metrics.intervals import ratio
from rewardkit.metrics.protocols import names_of_groups
from rewardkit.metrics.results import Counts, Measurement, Statistic
from rewardkit.metrics.tie_thresholds import Tuned

BINS = 10
"""Bins on [0, 1] of the calibration errors; half of them on [0.5, 1]."""

LARGEST_LOGIT = 100.0
"""The temperature is not lowered further once the mean difference of two scores comes to this many logits."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Shares of the candidates below each quantile that is stored."""


def score_statistics(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (ddof 0) and quantiles of the scores of each dimension over all candidates.

    Returns:
        Dimension to ``{"candidates": n, "mean": …, "std": …, "quantiles": {"0.01": …}}``, on the scale of the table.
    """
    statistics: dict[str, dict[str, Any]] = {}
    for dimension in predictions.dimensions:
        scores = predictions.scores.loc[predictions.scores["dimension"] == dimension, "score"].dropna().astype(float)
        if len(scores):
            statistics[dimension] = statistics_of(np.asarray(scores, dtype=np.float64))
    return statistics


def statistics_of(scores: NDArray[np.float64]) -> dict[str, Any]:
    """Number, mean, standard deviation (ddof 0) and quantiles of scores ``[N]``, N at least 1, none missing."""
    quantiles = np.quantile(scores, QUANTILES).tolist()
    return {
        "candidates": len(scores),
        "mean": float(scores.mean()),
        "std": float(scores.std()),
        "quantiles": {f"{share:g}": value for share, value in zip(QUANTILES, quantiles, strict=True)},
    }


def reliability(p: ArrayLike, y: ArrayLike, *, bins: int = BINS) -> NDArray[np.float64]:
    """What ``ece`` and ``mce`` add up: for each bin of confidence, from 0.5 up, how many, how sure, how often right.

    A pair is folded to its more probable side: confidence max(p, 1 - p), and the label of that side. Bins are closed on
    the left. A pair at one half is as sure of either side, so it is never off; it counts in no bin.

    Args:
        p: ``[P]`` probabilities that the first is preferred.
        y: ``[P]`` labels in [0, 1].
        bins: Number of equal bins on [0, 1], even.

    Returns:
        ``[bins / 2, 3]``: number, sum of confidences, sum of labels.
    """
    _check_bins(bins)
    probability, label = np.asarray(p, dtype=float), np.asarray(y, dtype=float)
    place, sure, right = _folded(probability, label, bins)
    kept = place >= 0
    columns = [np.ones(kept.sum()), sure[kept], right[kept]]
    return np.stack([np.bincount(place[kept], weights=c, minlength=bins // 2) for c in columns], axis=1)


def ece(p: ArrayLike, y: ArrayLike, *, bins: int = BINS) -> float:
    """Symmetric expected calibration error: mean distance of confidence and label over bins; see ``reliability``."""
    sums = reliability(p, y, bins=bins)
    return float(np.abs(sums[:, 1] - sums[:, 2]).sum() / np.size(p))


def mce(p: ArrayLike, y: ArrayLike, *, bins: int = BINS) -> float:
    """The largest distance of any bin."""
    sums = reliability(p, y, bins=bins)
    filled = sums[sums[:, 0] > 0]
    return float((np.abs(filled[:, 1] - filled[:, 2]) / filled[:, 0]).max()) if len(filled) else 0.0


def ece_one_sided_published(p: ArrayLike, y: ArrayLike, *, bins: int = BINS) -> float:
    """ECE of P(first) without its mirror image, as often published: it depends on which side is listed first."""
    probability, label = np.asarray(p, dtype=float), np.asarray(y, dtype=float)
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=probability - label, minlength=bins)
    return float(np.abs(gaps).sum() / len(probability))


def brier(p: ArrayLike, y: ArrayLike) -> float:
    """Mean of (p - y)²."""
    return float(np.mean((np.asarray(p, dtype=float) - np.asarray(y, dtype=float)) ** 2))


def negative_log_likelihood(delta: ArrayLike, y: ArrayLike) -> float:
    """Mean cross entropy of sigmoid(delta) and the labels, in nats; ``delta`` is a difference of scores ``[P]``."""
    return float(_losses(np.asarray(delta, dtype=float), np.asarray(y, dtype=float)).mean())


def fit_temperature(delta: ArrayLike, y: ArrayLike) -> Tuned:
    """The inverse temperature beta that makes sigmoid(beta · delta) most likely; convex, found by bisection.

    Args:
        delta: ``[P]`` differences of scores, first minus second.
        y: ``[P]`` labels in [0, 1].

    Returns:
        Beta, and the mean negative log likelihood at it. Where it would grow without end (every comparison in the right
        order), it is capped at ``LARGEST_LOGIT`` / mean |delta|, and the note says so.

    Raises:
        DataError: The scores are no better than chance in log-odds, so that the best beta is not positive; or there is
            nothing to fit.
    """
    d, label = np.asarray(delta, dtype=float), np.asarray(y, dtype=float)
    if not len(d) or not np.any(d):
        raise DataError("no temperature: there is no comparison whose two scores differ")

    def slope(beta: float) -> float:
        return float(np.mean((expit(beta * d) - label) * d))

    if slope(0.0) >= 0:
        raise DataError(
            "no temperature: on the tuning data the scores are no better than chance; the best beta is not positive"
        )
    low, high = 0.0, LARGEST_LOGIT / float(np.mean(np.abs(d)))
    capped = slope(high) <= 0
    while not capped and high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    beta = high if capped else (low + high) / 2
    note = "capped: the tuning data are separable, the likelihood grows without end" if capped else ""
    return Tuned("calibration", beta, len(d), 0, negative_log_likelihood(beta * d, label), note)


def labelled_differences(pairs: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Which judged pairs can be calibrated on ``[P]`` (both scores and a vote), and of these difference and label."""
    votes = pairs[["votes_first", "votes_tie", "votes_second"]].to_numpy(float)
    total = votes.sum(axis=1)
    delta = pairs["score_first"].to_numpy(float) - pairs["score_second"].to_numpy(float)
    if np.isinf(delta).any():
        raise DataError("a score is infinite, so it is no log-odds; look at the weights it was made with")
    counts = (total > 0) & ~np.isnan(delta)
    label = (votes[counts, 0] + votes[counts, 1] / 2) / total[counts]
    return counts, delta[counts], label


def tune_temperature(pairs: pd.DataFrame) -> Tuned:
    """``fit_temperature`` on judged pairs; where that refuses, no value, and the note says why."""
    counts, delta, label = labelled_differences(pairs)
    groups = int(pairs.loc[counts, "group"].nunique())
    try:
        found = fit_temperature(delta, label)
    except DataError as error:
        return Tuned("calibration", None, len(delta), groups, None, str(error))
    return Tuned("calibration", found.value, len(delta), groups, found.score, found.note)


def measure_calibration(pairs: pd.DataFrame, tuned: Tuned | None = None) -> list[Measurement]:
    """ECE, MCE, Brier score and NLL of judged pairs of one dimension; with a tuned temperature also at that.

    Args:
        pairs: From ``judged_pairs``.
        tuned: From ``tune_temperature`` on other pairs.
    """
    counts, delta, label = labelled_differences(pairs)
    codes, numbers = pd.factorize(pairs["group"].to_numpy()[counts], sort=True)
    names = names_of_groups(pairs, numbers)
    verdict = pairs["verdict"].to_numpy()
    told = Counts(
        comparisons=len(delta),
        groups=len(names),
        ties=int((verdict == 0).sum()),
        unscored=int((pairs["score_first"].isna() | pairs["score_second"].isna()).sum()),
        equal_scores=int((delta == 0).sum()),
        groups_without=int(pairs["group"].nunique()) - len(names),
    )
    found = _measure(delta, label, codes, names, told, suffix="", note=f"{BINS} bins on [0, 1]")
    if tuned is None:
        return found
    if tuned.value is None:
        return [*found, _temperature(None, told, tuned.note)]
    note = f"beta = 1/T = {tuned.value:.4g}, fitted on {tuned.comparisons} comparisons"
    note += f" ({tuned.note})" if tuned.note else ""
    at = _measure(tuned.value * delta, label, codes, names, told, suffix="_tempered", note=note, tuned=tuned.value)
    return [*found, _temperature(tuned.value, told, note), *at]


def _measure(
    delta: NDArray[np.float64],
    label: NDArray[np.float64],
    codes: NDArray[np.int64],
    names: NDArray[np.object_],
    counts: Counts,
    *,
    suffix: str,
    note: str,
    tuned: float | None = None,
) -> list[Measurement]:
    """The four measures as sums over groups; ``codes`` ``[P]`` says to which of the groups a comparison belongs."""
    p = expit(delta)
    number = np.bincount(codes, minlength=len(names)).astype(float)
    place, sure, right = _folded(p, label, BINS)
    kept, half = place >= 0, BINS // 2
    cell, cells = (codes * half + place)[kept], len(names) * half
    binned = [
        np.bincount(cell, weights=weights[kept], minlength=cells).reshape(len(names), half)
        for weights in (np.ones(len(p)), sure, right)
    ]
    bins = np.concatenate([*binned, number[:, None]], axis=1)  # [G, 3 * half + 1]
    means = {"brier": (p - label) ** 2, "nll": _losses(delta, label)}
    sums: list[tuple[str, NDArray[np.float64], Statistic]] = [("ece", bins, _ece_of), ("mce", bins, _mce_of)]
    for name, values in means.items():
        added = np.bincount(codes, weights=values, minlength=len(names))
        sums.append((name, np.stack([added, number], axis=1), ratio))
    return [
        Measurement(
            "calibration",
            f"{name}{suffix}",
            names,
            added,
            statistic,
            counts=counts,
            note=note,
            tuned=tuned,
            share=False,
            lower_is_better=True,
        )
        for name, added, statistic in sums
    ]


def _temperature(beta: float | None, counts: Counts, note: str) -> Measurement:
    """T = 1/beta as a number of its own; it was fitted elsewhere, so it has no interval here."""
    value = np.nan if beta is None else 1.0 / beta
    whole = (np.array(["all"], dtype=object), np.array([[value, 1.0]]))
    return Measurement(
        "calibration", "temperature", *whole, counts=counts, note=note, tuned=beta, share=False, fixed=True
    )


def _ece_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    _, sure, right = np.split(sums[:, :-1], 3, axis=1)
    whole = sums[:, -1]
    return np.divide(np.abs(sure - right).sum(axis=1), whole, out=np.full(len(sums), np.nan), where=whole > 0)


def _mce_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    number, sure, right = np.split(sums[:, :-1], 3, axis=1)
    gaps = np.divide(np.abs(sure - right), number, out=np.zeros_like(sure), where=number > 0)
    found: NDArray[np.float64] = np.where(sums[:, -1] > 0, gaps.max(axis=1), np.nan)
    return found


def _folded(
    p: NDArray[np.float64], y: NDArray[np.float64], bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Bin of confidence (-1 at one half), confidence and label of the more probable side: ``[P]`` each."""
    first = p > 0.5
    sure, right = np.where(first, p, 1.0 - p), np.where(first, y, 1.0 - y)
    place = np.clip(np.floor(sure * bins).astype(np.int64) - bins // 2, 0, bins // 2 - 1)
    return np.where(p == 0.5, -1, place), sure, right


def _losses(delta: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cross entropy of sigmoid(delta) and y: -y log s(delta) - (1 - y) log s(-delta)."""
    losses: NDArray[np.float64] = -y * log_expit(delta) - (1.0 - y) * log_expit(-delta)
    return losses


def _check_bins(bins: int) -> None:
    if bins < 2 or bins % 2:
        raise ValueError(f"the number of bins has to be even and at least 2, got {bins}")
