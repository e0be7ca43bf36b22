"""System level: do the generators' mean scores order them as people do, counted in comparisons won?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.errors import DataError
from rewardkit.metrics.correlations import kendall_tau_b, pearson, spearman
from rewardkit.metrics.judged_pairs import FIRST, SECOND
from rewardkit.metrics.protocols import names_of_groups
from rewardkit.metrics.results import Counts, Measurement, Statistic


def measure_system(candidates: pd.DataFrame, pairs: pd.DataFrame) -> list[Measurement]:
    """Spearman, Pearson and Kendall's tau-b between the mean score of each generator and its human wins.

    A win is a verdict for a generator's image over another generator's. Wins are counted, as published, not divided by
    the number of comparisons; the note says where generators were compared differently often.

    Args:
        candidates: Rows of the predictions' scores, of one dimension.
        pairs: Their ``judged_pairs``.
    """
    if np.isinf(candidates["score"].to_numpy(float)).any():
        raise DataError("a score is infinite, so a mean of scores means nothing; look at the weights it was made with")
    known = candidates[candidates["generator"].notna()]
    generators, systems = pd.factorize(known["generator"], sort=True)
    group, numbers = pd.factorize(known["group"].to_numpy(), sort=True)
    n, shape = len(systems), (len(numbers), len(systems))
    score = known["score"].to_numpy(float)
    scored = ~np.isnan(score)
    cell = group * n + generators
    sums = np.bincount(cell[scored], weights=score[scored], minlength=shape[0] * n).reshape(shape)
    images = np.bincount(cell[scored], minlength=shape[0] * n).reshape(shape).astype(float)
    won, played, judged = _wins(pairs, pd.Index(numbers), pd.Index(systems))
    # A generator without an image that was scored, or never compared, has no place in either order.
    placed = (images.sum(axis=0) > 0) & (played.sum(axis=0) > 0)
    compared = played.sum(axis=0)[placed]
    note = f"over {int(placed.sum())} generators"
    if len(compared) and compared.min() != compared.max():
        note += f", compared {int(compared.min())} to {int(compared.max())} times each"
    counts = Counts(
        comparisons=int(judged.sum()),
        groups=shape[0],
        equal_scores=0,
        groups_without=int(candidates["group"].nunique()) - shape[0],
    )
    columns = np.concatenate([sums[:, placed], images[:, placed], won[:, placed]], axis=1)  # [G, 3 * generators]
    names = names_of_groups(candidates, numbers)
    return [
        Measurement("system", metric, names, columns, statistic, counts, note, share=False)
        for metric, statistic in (
            ("spearman", _statistic(spearman)),
            ("pearson", _statistic(pearson)),
            ("kendall", _statistic(kendall_tau_b)),
        )
    ]


def _statistic(correlation: Callable[..., NDArray[np.float64]]) -> Statistic:
    def of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Summed scores, images and wins ``[draws, 3 * generators]`` to the correlation ``[draws]``."""
        score, images, won = np.split(sums, 3, axis=1)
        if score.shape[1] < 2:
            return np.full(len(sums), np.nan)
        means = np.divide(score, images, out=np.full_like(score, np.nan), where=images > 0)
        found = np.full(len(sums), np.nan)
        # A resample without any image of a generator says nothing of it.
        complete = ~np.isnan(means).any(axis=1)
        if complete.any():
            found[complete] = correlation(means[complete], won[complete])
        return found

    return of_sums


def _wins(
    pairs: pd.DataFrame, groups: pd.Index, systems: pd.Index
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Comparisons won and decided ``[G, generators]`` each, and which comparisons those are ``[P]``."""
    sides = np.stack(
        [systems.get_indexer(pd.Index(pairs[f"generator_{side}"])) for side in ("first", "second")], axis=1
    )
    place = groups.get_indexer(pd.Index(pairs["group"]))
    verdict = pairs["verdict"].to_numpy()
    judged = np.isin(verdict, (FIRST, SECOND)) & (sides >= 0).all(axis=1) & (sides[:, 0] != sides[:, 1]) & (place >= 0)
    won, played = np.zeros((len(groups), len(systems))), np.zeros((len(groups), len(systems)))
    for side, winner in enumerate((FIRST, SECOND)):
        np.add.at(played, (place[judged], sides[judged, side]), 1.0)
        ahead = judged & (verdict == winner)
        np.add.at(won, (place[ahead], sides[ahead, side]), 1.0)
    return won, played, judged
