"""When do two scores tie? Thresholds that are tuned on one set of pairs and applied to another.

``pickapic`` takes t out of 0, 0.1 … 1, the first of the best (PickScore, ``eval_preference_predictor.py``).
``tie_calibrated`` takes eps out of 0 and every observed difference, the smallest of the best (Deutsch, Foster and
Freitag 2023, "Ties Matter", arXiv 2305.14324). A threshold never lies between equal differences. Differences are
compared with differences, never with retyped numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.errors import UserError
from rewardkit.metrics.judged_pairs import TIE, UNDECIDED
from rewardkit.metrics.protocols import PROTOCOLS, Protocol, credit, find_protocol, measured, score_gaps
from rewardkit.metrics.results import Measurement

PROBABILITY_GRID = tuple(n / 10 for n in range(11))
"""Thresholds of Pick-a-Pic."""

_SAME = 1e-12
"""Accuracies nearer than this are equal: sums of the same shares in another order."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of a tuning.

    Attributes:
        protocol: Name of the rule.
        value: The threshold, or the temperature's inverse; None where there is none (``note`` says why).
        comparisons: Comparisons that it was tuned on.
        groups: Their groups.
        score: The best accuracy on them (for a temperature: the lowest mean negative log likelihood).
        note: What a reader must know.
    """

    protocol: str
    value: float | None
    comparisons: int
    groups: int
    score: float | None
    note: str = ""


def tune_threshold(pairs: pd.DataFrame, protocol: str | Protocol) -> Tuned:
    """The threshold under which a rule gives these pairs the highest accuracy.

    Args:
        pairs: From ``judged_pairs``, of one dimension.
        protocol: Name or rule; one that has a threshold.

    Raises:
        UserError: The rule has no threshold.
    """
    rule = find_protocol(protocol) if isinstance(protocol, str) else protocol
    if rule.threshold is None:
        raise UserError(f"{rule.name} has no threshold to tune")
    apart, tied = credit(pairs, rule, -np.inf), credit(pairs, rule, np.inf)
    counts = ~np.isnan(apart)
    groups = pairs["group"].to_numpy()[counts]
    if not len(groups):
        return Tuned(rule.name, None, 0, 0, None, "no comparison to tune on")
    codes, names = pd.factorize(groups)
    weights = 1.0 / np.bincount(codes)[codes] / len(names) if rule.macro else np.full(len(codes), 1.0 / len(codes))
    gaps = score_gaps(pairs, rule.threshold)[counts]
    candidates = PROBABILITY_GRID if rule.threshold == "probability" else np.unique(np.r_[0.0, gaps])
    value, best = best_threshold(gaps, tied[counts], apart[counts], candidates, weights=weights)
    return Tuned(rule.name, value, len(codes), len(names), best)


def best_threshold(
    gaps: NDArray[np.float64],
    tied: NDArray[np.float64],
    apart: NDArray[np.float64],
    candidates: Sequence[float] | NDArray[np.float64],
    *,
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float]:
    """The smallest of the best thresholds, and the accuracy it gives; one sort, whatever the number of candidates.

    Args:
        gaps: ``[P]`` distances of two scores, 0 or more.
        tied: ``[P]`` credit where a pair's scores tie.
        apart: ``[P]`` credit where they do not.
        candidates: Thresholds, ascending; scores tie where the gap is at most the threshold.
        weights: ``[P]``, adding up to 1; None weighs all pairs alike.
    """
    thresholds = np.asarray(candidates, dtype=float)
    accuracies = accuracies_at(gaps, tied, apart, thresholds, weights=weights)
    best = int(np.argmax(accuracies >= accuracies.max() - _SAME))
    return float(thresholds[best]), float(accuracies[best])


def accuracies_at(
    gaps: NDArray[np.float64],
    tied: NDArray[np.float64],
    apart: NDArray[np.float64],
    thresholds: Sequence[float] | NDArray[np.float64],
    *,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The accuracy at each threshold ``[T]``; arguments as ``best_threshold``."""
    share = np.full(len(gaps), 1.0 / len(gaps)) if weights is None else weights
    order = np.argsort(gaps, kind="stable")
    gained = np.r_[0.0, np.cumsum((share * (tied - apart))[order])]  # [P + 1], by how many pairs tie
    accuracies: NDArray[np.float64] = (share * apart).sum() + gained[
        np.searchsorted(gaps[order], np.asarray(thresholds, dtype=float), side="right")
    ]
    return accuracies


def videoalign_accuracy(verdict: NDArray[np.int8], delta: NDArray[np.float64]) -> float:
    """VideoAlign's "accuracy with ties" to the letter (KwaiVGI/VideoAlign, ``calc_accuracy.py``): parity only.

    It calls the k closest pairs ties, for k of 1 to P, and takes the best. So it cuts a run of equal differences in the
    middle (too high, and dependent on the order of the list) and never tries to call no pair a tie (too low).

    Args:
        verdict: ``[P]`` of FIRST, TIE, SECOND.
        delta: ``[P]`` score of the first minus score of the second.
    """
    order = np.argsort(np.abs(delta), kind="stable")
    right = (verdict * np.sign(delta) > 0).astype(float)[order]
    ties = (verdict == TIE).astype(float)[order]
    return float((np.cumsum(ties) + right.sum() - np.cumsum(right)).max() / len(delta))


def measure_videoalign(pairs: pd.DataFrame) -> Measurement:
    """``videoalign_published`` of judged pairs of one dimension. It is no mean over groups, so it has no interval."""
    judged = ((pairs["verdict"] != UNDECIDED) & pairs["score_first"].notna() & pairs["score_second"].notna()).to_numpy()
    rule = PROTOCOLS["tie_calibrated_micro"]
    counts = measured(pairs, credit(pairs, rule), rule).counts
    verdict = pairs["verdict"].to_numpy()[judged]
    delta = (pairs["score_first"].to_numpy(float) - pairs["score_second"].to_numpy(float))[judged]
    value = videoalign_accuracy(verdict, delta) if len(delta) else np.nan
    return Measurement(
        "videoalign_published",
        "accuracy",
        np.array(["all"], dtype=object),
        np.array([[value, 1.0]]),
        counts=counts,
        note="published code's own arithmetic, depends on the order of the list; for parity only",
        fixed=True,
    )
