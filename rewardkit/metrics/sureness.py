"""Accuracy where the model is sure, and where people are: curves that one number hides.

``accuracy_above``: of comparisons whose scores lie at least so far apart. ``beside_annotators``: of comparisons on
which so many annotators agree, beside one annotator. ``cross_tempered``: temperatures fitted on one half of the groups
and used on the other, so that a reliability after tempering is not flattered by its own fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.errors import DataError
from rewardkit.metrics.baselines import agreement
from rewardkit.metrics.calibration import fit_temperature, labelled_differences
from rewardkit.metrics.intervals import resampled_sums
from rewardkit.metrics.judged_pairs import FIRST, SECOND
from rewardkit.metrics.protocols import Protocol, credit, score_gaps

DRAWS = 400
"""Resamples behind the intervals of a curve: they are drawn as a band, where more would not be seen."""


@dataclass(frozen=True, slots=True)
class Share:
    """One point of a curve.

    Attributes:
        at: Where it stands: a threshold, or a share of votes.
        value: Accuracy, with the 95 % interval ``low`` to ``high``.
        comparisons: Comparisons that count.
        kept: Their share of all that count.
        beside: One annotator's accuracy on the same comparisons, where it is known.
    """

    at: float
    value: float
    low: float
    high: float
    comparisons: int
    kept: float
    beside: float | None = None


def accuracy_above(pairs: pd.DataFrame, rule: Protocol, *, points: int = 12, least: int = 20) -> list[Share]:
    """Accuracy of the comparisons whose scores are at least a threshold apart, from 0 up.

    Args:
        pairs: Pairs of one dimension that the rule judges.
        rule: A rule without a threshold of its own.
        points: Thresholds: quantiles of the distances, so that each step leaves out as many comparisons.
        least: Thresholds that keep fewer comparisons than this are left out.
    """
    credits, gaps = credit(pairs, rule), score_gaps(pairs)
    counts = ~np.isnan(credits)
    if not counts.any():
        return []
    thresholds = np.unique(np.r_[0.0, np.quantile(gaps[counts], np.linspace(0, 1, points + 1)[1:-1])])
    masks = counts[:, None] & (gaps[:, None] >= thresholds)  # [P, T]
    masks = masks[:, (masks.sum(axis=0) >= least) | (thresholds == 0)]
    return _curve(pairs, credits, masks, thresholds, rule)


def beside_annotators(pairs: pd.DataFrame, rule: Protocol, *, bins: int = 6, least: int = 20) -> list[Share]:
    """Accuracy by how many annotators agree, beside one annotator against the others.

    Args:
        pairs: Pairs of one dimension with at least two votes each; others are left out.
        rule: A rule without a threshold of its own.
        bins: At most so many points; comparisons with equal shares stay together.
        least: Points of fewer comparisons than this are left out.
    """
    votes = pairs[["votes_first", "votes_second"]].to_numpy(float)
    total = pairs[["votes_first", "votes_tie", "votes_second"]].to_numpy(float).sum(axis=1)
    decided = np.isin(pairs["verdict"].to_numpy(), (FIRST, SECOND)) & (total >= 2)
    credits = np.where(decided, credit(pairs, rule), np.nan)
    counts = ~np.isnan(credits)
    if not counts.any():
        return []
    share = np.divide(votes.max(axis=1), total, out=np.zeros_like(total), where=total > 0)
    edges = np.unique(np.quantile(share[counts], np.linspace(0, 1, bins + 1), method="nearest"))
    places = np.clip(np.searchsorted(edges, share, side="right") - 1, 0, len(edges) - 1)
    masks = counts[:, None] & (places[:, None] == np.arange(len(edges)))
    masks = masks[:, masks.sum(axis=0) >= least]
    at = np.array([share[mask].mean() for mask in masks.T])
    one = agreement(pairs, rule)
    beside = [float(np.nanmean(one[mask])) for mask in masks.T]
    return _curve(pairs, credits, masks, at, rule, beside)


def cross_tempered(
    pairs: pd.DataFrame,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], tuple[float, float]] | None:
    """Differences of scores and labels, and the same differences at a temperature that other groups gave.

    Groups are halved by their place in the table; each half's inverse temperature is fitted on the other half.

    Returns:
        Differences, labels and tempered differences, ``[P]`` each, and the two inverse temperatures. None where a half
        has nothing to fit, or its scores are no better than chance.
    """
    counts, delta, label = labelled_differences(pairs)
    group, _ = pd.factorize(pairs["group"].to_numpy()[counts], sort=True)
    half = group % 2 == 0
    try:
        betas = [fit_temperature(delta[~part], label[~part]).value for part in (half, ~half)]
    except DataError:
        return None
    if betas[0] is None or betas[1] is None:
        return None
    return delta, label, np.where(half, betas[0], betas[1]) * delta, (betas[0], betas[1])


def _curve(
    pairs: pd.DataFrame,
    credits: NDArray[np.float64],
    masks: NDArray[np.bool_],
    at: NDArray[np.float64],
    rule: Protocol,
    beside: Sequence[float | None] = (),
) -> list[Share]:
    """A point for each column of ``masks`` ``[P, T]``, averaged as the rule says, with intervals over groups."""
    whole = int((~np.isnan(credits)).sum())
    codes, groups = pd.factorize(pairs["group"].to_numpy(), sort=True)
    number, right = (np.zeros((len(groups), masks.shape[1])) for _ in range(2))
    np.add.at(number, codes, masks.astype(float))
    np.add.at(right, codes, np.where(masks, np.nan_to_num(credits)[:, None], 0.0))
    if rule.macro:
        right = np.divide(right, number, out=np.zeros_like(right), where=number > 0)
        weight = (number > 0).astype(float)
    else:
        weight = number
    drawn = resampled_sums(np.concatenate([right, weight], axis=1), draws=DRAWS, seed=0)  # [draws, 2 T]
    tops, bottoms = np.split(drawn, 2, axis=1)
    values = np.divide(tops, bottoms, out=np.full_like(tops, np.nan), where=bottoms > 0)
    found = []
    for n in range(masks.shape[1]):
        resampled = values[:, n][np.isfinite(values[:, n])]
        low, high = np.quantile(resampled, [0.025, 0.975])
        count = int(number[:, n].sum())
        value = float(right[:, n].sum() / weight[:, n].sum())
        found.append(
            Share(float(at[n]), value, float(low), float(high), count, count / whole, beside[n] if beside else None)
        )
    return found
