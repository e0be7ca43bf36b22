"""A few groups of a validation as people look at them: pictures, scores, and what people voted."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from rewardkit.data.predictions import Predictions
from rewardkit.metrics.judged_pairs import FIRST, SECOND, judged_pairs
from rewardkit.report.disagreements import Thumbnails


@dataclass(frozen=True, slots=True)
class ShownCandidate:
    """One candidate.

    Attributes:
        candidate: Its place in the group.
        picture: RGB, at most 256 pixels a side; None where it could not be read.
        score: The model's.
        won: Votes for it over all comparisons it stands in, half of those for a tie included.
        votes: All votes in these comparisons.
    """

    candidate: int
    picture: Image.Image | None
    generator: str | None
    score: float
    won: float
    votes: float


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """One group; candidates in the order of the model, best first.

    Attributes:
        right: Comparisons that people decided and the model orders as they did.
        decided: Comparisons that people decided.
    """

    source: str
    key: str
    prompt: str
    candidates: tuple[ShownCandidate, ...]
    right: int
    decided: int


def choose_groups(predictions: Predictions, count: int, keys: Sequence[str] = ()) -> list[int]:
    """Numbers of the groups to show: those of the keys, in their order, else the first by a hash.

    The hash is of source and key, so the choice is the same at every validation and of every run on the same data.

    Args:
        predictions: Of the validation.
        count: How many at most, where no keys are given.
        keys: Samples' keys; those that are not in this set are left out.
    """
    groups = predictions.scores[["group", "source", "key"]].drop_duplicates("group")
    if keys:
        of = dict(zip(groups["key"], groups["group"], strict=True))
        return [int(of[key]) for key in keys if key in of]
    hashes = [
        hashlib.sha256(f"{source}\0{key}".encode()).digest()
        for source, key in zip(groups["source"], groups["key"], strict=True)
    ]
    order = sorted(range(len(groups)), key=hashes.__getitem__)[:count]
    return [int(groups["group"].iloc[n]) for n in order]


def of_groups(predictions: Predictions, numbers: Sequence[int], dimension: str) -> Predictions:
    """The part of a table that speaks of some groups on one dimension."""
    scores, labels = predictions.scores, predictions.labels
    return Predictions(
        scores[scores["group"].isin(numbers) & (scores["dimension"] == dimension)],
        labels[labels["group"].isin(numbers) & (labels["dimension"] == dimension)],
    )


def show_groups(
    predictions: Predictions, numbers: Sequence[int], dimension: str, thumbnails: Thumbnails
) -> list[ShownGroup]:
    """Groups with their pictures, in the order of the numbers.

    Args:
        predictions: Of the validation.
        numbers: Of the groups.
        dimension: Whose scores and votes are shown.
        thumbnails: Where pictures come from.
    """
    part = of_groups(predictions, numbers, dimension)
    pairs = judged_pairs(part)
    by_group = dict(list(part.scores.groupby("group")))
    return [_shown(by_group[n], pairs[pairs["group"] == n], thumbnails) for n in numbers if n in by_group]


def _shown(rows: pd.DataFrame, pairs: pd.DataFrame, thumbnails: Thumbnails) -> ShownGroup:
    won, votes = _votes(pairs)
    candidates = [
        ShownCandidate(
            candidate=int(row["candidate"]),
            picture=picture_of(row, thumbnails),
            generator=row["generator"] if isinstance(row["generator"], str) else None,
            score=float(row["score"]),
            won=won.get(int(row["candidate"]), 0.0),
            votes=votes.get(int(row["candidate"]), 0.0),
        )
        for _, row in rows.iterrows()
    ]
    candidates.sort(key=lambda one: (np.isnan(one.score), -one.score))
    right = agrees(pairs)
    first = rows.iloc[0]
    return ShownGroup(
        source=str(first["source"]),
        key=str(first["key"]),
        prompt=str(first["prompt"]),
        candidates=tuple(candidates),
        right=sum(one is True for one in right),
        decided=sum(one is not None for one in right),
    )


def agrees(pairs: pd.DataFrame) -> list[bool | None]:
    """Whether the model orders each judged pair as people did; None where these did not decide. Equals are wrong."""
    ahead = (pairs["score_first"] - pairs["score_second"]) * pairs["verdict"] > 0
    decided = pairs["verdict"].isin([FIRST, SECOND])
    return [bool(right) if known else None for right, known in zip(ahead, decided, strict=True)]


def picture_of(row: pd.Series, thumbnails: Thumbnails) -> Image.Image | None:
    """The picture of one row of the predictions' scores, RGB."""
    uri = thumbnails.picture(row)
    if uri is None:
        return None
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def _votes(pairs: pd.DataFrame) -> tuple[dict[int, float], dict[int, float]]:
    """Votes won, and all votes, of each candidate that stands in a comparison."""
    won: dict[int, float] = {}
    every: dict[int, float] = {}
    columns = ("first", "second", "votes_first", "votes_tie", "votes_second")
    for first, second, ours, tie, theirs in pairs[list(columns)].itertuples(index=False):
        for candidate, mine in ((int(first), ours), (int(second), theirs)):
            won[candidate] = won.get(candidate, 0.0) + mine + tie / 2
            every[candidate] = every.get(candidate, 0.0) + ours + tie + theirs
    return won, every
