"""Comparisons with the model's two scores and the people's verdict: what every protocol of pairs counts.

There are two kinds. ``judged_pairs`` are the comparisons of the labels, with the verdict of their votes.
``ranked_pairs`` are all pairs of a group's candidates, with the verdict of the people's order (the table's
``human_rank``); a group of which no order is known keeps the comparisons of its labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.data.predictions import Predictions

FIRST, TIE, SECOND, UNDECIDED = 1, 0, -1, 2
"""Verdicts. A tie is what people said; undecided is as many votes for one as for the other."""

_VOTES = ["votes_first", "votes_tie", "votes_second"]
_OF = ["group", "dimension"]


def verdicts(first: NDArray[np.float64], tie: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.int8]:
    """What a vote says: a tie where tie votes outnumber each side, else the side with more votes, else undecided.

    Ten votes against ten are undecided, not a tie; so are no votes at all.

    Args:
        first: ``[P]`` votes for the first candidate.
        tie: ``[P]`` votes for a tie.
        second: ``[P]`` votes for the second candidate.

    Returns:
        ``[P]`` of FIRST, TIE, SECOND, UNDECIDED.
    """
    verdict = np.where(first > second, FIRST, np.where(second > first, SECOND, UNDECIDED))
    return np.where(tie > np.maximum(first, second), TIE, verdict).astype(np.int8)


def judged_pairs(predictions: Predictions) -> pd.DataFrame:
    """One row for each comparison of the labels.

    Returns:
        Columns group, dimension, source, key, tags, first, second, votes_first, votes_tie, votes_second, weight,
        verdict, score_first, score_second (NaN where the candidate was not scored), generator_first,
        generator_second.
    """
    scores = predictions.scores
    of_candidate = scores[["group", "dimension", "candidate", "score", "generator"]]
    of_group = scores[["group", "source", "key", "tags"]].drop_duplicates("group")
    pairs = predictions.labels.merge(of_group, on="group", how="left", validate="many_to_one")
    for side in ("first", "second"):
        columns = {"candidate": side, "score": f"score_{side}", "generator": f"generator_{side}"}
        pairs = pairs.merge(
            of_candidate.rename(columns=columns),
            on=["group", "dimension", side],
            how="left",
            validate="many_to_one",
        )
    pairs["verdict"] = verdicts(*(pairs[name].to_numpy() for name in _VOTES))
    return pairs


def ranked_pairs(predictions: Predictions, judged: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each pair of candidates that the people's order ranks, ``first`` before ``second`` in the list.

    A group and dimension with no order (fewer than two ranked candidates) has its rows of ``judged_pairs`` instead.

    Args:
        predictions: The table.
        judged: Its ``judged_pairs``, where they are at hand.

    Returns:
        The columns of ``judged_pairs``; votes are those on the same two candidates, 0 where there are none.
    """
    judged = judged_pairs(predictions) if judged is None else judged
    ranked = predictions.scores[predictions.scores["human_rank"].notna()]
    ranked = ranked.sort_values(["group", "dimension", "candidate"], kind="stable", ignore_index=True)
    left, right = _pairs_of_rows(ranked)
    first, second = ranked.iloc[left], ranked.iloc[right]
    pairs = first[["group", "dimension", "source", "key", "tags"]].reset_index(drop=True)
    for side, rows in (("first", first), ("second", second)):
        pairs[side] = rows["candidate"].to_numpy()
        pairs[f"score_{side}"] = rows["score"].to_numpy()
        pairs[f"generator_{side}"] = rows["generator"].to_numpy()
    rank_first, rank_second = first["human_rank"].to_numpy(), second["human_rank"].to_numpy()
    pairs["verdict"] = np.where(
        rank_first < rank_second, FIRST, np.where(rank_first > rank_second, SECOND, TIE)
    ).astype(np.int8)
    pairs["weight"] = 1.0
    pairs = pairs.merge(_votes_in_list_order(judged), on=[*_OF, "first", "second"], how="left")
    pairs[_VOTES] = pairs[_VOTES].fillna(0.0)
    with_order = pd.MultiIndex.from_frame(pairs[_OF].drop_duplicates())
    others = judged[~pd.MultiIndex.from_frame(judged[_OF]).isin(with_order)]
    if not len(others):
        return pairs[judged.columns]
    if not len(pairs):
        return others
    both = pd.concat([pairs[judged.columns], others], ignore_index=True)
    return both.sort_values("group", kind="stable", ignore_index=True)


def rows_of_groups(group: NDArray[np.integer[Any]]) -> Iterator[NDArray[np.int64]]:
    """Groups of equal size at a time: ``[n, K]`` positions, ascending, of the rows of n groups of K rows.

    Args:
        group: ``[N]``, a number for each row; rows of a group stand together.
    """
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else np.zeros(0, dtype=np.int64)
    sizes = np.diff(np.r_[starts, len(group)])
    for size in np.unique(sizes):
        yield starts[sizes == size][:, None] + np.arange(size)


def _pairs_of_rows(ranked: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions ``[P]`` of both rows of every pair of a group and dimension, in the order of the rows."""
    codes = ranked.groupby(_OF, sort=False).ngroup().to_numpy()
    left, right = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for rows in rows_of_groups(codes):
        i, j = np.triu_indices(rows.shape[1], 1)
        left.append(rows[:, i].ravel())
        right.append(rows[:, j].ravel())
    lefts, rights = np.concatenate(left), np.concatenate(right)
    order = np.lexsort((rights, lefts))
    return lefts[order], rights[order]


def _votes_in_list_order(judged: pd.DataFrame) -> pd.DataFrame:
    """The votes on every two candidates, the one listed first as ``first``; repeated comparisons are added up."""
    swapped = (judged["first"] > judged["second"]).to_numpy()
    turned = judged[[*_OF, "first", "second", *_VOTES]].copy()
    for a, b in (("first", "second"), ("votes_first", "votes_second")):
        turned[a], turned[b] = np.where(swapped, judged[b], judged[a]), np.where(swapped, judged[a], judged[b])
    return turned.groupby([*_OF, "first", "second"], as_index=False, sort=False)[_VOTES].sum()
