"""A Bradley-Terry law for annotators who do not always judge, and who then prefer a place.

Annotator w judges a pair with probability g (its reliability), else picks the one on the left with probability b::

    P(left wins) = g sigma(u_left - u_right) + (1 - g) b

the law of crowd-kit's ``NoisyBradleyTerry``. Its fit is not used, for two reasons. In crowd-kit 1.4.2 the gradient of g
and b does not belong to its likelihood (each annotator's is that of its last row, and stands one place too early). And
the most probable g, b and u together say that everybody is reliable: each candidate is in a handful of answers, so its
utility follows their noise. So g and b are found first, with the winner of each pair as what is not known (EM over
pairs, as Dawid & Skene 1979 over labels, with P(left | left is better) = g + (1 - g) b and P(left | right is better) =
(1 - g) b); then the utilities by scipy's L-BFGS, with a weak normal prior that keeps pairs with a single answer finite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR_UTILITY = 2.0
"""Standard deviation of utilities."""

PRIOR_ANSWERS = 1.0
"""Answers that each annotator is given beforehand for each outcome, so that no probability is 0 or 1."""

DIGITS = 3
"""Utilities are rounded to so many digits, finer than what the fit's tolerance tells: equals tie."""

STEPS = 500


@dataclass(frozen=True, slots=True)
class Judgements:
    """J judged pairs.

    Attributes:
        left: ``[J]`` items.
        right: ``[J]`` items.
        worker: ``[J]``.
        left_wins: ``[J]`` how often (a tie is one half).
        right_wins: ``[J]``.
    """

    left: Ints
    right: Ints
    worker: Ints
    left_wins: Floats
    right_wins: Floats


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was found.

    Attributes:
        utility: ``[items]``, log-odds; only differences between items that are linked by pairs mean something.
        reliability: ``[workers]``, g.
        left: ``[workers]``, b.
    """

    utility: Floats
    reliability: Floats
    left: Floats


def fit_noisy_bradley_terry(judged: Judgements, *, items: int, workers: int) -> Fitted:
    """Reliabilities and places by EM, then the most probable utilities.

    Args:
        judged: At least one pair.
        items: Number of items; those without a pair get 0.
        workers: Number of annotators.
    """
    reliability, left = reliabilities(judged, items=items, workers=workers)
    found = minimize(
        loss_and_gradient,
        np.zeros(items),
        args=(judged, np.nan_to_num(reliability, nan=1.0), np.nan_to_num(left, nan=0.5)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": STEPS, "ftol": 1e-12, "gtol": 1e-6},
    )
    return Fitted(np.round(found.x, DIGITS) + 0.0, reliability, left)


def reliabilities(judged: Judgements, *, items: int, workers: int, steps: int = 100) -> tuple[Floats, Floats]:
    """Each annotator's g and b ``[workers]``, whoever is better in each pair; ties say nothing of it.

    Pairs with a single answer count for nothing: what an answer is held against are the others on its pair.

    Args:
        judged: The pairs.
        items: Number of items.
        workers: Number of annotators.
        steps: Of EM.
    """
    decided = judged.left_wins != judged.right_wins
    left, right = judged.left_wins * decided, judged.right_wins * decided
    low, high = np.minimum(judged.left, judged.right), np.maximum(judged.left, judged.right)
    pairs, pair = np.unique(low * items + high, return_inverse=True)
    compared = np.bincount(pair, weights=left + right, minlength=len(pairs))[pair] > 1
    left, right = left * compared, right * compared
    on_left = judged.left == low  # the pair's first item stands on the left
    first, second = np.where(on_left, left, right), np.where(on_left, right, left)
    votes = np.stack([np.bincount(pair, weights=side, minlength=len(pairs)) for side in (first, second)])
    better = (votes[0] + 0.5) / (votes.sum(axis=0) + 1)  # P(the first item is better), at first the share of votes
    for _ in range(steps):
        left_better = np.where(on_left, better[pair], 1 - better[pair])
        says_left = [  # P(left | left is better), P(left | right is better)
            (np.bincount(judged.worker, weights=left * truth, minlength=workers) + PRIOR_ANSWERS * prior)
            / (np.bincount(judged.worker, weights=(left + right) * truth, minlength=workers) + PRIOR_ANSWERS)
            for truth, prior in ((left_better, 0.75), (1 - left_better, 0.25))
        ]
        hit, miss = (share[judged.worker] for share in says_left)
        weight = left * np.log(hit / miss) + right * np.log((1 - hit) / (1 - miss))
        odds = np.bincount(pair, weights=np.where(on_left, weight, -weight), minlength=len(pairs))
        moved, better = better, expit(odds)
        if np.abs(moved - better).max() < 1e-9:
            break
    known = np.bincount(judged.worker, weights=left + right, minlength=workers) > 0
    reliability = np.clip(says_left[0] - says_left[1], 0.0, 1.0)
    place = np.clip(says_left[1] / np.maximum(1 - reliability, 1e-9), 0.0, 1.0)
    return np.where(known, reliability, np.nan), np.where(known, place, np.nan)


def loss_and_gradient(utility: Floats, judged: Judgements, reliability: Floats, left: Floats) -> tuple[float, Floats]:
    """Minus the logarithm of the posterior of utilities, and its gradient.

    Args:
        utility: ``[items]``.
        judged: The pairs.
        reliability: ``[workers]``, g.
        left: ``[workers]``, b.
    """
    g, b = reliability[judged.worker], left[judged.worker]
    p = expit(utility[judged.left] - utility[judged.right])
    wins = np.clip(g * p + (1 - g) * b, 1e-12, 1 - 1e-12)  # P(left wins)
    loss = -(judged.left_wins * np.log(wins) + judged.right_wins * np.log1p(-wins)).sum()
    slope = -(judged.left_wins / wins - judged.right_wins / (1 - wins)) * g * p * (1 - p)
    items = len(utility)
    gradient = np.bincount(judged.left, weights=slope, minlength=items)
    gradient = gradient - np.bincount(judged.right, weights=slope, minlength=items)
    prior = utility / PRIOR_UTILITY**2
    return float(loss + 0.5 * (utility * prior).sum()), gradient + prior
