"""Comparisons with the model's two scores and the people's verdict: what every protocol counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.data.predictions import Predictions

FIRST, TIE, SECOND, UNDECIDED = 1, 0, -1, 2
"""Verdicts. A tie is what people said; undecided is as many votes for one as for the other."""


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
    pairs["verdict"] = verdicts(
        pairs["votes_first"].to_numpy(), pairs["votes_tie"].to_numpy(), pairs["votes_second"].to_numpy()
    )
    return pairs
