"""The accuracy that no favourite generator explains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.metrics.intervals import DRAWS, bootstrap_interval
from rewardkit.metrics.judged_pairs import FIRST, TIE
from rewardkit.metrics.protocols import Protocol, credit, find_protocol, summarise
from rewardkit.metrics.results import Result


def generator_balanced(
    pairs: pd.DataFrame, protocol: str | Protocol, *, threshold: float = 0.0, draws: int = DRAWS, seed: int = 0
) -> Result:
    """Accuracy that knowing the generators alone cannot raise above one half.

    For each pair of generators A, B: the accuracy where people preferred A, and where they preferred B, averaged; a
    rule that always prefers A gets one half. The value is the mean over pairs of generators with both kinds.
    Comparisons within a generator, or with one that is not named, do not count; nor do those of which people said tie.

    Args:
        pairs: From ``judged_pairs``, of one dimension.
        protocol: Says what tied scores are worth; micro and macro make no difference here.
        threshold: Of a rule that has one.
        draws: Resamples of groups behind the interval.
        seed: Of the resamples.
    """
    rule = find_protocol(protocol) if isinstance(protocol, str) else protocol
    credits = credit(pairs, rule, threshold)
    credits[(pairs["verdict"] == TIE).to_numpy()] = np.nan
    first, second = pairs["generator_first"], pairs["generator_second"]
    credits[(first.isna() | second.isna() | (first == second)).to_numpy()] = np.nan
    won_first = (pairs["verdict"] == FIRST).to_numpy()
    counts = ~np.isnan(credits)
    winner, loser = np.where(won_first, first, second), np.where(won_first, second, first)
    # One cell for each (winner, loser); its mirror image is the other half of a pair of generators.
    cells, kinds = pd.factorize(pd.MultiIndex.from_arrays([winner[counts], loser[counts]]))
    index = {kind: n for n, kind in enumerate(kinds)}
    halves = [(n, index[(b, a)]) for (a, b), n in index.items() if a < b and (b, a) in index]
    credits[np.flatnonzero(counts)[~np.isin(cells, np.array(halves, dtype=int).ravel())]] = np.nan
    family = rule.name.removesuffix("_micro").removesuffix("_macro")
    found = replace(summarise(pairs, credits, rule, draws=0), protocol=f"{family}_generator_balanced", value=None)
    if not halves:
        return found
    codes, groups = pd.factorize(pairs["group"].to_numpy()[counts], sort=True)
    place, places = codes * len(kinds) + cells, len(groups) * len(kinds)
    right = np.bincount(place, weights=np.nan_to_num(credits[counts]), minlength=places)
    number = np.bincount(place, minlength=places).astype(float)
    flat = np.concatenate([right.reshape(len(groups), -1), number.reshape(len(groups), -1)], axis=1)  # [G, 2 * cells]

    def statistic(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums ``[draws, 2 * cells]`` to the mean over pairs of generators ``[draws]``."""
        return _mean_of_halves(drawn.reshape(len(drawn), 2, len(kinds)), halves)

    interval = bootstrap_interval(flat, statistic, draws=draws, seed=seed)
    low, high = interval or (None, None)
    return replace(found, value=float(statistic(flat.sum(axis=0, keepdims=True))[0]), low=low, high=high)


def _mean_of_halves(sums: NDArray[np.float64], halves: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Credit and number ``[draws, 2, cells]`` to ``[draws]``; a pair of generators with an empty half is left out."""
    right, number = sums[:, 0], sums[:, 1]
    each = np.divide(right, number, out=np.full_like(right, np.nan), where=number > 0)  # [draws, cells]
    means = np.stack([(each[:, a] + each[:, b]) / 2 for a, b in halves])  # [pairs of generators, draws]
    known = (~np.isnan(means)).sum(axis=0)
    return np.divide(np.nansum(means, axis=0), known, out=np.full(len(sums), np.nan), where=known > 0)
