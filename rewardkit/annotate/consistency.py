"""Self-consistency: whether an annotator who is asked again says the same. Pure functions of scores with repeats."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from rewardkit.annotate.estimates import Estimate, Floats, estimate
from rewardkit.annotate.scores import Asked
from rewardkit.metrics.agreement import Level, alpha_of_coincidences


@dataclass(frozen=True, slots=True)
class Consistency:
    """Of one annotator on one dimension, over its repeats.

    Attributes:
        same: Share of pairs of repeats that give a candidate the same score; ``n`` counts pairs.
        distance: Mean absolute difference of such pairs, in steps of the scale.
        alpha: Krippendorff's alpha (ordinal), the repeats being the raters; ``n`` counts candidates with two or more.
    """

    same: Estimate
    distance: Estimate
    alpha: Estimate


def consistency(said: Asked, *, draws: int, seed: int = 0) -> Consistency | None:
    """The figures of one annotator on one dimension; None without repeats.

    Args:
        said: Its scores.
        draws: Resamples of groups behind the intervals.
        seed: Of the resamples.
    """
    groups, repeats, candidates = said.values.shape
    a, b = np.triu_indices(repeats, 1)
    gap = np.abs(said.values[:, a] - said.values[:, b])  # [G, pairs of repeats, K]
    known = ~np.isnan(gap)
    if not known.any():
        return None
    pairs = known.sum(axis=(1, 2)).astype(float)

    def of(counted: np.ndarray) -> Estimate:
        summed = np.where(known, counted, 0.0).sum(axis=(1, 2))
        return estimate(np.stack([summed, pairs], axis=1), pairs, draws=draws, seed=seed)

    units = said.values.transpose(1, 0, 2).reshape(repeats, -1)
    group = np.repeat(np.arange(groups), candidates)
    return Consistency(of(gap == 0), of(gap), alpha_estimate(units, group, "ordinal", draws=draws, seed=seed))


def alpha_estimate(values: Floats, group: np.ndarray, level: Level, *, draws: int, seed: int = 0) -> Estimate:
    """Krippendorff's alpha with its interval.

    Args:
        values: ``[raters, units]``, NaN is missing; units with fewer than two values count for nothing.
        group: ``[units]``, whole numbers from 0; units of one group are resampled together.
        level: The metric of differences.
        draws: Resamples of groups.
        seed: Of the resamples.
    """
    paired = (~np.isnan(values)).sum(axis=0) >= 2
    values, group = values[:, paired], group[paired]
    levels = np.unique(values[~np.isnan(values)])
    places = np.searchsorted(levels, np.where(np.isnan(values), 0.0, values))
    counts = np.zeros((len(group), len(levels)))
    for row, known in zip(places, ~np.isnan(values), strict=True):
        counts[known, row[known]] += 1
    size = int(group.max()) + 1 if len(group) else 0
    sums = np.zeros((size, len(levels), len(levels)))
    units = (counts[:, :, None] * counts[:, None, :]) - counts[:, :, None] * np.eye(len(levels))
    np.add.at(sums, group, units / np.maximum(counts.sum(axis=1) - 1, 1)[:, None, None])
    found = np.bincount(group, minlength=size).astype(float)
    return estimate(sums.reshape(size, -1), found, partial(_alphas, levels=levels, level=level), draws=draws, seed=seed)


def _alphas(sums: Floats, *, levels: Floats, level: Level) -> Floats:
    """Alpha ``[n]`` of summed coincidence matrices ``[n, V * V]``."""
    v = len(levels)
    found = [alpha_of_coincidences(levels, matrix, level) for matrix in sums.reshape(-1, v, v)]
    return np.array([np.nan if alpha is None else alpha for alpha in found])
