"""The law of the simulated raters of the embedded dataset, who say of one candidate how good it is on each dimension.

A candidate with fault level l (0 none … 3) on a dimension has the utility u = -l there (``voters.utilities``). A rater
gives it a value of 0 (worst) to 3 by cumulative logits (McCullagh 1980), sigma the logistic function::

    P(value >= k) = sigma(SHARPNESS * (u - CUTS[k - 1])),  k = 1 … 3

so that the likeliest value is 3 - l, and one rater in four or five says another, mostly the one beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from rewardkit.data.demo.voters import FAULT_DIMENSIONS

RATERS = 3
"""People who rate each candidate."""

CUTS = (-2.5, -1.5, -0.5)
"""Utilities at which a rater is as likely to give a value below as one above."""

SHARPNESS = 4.0
"""Makes three raters' mean about as sure as ten voters' comparison."""


def value_law(utility: float) -> tuple[float, ...]:
    """Probabilities of the values 0 … 3 for a utility."""
    at_least = [1.0, *(1.0 / (1.0 + math.exp(SHARPNESS * (cut - utility))) for cut in CUTS), 0.0]
    return tuple(a - b for a, b in pairwise(at_least))


def rate(rng: np.random.Generator, utilities: Mapping[str, float]) -> dict[str, list[int]]:
    """What ``RATERS`` people say of one candidate: dimension to a value of each."""
    return {
        dimension: rng.choice(len(CUTS) + 1, size=RATERS, p=value_law(utilities[dimension])).tolist()
        for dimension in FAULT_DIMENSIONS
    }
