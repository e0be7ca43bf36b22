"""What choosing the best of n images of a prompt by a reward is worth, to itself and to the other rewards."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rewardkit.benchmark.result_rows import BestOf
from rewardkit.metrics.best_of_n import best_of_n_curve
from rewardkit.metrics.intervals import DRAWS

Copies = Mapping[int, NDArray[np.float64]]
"""Prompt to ``[K]``, the scores of its images in their order."""

Key = tuple[str, str]
"""Label of a reward, and its dimension."""

ENOUGH = 0.8
"""The longest curve has the largest n that this share of the prompts with images has images for."""


def best_of_rows(scores: Mapping[str, Mapping[Key, Copies]], *, draws: int = DRAWS, seed: int = 0) -> list[BestOf]:
    """The curves of every generator with several images of a prompt.

    Args:
        scores: Generator to reward and dimension to the scores of its images.
        draws: Resamples of prompts behind each interval.
        seed: Of the resamples.
    """
    rows = []
    for generator, of in scores.items():
        counts = [len(copies) for copies in next(iter(of.values()), {}).values()]
        most = largest_n(counts)
        if most < 2:
            continue
        for chooser, mine in of.items():
            for judge, theirs in of.items():
                groups = [(mine[prompt], theirs[prompt]) for prompt in mine if prompt in theirs]
                for point in best_of_n_curve(groups, numbers(most), draws=draws, seed=seed):
                    rows.append(
                        BestOf(
                            generator, *chooser, *judge, point.n, point.value, point.low, point.high, point.ceiling,
                            point.groups, point.left_out,
                        )
                    )  # fmt: skip
    return rows


def largest_n(counts: list[int]) -> int:
    """The largest number of images that ``ENOUGH`` of the prompts have."""
    if not counts:
        return 0
    return sorted(counts, reverse=True)[max(0, int(np.ceil(ENOUGH * len(counts))) - 1)]


def numbers(most: int) -> list[int]:
    """1, 2, 4 … and the largest itself."""
    powers = [2**n for n in range(most.bit_length()) if 2**n < most]
    return [*powers, most]
