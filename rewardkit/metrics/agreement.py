"""How far people agree with each other: pure functions of votes, ranks and ratings.

Votes are counts ``[C, 3]`` of first, tie, second for each comparison; nobody's name is needed for what is made of
them. Ranks and ratings are ``[raters, units]``, NaN where a rater said nothing. Definitions and their sources:

- **pairwise agreement**: the share of pairs of annotators of one comparison who said the same, over all comparisons:
  sum of n_c (n_c - 1) over sum of n (n - 1). A tie is an answer like the others.
- **one against the votes of the rest**: a vote is right where it is the verdict of all other votes on that comparison
  (the rule of ``judged_pairs.verdicts``; a tie is a verdict too). Where the rest is undecided the vote is dropped, or
  counts as wrong: both are given.
- **one against the mean of the rest**: two candidates that one rater puts in an order, against the order of their mean
  ranks (or ratings) by all other raters. Where those means are equal the pair is dropped, or counts as wrong. A rater's
  own tie is no order and counts for nothing.
- **majority share**: votes for the most frequent answer over all votes, mean over comparisons.
- **Kendall's W**: concordance of rankings, 0 to 1, corrected for ties (Kendall & Gibbons, Rank Correlation Methods).
- **Krippendorff's alpha**: 1 - observed / expected disagreement over pairable values (Krippendorff 2011, Computing
  Krippendorff's Alpha-Reliability): 1 is perfect, 0 is chance; nominal, ordinal or interval.
- **quadratic-weighted kappa**: two raters on one scale (Cohen 1968).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardkit.metrics.judged_pairs import FIRST, SECOND, TIE, UNDECIDED, verdicts

Level = Literal["nominal", "ordinal", "interval"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OneAgainstRest:
    """What single raters said, against all others.

    Attributes:
        right: Votes or orders that are those of the rest.
        wrong: Those that are not.
        undecided: Those where the rest is undecided.
    """

    right: float
    wrong: float
    undecided: float

    @property
    def dropped(self) -> float | None:
        """Share right, where those with an undecided rest are dropped."""
        return _ratio(self.right, self.right + self.wrong)

    @property
    def counted_wrong(self) -> float | None:
        """Share right, where those with an undecided rest count as wrong."""
        return _ratio(self.right, self.right + self.wrong + self.undecided)


def whole_votes(votes: Floats) -> NDArray[np.bool_]:
    """Which comparisons have two or more votes, all of them whole: averaged votes are nobody's."""
    return np.asarray((votes == np.rint(votes)).all(axis=1) & (votes.sum(axis=1) >= 2))


def pairs_of_votes(votes: Floats) -> tuple[float, float]:
    """Ordered pairs of votes on one comparison that agree, and all such pairs: ``[C, 3]`` whole votes."""
    total = votes.sum(axis=1)
    return float((votes * (votes - 1)).sum()), float((total * (total - 1)).sum())


def pairwise_agreement(votes: Floats) -> float | None:
    """Share of pairs of annotators of one comparison who said the same; None where nobody can be paired."""
    return _ratio(*pairs_of_votes(votes))


def one_against_rest(votes: Floats) -> OneAgainstRest:
    """Every vote of ``[C, 3]`` whole votes, two or more each, against the verdict of the others."""
    right = wrong = undecided = 0.0
    for column, said in enumerate((FIRST, TIE, SECOND)):
        given = votes[:, column]
        rest = votes.copy()
        rest[:, column] = np.maximum(given - 1, 0)
        verdict = verdicts(rest[:, 0], rest[:, 1], rest[:, 2])
        right += float(given[verdict == said].sum())
        undecided += float(given[verdict == UNDECIDED].sum())
        wrong += float(given[(verdict != said) & (verdict != UNDECIDED)].sum())
    return OneAgainstRest(right, wrong, undecided)


def one_against_mean(ranks: Floats) -> OneAgainstRest:
    """Every rater's order of two candidates against that of the mean ranks (or ratings) of all other raters.

    Args:
        ranks: ``[m, n]``, NaN is missing; m raters on n candidates.
    """
    given = ~np.isnan(ranks)
    known = np.where(given, ranks, 0.0)
    others = given.sum(axis=0) - given  # [m, n]
    rest = np.where(others > 0, (known.sum(axis=0) - known) / np.maximum(others, 1), np.nan)
    i, j = np.triu_indices(ranks.shape[1], 1)
    mine = np.sign(ranks[:, i] - ranks[:, j])
    theirs = rest[:, i] - rest[:, j]
    theirs = np.where(np.abs(theirs) < 1e-9 * np.abs(rest[:, i]), 0.0, np.sign(theirs))  # sums in another order
    counted = (np.abs(mine) == 1) & ~np.isnan(theirs)
    undecided = counted & (theirs == 0)
    right = counted & (theirs == mine)
    return OneAgainstRest(float(right.sum()), float((counted & ~undecided & ~right).sum()), float(undecided.sum()))


