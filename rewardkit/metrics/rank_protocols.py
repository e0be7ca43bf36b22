"""Protocols that read a group's whole order: Recall@k and Filter@k, Kendall's tau-b, Spearman.

They are functions of the candidates of one dimension with a score and a ``human_rank``. A group counts where at least
two candidates are ranked and every ranked one has a score; the others are counted as groups without.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import comb

from rewardkit.errors import DataError
from rewardkit.metrics.correlations import kendall_tau_b, spearman
from rewardkit.metrics.judged_pairs import rows_of_groups
from rewardkit.metrics.protocols import names_of_groups
from rewardkit.metrics.results import Counts, Measurement

KS = (1, 2, 4)
"""k of Recall@k and Filter@k, as ImageReward reports them."""

OfGroups = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Scores and human ranks ``[n, K]`` to a value for each group ``[n]``, NaN where undefined."""


def measure_recall(candidates: pd.DataFrame, *, published: bool = False) -> list[Measurement]:
    """Recall@k and Filter@k.

    The share of groups whose k highest scores hold an image that people ranked best (any of the tied), and of those
    whose k lowest hold one that they ranked worst.

    Args:
        candidates: Rows of the predictions' scores, of one dimension.
        published: Take equal scores in the order of the list (a stable descending sort), instead of the expectation
            over the orders of equals.
    """
    name = "imagereward_recall_published" if published else "imagereward_recall"
    top, bottom = (top_in_list_order, bottom_in_list_order) if published else (expected_top, expected_bottom)

    def recall(k: int) -> OfGroups:
        return lambda scores, ranks: top(scores, ranks == ranks.min(axis=1, keepdims=True), k)

    def filtered(k: int) -> OfGroups:
        return lambda scores, ranks: bottom(scores, ranks == ranks.max(axis=1, keepdims=True), k)

    return [
        *(_measure(candidates, name, f"recall@{k}", recall(k)) for k in KS),
        *(_measure(candidates, name, f"filter@{k}", filtered(k)) for k in KS),
    ]


def measure_kendall(candidates: pd.DataFrame) -> list[Measurement]:
    """Mean over groups of Kendall's tau-b between scores and the people's order."""
    tau = lambda scores, ranks: kendall_tau_b(scores, -ranks)  # noqa: E731
    return [_measure(candidates, "kendall", "tau_b", tau, share=False)]


def measure_spearman(candidates: pd.DataFrame) -> list[Measurement]:
    """Mean over groups of Spearman's correlation between scores and the people's order, average ranks for ties."""
    rho = lambda scores, ranks: spearman(scores, -ranks)  # noqa: E731
    return [_measure(candidates, "spearman", "rho", rho, share=False)]


def expected_top(scores: NDArray[np.float64], wanted: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """``[n]``: probability that the k highest of ``[n, K]`` scores hold a wanted one, equal scores in random order."""
    k = min(k, scores.shape[1])
    last = np.sort(scores, axis=1)[:, -k, None]  # the lowest score that can be among them
    above, level = scores > last, scores == last
    places, members, hits = k - above.sum(axis=1), level.sum(axis=1), (level & wanted).sum(axis=1)
    missed = comb(members - hits, places) / comb(members, places)
    return np.where((above & wanted).any(axis=1), 1.0, 1.0 - missed)


def expected_bottom(scores: NDArray[np.float64], wanted: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """The same for the k lowest scores."""
    return expected_top(-scores, wanted, k)


def top_in_list_order(scores: NDArray[np.float64], wanted: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """``[n]``: 1 where the first k of a stable descending sort hold a wanted one. Published form, for parity."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(wanted, order, axis=1)[:, :k].any(axis=1).astype(float)


def bottom_in_list_order(scores: NDArray[np.float64], wanted: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """``[n]``: 1 where the last k of a stable descending sort hold a wanted one. Published form, for parity."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(wanted, order, axis=1)[:, -k:].any(axis=1).astype(float)


def _measure(
    candidates: pd.DataFrame, protocol: str, metric: str, of_groups: OfGroups, *, share: bool = True
) -> Measurement:
    """The mean of a metric over the groups where it is defined."""
    if np.isinf(candidates["score"].to_numpy(float)).any():
        raise DataError("a score is infinite, so the model's order means nothing; look at the weights it was made with")
    ranked = candidates[candidates["human_rank"].notna()].sort_values(["group", "candidate"], kind="stable")
    scores, ranks = ranked["score"].to_numpy(float), ranked["human_rank"].to_numpy(float)
    number = ranked["group"].to_numpy()
    groups, values, pairs, equal, ties, unscored = [], [], 0, 0, 0, 0
    for rows in rows_of_groups(number):
        size = rows.shape[1]
        complete = ~np.isnan(scores[rows]).any(axis=1)
        if size < 2:
            continue
        unscored += int((~complete).sum()) * size * (size - 1) // 2
        found = of_groups(scores[rows[complete]], ranks[rows[complete]])
        defined = ~np.isnan(found)
        groups.append(number[rows[complete][defined, 0]])
        values.append(found[defined])
        pairs += int(defined.sum()) * size * (size - 1) // 2
        i, j = np.triu_indices(size, 1)
        kept = rows[complete][defined]
        equal += int((scores[kept[:, i]] == scores[kept[:, j]]).sum())
        ties += int((ranks[kept[:, i]] == ranks[kept[:, j]]).sum())
    numbers, means = np.concatenate([[], *groups]).astype(np.int64), np.concatenate([[], *values])
    order = np.argsort(numbers)
    counts = Counts(
        comparisons=pairs,
        groups=len(means),
        ties=ties,
        unscored=unscored,
        equal_scores=equal,
        groups_without=int(candidates["group"].nunique()) - len(means),
    )
    return Measurement(
        protocol,
        metric,
        names_of_groups(candidates, numbers[order]),
        np.stack([means[order], np.ones(len(means))], axis=1),
        counts=counts,
        share=share,
    )
