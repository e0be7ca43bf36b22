"""Means, ranks and win rates of generators under one reward's dimension, over all prompts and each part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardkit.benchmark.result_rows import Cell, Part, WinRate
from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.model_ranking import compare_models, rank_models

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Standings:
    """What one dimension of one reward says of all generators."""

    cells: list[Cell]
    win_rates: list[WinRate]


def standings(
    scores: Mapping[str, Floats],
    parts: Sequence[tuple[Part, NDArray[np.bool_]]],
    *,
    reward: str,
    dimension: str,
    draws: int = DRAWS,
    seed: int = 0,
) -> Standings:
    """Ranks the generators on every part.

    Args:
        scores: Generator to scores ``[P]``, one for each prompt of the set, NaN where it has no image.
        parts: Each with ``[P]``, which prompts belong to it.
        reward: Label, for the rows.
        dimension: Likewise.
        draws: Resamples of prompts behind each interval.
        seed: Of the resamples.
    """
    cells: list[Cell] = []
    rates: list[WinRate] = []
    for part, inside in parts:
        mine = {generator: values[inside] for generator, values in scores.items()}
        pairs = compare_models(mine, draws=draws, seed=seed)
        place: dict[str, Any] = {"reward": reward, "dimension": dimension, "tag": part.tag, "value": part.value}
        for row in rank_models(mine, pairs=pairs, draws=draws, seed=seed):
            cells.append(
                Cell(
                    **place,
                    generator=row.model,
                    mean=row.mean,
                    low=row.low,
                    high=row.high,
                    rank=row.rank,
                    last_rank=row.last_rank,
                    same_as=row.same_as,
                    n=row.prompts,
                    missing=row.missing,
                )
            )
        rates += [WinRate(**place, **pair.as_row()) for pair in pairs]
    return Standings(cells, rates)