def majority_shares(votes: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Share of the most frequent answer of each comparison, and whether two answers are the most frequent."""
    most = votes.max(axis=1)
    return most / votes.sum(axis=1), (votes == most[:, None]).sum(axis=1) > 1


def kendall_w(ranks: Floats) -> float | None:
    """Kendall's coefficient of concordance.

    Args:
        ranks: ``[m, n]`` ranks or ratings of m >= 2 raters on n >= 2 units, none missing. Only their order counts.

    Returns:
        W in [0, 1]; None where it is not defined: fewer raters or units, or everybody ties everything.
    """
    m, n = ranks.shape
    if m < 2 or n < 2:
        return None
    middle = np.stack([_mid_ranks(row) for row in ranks])
    ties = sum(float((count**3 - count).sum()) for row in ranks for count in [np.unique(row, return_counts=True)[1]])
    sums = middle.sum(axis=0)
    below = m**2 * (n**3 - n) - m * ties
    return _ratio(12 * float(((sums - sums.mean()) ** 2).sum()), below)


def coincidences(values: Floats) -> tuple[Floats, Floats]:
    """Krippendorff's coincidence matrix.

    Args:
        values: ``[raters, units]``, NaN is missing. Units with fewer than two values count for nothing.

    Returns:
        The distinct values ``[V]`` of units with a pair, ascending, and the matrix ``[V, V]``.
    """
    paired = values[:, (~np.isnan(values)).sum(axis=0) >= 2]
    levels = np.unique(paired[~np.isnan(paired)])
    matrix = np.zeros((len(levels), len(levels)))
    for unit in paired.T:
        said = unit[~np.isnan(unit)]
        counts = np.bincount(np.searchsorted(levels, said), minlength=len(levels)).astype(float)
        matrix += (np.outer(counts, counts) - np.diag(counts)) / (len(said) - 1)
    return levels, matrix


def alpha_of_coincidences(levels: Floats, matrix: Floats, level: Level) -> float | None:
    """Krippendorff's alpha from a coincidence matrix.

    Args:
        levels: ``[V]`` values, ascending.
        matrix: ``[V, V]`` coincidences, symmetric.
        level: The metric of their differences.

    Returns:
        At most 1; None where there are no pairs or all values are equal (nothing to disagree on was seen).
    """
    counts = matrix.sum(axis=1)
    n = float(counts.sum())
    if n <= 1:
        return None
    if level == "nominal":
        distance = 1.0 - np.eye(len(levels))
    else:
        # The ordinal metric, squared ranks between two values, is the interval metric of the values' middle ranks.
        places = levels if level == "interval" else np.cumsum(counts) - counts / 2
        distance = (places[:, None] - places[None, :]) ** 2
    expected = float((np.outer(counts, counts) * distance).sum()) / (n - 1)
    return None if expected <= 0 else 1.0 - float((matrix * distance).sum()) / expected


def krippendorff_alpha(values: Floats, level: Level) -> float | None:
    """Krippendorff's alpha of ``[raters, units]`` values, NaN is missing; see ``alpha_of_coincidences``."""
    return alpha_of_coincidences(*coincidences(values), level)


def choice_coincidences(votes: Floats) -> Floats:
    """Coincidence matrix ``[3, 3]`` of whole votes, two or more each, symmetric in first and second.

    Which candidate stands first is an accident of the file, so that each comparison counts half as it stands and half
    the other way round; the expected agreement then knows nothing of the order.
    """
    total = votes.sum(axis=1)
    weighted = votes / (total - 1)[:, None]
    matrix = weighted.T @ votes - np.diag(weighted.sum(axis=0))
    return np.asarray((matrix + matrix[::-1, ::-1]) / 2)


def quadratic_weighted_kappa(a: NDArray[np.int64], b: NDArray[np.int64], levels: int) -> float | None:
    """Cohen's kappa of two raters with squared differences as weights.

    Args:
        a: ``[n]`` levels 0 to ``levels - 1`` of one rater.
        b: ``[n]`` of the other.
        levels: Levels of the scale.

    Returns:
        At most 1; None where both use one and the same level throughout.
    """
    observed = np.zeros((levels, levels))
    np.add.at(observed, (a, b), 1.0)
    found = float(kappa_of_confusions(observed[None])[0])
    return None if np.isnan(found) else found


def kappa_of_confusions(observed: Floats) -> Floats:
    """Quadratic-weighted kappa ``[n]`` of tables ``[n, L, L]`` of how often two raters said each pair of levels."""
    places = np.arange(observed.shape[1], dtype=float)
    weights = (places[:, None] - places[None, :]) ** 2
    total = np.maximum(observed.sum(axis=(1, 2)), 1)[:, None, None]
    expected = observed.sum(axis=2)[:, :, None] * observed.sum(axis=1)[:, None, :] / total
    below = (weights * expected).sum(axis=(1, 2))
    ratio = np.divide((weights * observed).sum(axis=(1, 2)), below, out=np.full(len(below), np.nan), where=below > 0)
    return np.asarray(1.0 - ratio)


def _mid_ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 0 else None
