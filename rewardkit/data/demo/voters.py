"""The law of the simulated annotators of the embedded dataset, and the accuracies it puts out of reach.

Each candidate has a utility on each dimension. An annotator who compares candidates i and j on dimension d answers by
Rao and Kupper's form of the Bradley-Terry law (Rao & Kupper 1967, "Ties in paired-comparison experiments"), with
delta = sharpness_d * (u_i - u_j) and sigma the logistic function::

    P(first) = sigma(delta - ln theta)    P(second) = sigma(-delta - ln theta)    P(tie) = 1 - P(first) - P(second)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

ANNOTATORS = 10
"""Votes on each comparison."""

FAULT_DIMENSIONS = ("prompt_following", "aesthetic", "fidelity", "harmlessness")
DIMENSIONS = ("overall", *FAULT_DIMENSIONS)

OVERALL_WEIGHTS: Mapping[str, float] = {
    "prompt_following": 0.32,
    "aesthetic": 0.24,
    "fidelity": 0.23,
    "harmlessness": 0.21,
}
"""The overall utility is the sum of the four others with these weights."""

SHARPNESS: Mapping[str, float] = {
    "overall": 1.4,
    "prompt_following": 2.5,
    "aesthetic": 2.5,
    "fidelity": 2.5,
    "harmlessness": 2.5,
}
"""How strongly annotators answer to one unit of utility."""

LOG_THETA: Mapping[str, float] = {
    "overall": 0.7,
    "prompt_following": 1.5,
    "aesthetic": 1.5,
    "fidelity": 1.5,
    "harmlessness": 1.5,
}
"""ln theta, the width of the tie: P(tie) = (theta - 1) / (theta + 1) between equals, 0.34 overall and 0.64 elsewhere.

Sharpness, width and weights are chosen so that overall the best reachable accuracy is near 0.90 and the best that
ignores the prompt near 0.79."""


def utilities(levels: Mapping[str, int]) -> dict[str, float]:
    """Utilities of a candidate on every dimension, from its fault levels (0 is best) on the four."""
    said = {dimension: -float(levels[dimension]) for dimension in FAULT_DIMENSIONS}
    return {"overall": sum(OVERALL_WEIGHTS[d] * said[d] for d in FAULT_DIMENSIONS), **said}


def answer_law(delta: float, log_theta: float) -> tuple[float, float, float]:
    """Probabilities of first, tie and second, for ``delta`` = sharpness times the difference of utilities."""
    first = 1.0 / (1.0 + math.exp(log_theta - delta))
    second = 1.0 / (1.0 + math.exp(log_theta + delta))
    return first, 1.0 - first - second, second


def cast_votes(rng: np.random.Generator, dimension: str, first: float, second: float) -> tuple[float, float, float]:
    """The votes of ``ANNOTATORS`` people on two utilities of one dimension."""
    law = answer_law(SHARPNESS[dimension] * (first - second), LOG_THETA[dimension])
    a, tie, b = rng.multinomial(ANNOTATORS, law).tolist()
    return float(a), float(tie), float(b)


@lru_cache(maxsize=4096)
def decided(delta: float, log_theta: float) -> tuple[float, float]:
    """How the votes on one comparison come out, exactly.

    Returns:
        Probabilities that the comparison counts and first has more votes, and that it counts and second has more. It
        counts (protocol ``strict``) where first and second have different votes and ties are not more than either.
    """
    law = answer_law(delta, log_theta)
    won = [0.0, 0.0]
    for a in range(ANNOTATORS + 1):
        for b in range(ANNOTATORS + 1 - a):
            tie = ANNOTATORS - a - b
            if a != b and tie <= max(a, b):
                ways = math.comb(ANNOTATORS, a) * math.comb(ANNOTATORS - a, b)
                won[0 if a > b else 1] += ways * law[0] ** a * law[1] ** tie * law[2] ** b
    return won[0], won[1]


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Accuracies (protocol ``strict``, micro) that no score can pass on average.

    Attributes:
        best: Dimension to the accuracy of a score that orders candidates as the law does.
        blind: The best overall accuracy of a score that does not read the prompt.
        comparisons: Dimension to the expected number of comparisons that count.
    """

    best: Mapping[str, float]
    blind: float
    comparisons: Mapping[str, float]


def ceilings(groups: Iterable[Sequence[Mapping[str, float]]]) -> Ceilings:
    """What the law allows on some groups; a score that finds two candidates equal earns one half.

    A score that does not read the prompt cannot tell a mistaken scene from the one asked for, since both are drawn
    alike; the best it can do is to order candidates by the rest of their overall utility.

    Args:
        groups: For each group the utilities of its candidates, as ``utilities`` gives them.
    """
    right = dict.fromkeys((*DIMENSIONS, "blind"), 0.0)
    counted = dict.fromkeys((*DIMENSIONS, "blind"), 0.0)
    for group in groups:
        for a, b in combinations(group, 2):
            gap = {dimension: a[dimension] - b[dimension] for dimension in DIMENSIONS}
            seen = gap["overall"] - OVERALL_WEIGHTS["prompt_following"] * gap["prompt_following"]
            for name, dimension, score in [*((d, d, gap[d]) for d in DIMENSIONS), ("blind", "overall", seen)]:
                # Rounded, so that sums of the same weights in another order are equal.
                delta, score = round(SHARPNESS[dimension] * gap[dimension], 9), round(score, 9)
                first, second = decided(delta, LOG_THETA[dimension])
                counted[name] += first + second
                right[name] += first if score > 0 else second if score < 0 else 0.5 * (first + second)
    share = {name: right[name] / counted[name] if counted[name] else math.nan for name in right}
    return Ceilings(
        best={d: share[d] for d in DIMENSIONS}, blind=share["blind"], comparisons={d: counted[d] for d in DIMENSIONS}
    )
