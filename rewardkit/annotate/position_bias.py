"""Position bias: whether the place at which an image is shown changes its score. Pure functions of joint scores.

The order of each request is drawn at random, so that without bias every place has the same mean. Three figures:

- the **mean score by slot**, and the **shift** of a slot: the mean of score minus the mean score of its request, which
  takes the differences between prompts out;
- the **first-slot preference**: of all pairs of the first image shown with another one, where the two scores differ,
  the share that the first one wins. One half is no bias;
- the **flip rate**: two repeats of one request score the same two images, both with a difference; how often the other
  one wins. Pairs that stood in the opposite order (swapped) are counted apart from those that stood in the same order:
  what swapped pairs flip more often than the others is due to the place, the rest is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rewardkit.annotate.estimates import Estimate, Floats, estimate
from rewardkit.annotate.scores import Asked, Ints


@dataclass(frozen=True, slots=True)
class Slot:
    """Scores given at one place, from 1.

    Attributes:
        place: The place.
        mean: Mean score there.
        shift: Mean of score minus mean score of the request.
    """

    place: int
    mean: Estimate
    shift: Estimate


@dataclass(frozen=True, slots=True)
class PositionBias:
    """Of one annotator on one dimension; see the module's docstring.

    Attributes:
        slots: In the order of the places.
        first_preference: ``n`` counts pairs.
        flips_swapped: ``n`` counts pairs of two repeats.
        flips_same: Likewise.
    """

    slots: tuple[Slot, ...]
    first_preference: Estimate
    flips_swapped: Estimate
    flips_same: Estimate


def position_bias(said: Asked, *, draws: int, seed: int = 0) -> PositionBias | None:
    """The figures of one annotator on one dimension; None where nothing was shown together.

    Args:
        said: Its scores.
        draws: Resamples of groups behind the intervals.
        seed: Of the resamples.
    """
    values = np.where(said.slots >= 0, said.values, np.nan)
    if not (~np.isnan(values)).any():
        return None
    swapped, same = _flips(values, said.slots)

    def of(won: Floats, counted: Floats) -> Estimate:
        return estimate(np.stack([won, counted], axis=1), counted, draws=draws, seed=seed)

    return PositionBias(
        slots=tuple(
            Slot(place + 1, of(*_sums(values, at)), of(*_sums(_shifts(values), at)))
            for place in range(int(said.slots.max()) + 1)
            for at in [said.slots == place]
        ),
        first_preference=of(*_first_wins(values, said.slots)),
        flips_swapped=of(*swapped),
        flips_same=of(*same),
    )


def _sums(values: Floats, at: np.ndarray) -> tuple[Floats, Floats]:
    """Sum and number of the values ``[G, R, K]`` at some cells, by group: ``[G]`` each."""
    counted = at & ~np.isnan(values)
    return np.where(counted, values, 0.0).sum(axis=(1, 2)), counted.sum(axis=(1, 2)).astype(float)


def _shifts(values: Floats) -> Floats:
    """Values minus the mean of their request; NaN where a request scored fewer than two."""
    known = ~np.isnan(values)
    count = known.sum(axis=2, keepdims=True)
    mean = np.where(known, values, 0.0).sum(axis=2, keepdims=True) / np.maximum(count, 1)
    return np.where(count > 1, values - mean, np.nan)


def _first_wins(values: Floats, slots: Ints) -> tuple[Floats, Floats]:
    """Pairs with the first place that it wins, and all that have a winner, by group."""
    first = np.where(slots == 0, values, np.nan)
    known = ~np.isnan(first)
    score = np.where(known, first, 0.0).sum(axis=2, keepdims=True)
    score = np.where(known.any(axis=2, keepdims=True), score, np.nan)
    over = np.where(slots > 0, np.sign(score - values), np.nan)
    return (over == 1).sum(axis=(1, 2)).astype(float), (np.abs(over) == 1).sum(axis=(1, 2)).astype(float)


def _flips(values: Floats, slots: Ints) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Pairs that flip between two repeats and all that could, by group: of swapped pairs, and of the others."""
    i, j = np.triu_indices(values.shape[2], 1)
    winner = np.sign(values[:, :, i] - values[:, :, j])  # [G, R, pairs]
    order = np.sign(slots[:, :, i] - slots[:, :, j])
    a, b = np.triu_indices(values.shape[1], 1)
    both = (np.abs(winner[:, a]) == 1) & (np.abs(winner[:, b]) == 1)
    flipped = winner[:, a] != winner[:, b]
    swapped = order[:, a] != order[:, b]

    def count(rows: np.ndarray) -> tuple[Floats, Floats]:
        return (rows & flipped).sum(axis=(1, 2)).astype(float), rows.sum(axis=(1, 2)).astype(float)

    return count(both & swapped), count(both & ~swapped)
