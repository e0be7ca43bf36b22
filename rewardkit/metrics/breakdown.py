"""Accuracies of parts of the comparisons: by dimension, source, tag, generator, and by what people voted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.data.predictions import Predictions
from rewardkit.errors import UserError
from rewardkit.metrics.evaluate import evaluate
from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.judged_pairs import judged_pairs, ranked_pairs
from rewardkit.metrics.protocols import accuracy, find_protocol

PARTS = ("source", "tag", "generator", "generator_pair", "margin", "votes")
"""What ``breakdown`` can take apart by. A pair of generators counts for each of its two under ``generator``; ``margin``
is by how much people's votes for the two sides differ, as a share of all votes; ``votes`` is how many there are."""

ORDERED = ("margin", "votes")
"""Parts that have an order of their own, in which they are listed."""

_MARGINS = {0.2: "up to 20 %", 0.4: "20 to 40 %", 0.6: "40 to 60 %", 0.8: "60 to 80 %", 1.0: "80 to 100 %"}
_MANY_VOTES = ((1, 1), (2, 2), (3, 4), (5, 9), (10, 19), (20, 49), (50, 99), (100, None))
_FEW_NUMBERS = 8


def evaluation_rows(
    predictions: Predictions, protocol: str, *, draws: int = DRAWS, seed: int = 0
) -> list[dict[str, Any]]:
    """One row for each dimension: accuracy, counts and interval, and beside them what it has to be read against.

    Args:
        predictions: The table.
        protocol: Name of a protocol that is one number and needs no tuning.
        draws: Resamples of groups behind each interval.
        seed: Of the resamples.

    Returns:
        See ``evaluate``.
    """
    return evaluate(predictions, [protocol], draws=draws, seed=seed)


def pairs_of(predictions: Predictions, protocol: str, judged: pd.DataFrame | None = None) -> pd.DataFrame:
    """The pairs that a protocol of pairs judges: comparisons with their votes, or pairs of the people's order.

    Args:
        predictions: The table.
        protocol: Its name.
        judged: The table's ``judged_pairs``, where they are at hand.
    """
    pairs = judged_pairs(predictions) if judged is None else judged
    return ranked_pairs(predictions, pairs) if find_protocol(protocol).pairs == "ranks" else pairs


def breakdown(
    pairs: pd.DataFrame, by: str, protocol: str, *, draws: int = DRAWS, seed: int = 0
) -> list[dict[str, Any]]:
    """Accuracy of each part of the comparisons, dimension by dimension.

    Args:
        pairs: From ``pairs_of`` the same protocol.
        by: One of ``PARTS``; ``tag`` takes every tag of the groups apart, as ``style=anime``.
        protocol: Name of the rule.
        draws: Resamples behind each interval.
        seed: Of the resamples.

    Returns:
        Rows ``{"dimension", "part", **Result}``, by name, or in the order of ``ORDERED`` parts; parts in which nothing
        counts are left in, with value None.
    """
    rows = []
    for dimension, of_dimension in pairs.groupby("dimension", sort=True):
        for part, mask in _parts(of_dimension, by):
            found = accuracy(of_dimension[mask], protocol, draws=draws, seed=seed)
            rows.append({"dimension": dimension, "part": part, **found.as_row()})
    return rows


def _parts(pairs: pd.DataFrame, by: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Name and rows of each part."""
    if by == "source":
        for name in sorted(pairs["source"].unique()):
            yield str(name), (pairs["source"] == name).to_numpy()
    elif by == "tag":
        codes, texts = pd.factorize(pairs["tags"])
        tags = [json.loads(text) for text in texts]
        for kind, value in sorted({(kind, str(value)) for tag in tags for kind, value in tag.items()}):
            yield f"{kind}={value}", np.array([str(tag.get(kind)) == value and kind in tag for tag in tags])[codes]
    elif by in ("generator", "generator_pair"):
        first = pairs["generator_first"].fillna("").to_numpy(object)
        second = pairs["generator_second"].fillna("").to_numpy(object)
        if by == "generator":
            for name in sorted({*first, *second} - {""}):
                yield name, (first == name) | (second == name)
        else:
            names = np.array(
                [" vs ".join(sorted(pair)) if all(pair) else "" for pair in zip(first, second, strict=True)]
            )
            for name in sorted(set(names) - {""}):
                yield str(name), names == name
    elif by == "margin":
        yield from _margins(pairs)
    elif by == "votes":
        yield from _numbers_of_votes(pairs)
    else:
        raise UserError(f"accuracies can be taken apart by {', '.join(PARTS)}, not by {by!r}")


def _margins(pairs: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Fifths of the margin of people's votes, those where all agree apart."""
    votes, total = _votes(pairs)
    margin = np.divide(np.abs(votes[:, 0] - votes[:, 2]), total, out=np.zeros_like(total), where=total > 0)
    below = 0.0
    for end, name in _MARGINS.items():
        part = (total > 0) & (margin > below if below else margin >= 0) & (margin <= end + 1e-9) & (margin < 1 - 1e-9)
        if part.any():
            yield name, part
        below = end + 1e-9
    if (alike := (total > 0) & (margin >= 1 - 1e-9)).any():
        yield "all agree", alike


def _numbers_of_votes(pairs: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each number of votes, or ranges where the numbers are many; averaged votes are rounded."""
    _, total = _votes(pairs)
    number = np.round(total).astype(int)
    different = sorted(set(number[number > 0]))
    ranges = [(n, n) for n in different] if len(different) <= _FEW_NUMBERS else list(_MANY_VOTES)
    for low, high in ranges:
        part = (number >= low) & (number <= high if high is not None else True)
        if part.any():
            name = f"{low:,}" if low == high else f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
            yield name + (" vote" if name == "1" else " votes"), part


def _votes(pairs: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    votes = pairs[["votes_first", "votes_tie", "votes_second"]].to_numpy(float)
    return votes, votes.sum(axis=1)
