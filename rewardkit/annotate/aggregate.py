"""Several annotators and repeats to one score for each candidate and dimension.

==================== ==========================================================================================
``mean``             the mean over annotators of the mean over their repeats
``majority``         the score that most answers name (crowd-kit's MajorityVote)
``dawid_skene``      the likeliest true score where each annotator has a confusion matrix of its own, fitted for each
                     dimension by EM (Dawid & Skene 1979; crowd-kit's DawidSkene)
``bradley_terry``    no score but a utility, from who wins each pair of each answer (``noisy_bradley_terry.py``)
==================== ==========================================================================================

N/A is an answer: under ``majority`` and ``dawid_skene`` one more class, under ``mean`` the result where it outnumbers
the numbers. Where several scores are the most frequent or the likeliest, their mean is taken (an N/A among them does
not count), so that nothing depends on an order. ``bradley_terry`` compares numbers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rewardkit.annotate.noisy_bradley_terry import Judgements, fit_noisy_bradley_terry
from rewardkit.annotate.scores import Floats, Ints, Scores
from rewardkit.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 9
"""Means are rounded to so many digits: 10/3 and 20/6 are equal."""

_NA = -1e9
"""The class of N/A among labels, since NaN is no label."""

_EQUAL = 1e-9
"""Shares that differ by less are equal."""


@dataclass(frozen=True, slots=True)
class Aggregated:
    """U scores, one for each candidate and dimension of which something was said, sorted by both.

    Attributes:
        group: ``[U]``.
        candidate: ``[U]``.
        dimension: ``[U]``.
        value: ``[U]``; NaN is N/A.
        spread: ``[U]``, standard deviation of the answers' numbers; 0 for a single one, NaN for none.
        answers: ``[U]``, how many.
        reliability: Annotator to dimension to how far it can be relied upon, 0 … 1, as the rule estimates it; empty
            under ``mean``. ``majority``: share of its answers that are the result. ``dawid_skene``: how often it names
            the true score. ``bradley_terry``: how often it judges instead of guessing, as far as others answered too.
    """

    group: Ints
    candidate: Ints
    dimension: Ints
    value: Floats
    spread: Floats
    answers: Ints
    reliability: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def aggregate(scores: Scores, rule: str) -> Aggregated:
    """One score for each candidate and dimension.

    Args:
        scores: Of all annotators.
        rule: One of ``RULES``.

    Raises:
        UserError: The rule needs crowd-kit, which is not installed.
    """
    k = int(scores.candidate.max()) + 1 if len(scores.candidate) else 1
    d = len(scores.dimensions)
    place = (scores.group * d + scores.dimension) * k + scores.candidate
    units, unit = np.unique(place, return_inverse=True)
    value, reliability = RULES[rule](scores, unit, len(units))
    spread, answers = _spread(scores.value, unit, len(units))
    group, rest = np.divmod(units, d * k)
    return Aggregated(group, rest % k, rest // k, np.round(value, DIGITS), spread, answers, reliability)


Found = tuple[Floats, Mapping[str, Mapping[str, float]]]
"""Values ``[U]`` and reliabilities."""


def _mean(scores: Scores, unit: Ints, units: int) -> Found:
    speakers, speaker = np.unique(unit * len(scores.annotators) + scores.annotator, return_inverse=True)
    of_speaker = _means(scores.value, speaker, len(speakers))
    value = _means(of_speaker, speakers // len(scores.annotators), units)
    numbers = np.bincount(unit[~np.isnan(scores.value)], minlength=units)
    return np.where(np.bincount(unit, minlength=units) > 2 * numbers, np.nan, value), {}


def _majority(scores: Scores, unit: Ints, units: int) -> Found:
    from crowdkit.aggregation.classification.majority_vote import MajorityVote

    model = MajorityVote().fit(_frame(scores, unit))
    value = _likeliest(model.probas_, units)
    right = np.isclose(value[unit], scores.value, equal_nan=True)
    return value, _by_annotator(scores, lambda rows: float(right[rows].mean()))


def _dawid_skene(scores: Scores, unit: Ints, units: int) -> Found:
    from crowdkit.aggregation.classification.dawid_skene import DawidSkene

    value = np.full(units, np.nan)
    found: dict[str, dict[str, float]] = {name: {} for name in scores.annotators}
    for n, dimension in enumerate(scores.dimensions):
        rows = scores.dimension == n
        if not rows.any():
            continue
        model = DawidSkene().fit(_frame(scores, unit)[rows])
        assert model.errors_ is not None and model.priors_ is not None, "a fit leaves both"
        here = np.unique(unit[rows])
        value[here] = _likeliest(model.probas_, units)[here]
        labels = model.priors_.index
        for worker in model.errors_.index.unique("worker"):
            shown = model.errors_.loc[[worker]].droplevel("worker").reindex(index=labels, columns=labels).fillna(0.0)
            found[scores.annotators[worker]][dimension] = float((np.diag(shown) * model.priors_).sum())
    return value, found


def _bradley_terry(scores: Scores, unit: Ints, units: int) -> Found:
    value = np.full(units, np.nan)
    found: dict[str, dict[str, float]] = {name: {} for name in scores.annotators}
    for n, dimension in enumerate(scores.dimensions):
        judged = _judgements(scores, unit, scores.dimension == n)
        if judged is None:
            continue
        fitted = fit_noisy_bradley_terry(judged, items=units, workers=len(scores.annotators))
        compared = np.unique(np.concatenate([judged.left, judged.right]))
        value[compared] = fitted.utility[compared]
        for worker, reliability in enumerate(fitted.reliability.tolist()):
            if not np.isnan(reliability):
                found[scores.annotators[worker]][dimension] = reliability
    return value, {name: of for name, of in found.items() if of}


RULES: Mapping[str, Callable[[Scores, Ints, int], Found]] = {
    "mean": _mean,
    "majority": _majority,
    "dawid_skene": _dawid_skene,
    "bradley_terry": _bradley_terry,
}
"""Rule to what it makes of scores, the unit (candidate and dimension) of each, and the number of units."""


def _means(values: Floats, place: Ints, places: int) -> Floats:
    known = ~np.isnan(values)
    count = np.bincount(place[known], minlength=places)
    total = np.bincount(place[known], weights=values[known], minlength=places)
    return np.divide(total, count, out=np.full(places, np.nan), where=count > 0)


def _spread(values: Floats, unit: Ints, units: int) -> tuple[Floats, Ints]:
    mean = _means(values, unit, units)
    return np.sqrt(_means((values - mean[unit]) ** 2, unit, units)), np.bincount(unit, minlength=units)


def _frame(scores: Scores, unit: Ints) -> pd.DataFrame:
    """The table that crowd-kit reads."""
    import pandas as pd

    label = np.where(np.isnan(scores.value), _NA, scores.value)
    return pd.DataFrame({"task": unit, "worker": scores.annotator, "label": label})


def _likeliest(shares: pd.DataFrame | None, units: int) -> Floats:
    """The score of the largest share; the mean of those that share it, N/A only where it stands alone."""
    assert shares is not None, "a fit leaves them"
    table, labels = shares.to_numpy(float), shares.columns.to_numpy(float)
    best = table >= table.max(axis=1, keepdims=True) - _EQUAL
    numbers = best & (labels != _NA)
    count = numbers.sum(axis=1)
    total = np.where(numbers, labels, 0.0).sum(axis=1)
    value = np.full(units, np.nan)
    value[shares.index.to_numpy(np.int64)] = np.divide(total, count, out=np.full(len(table), np.nan), where=count > 0)
    return value


def _by_annotator(scores: Scores, of: Callable[[np.ndarray], float]) -> dict[str, dict[str, float]]:
    """Annotator to dimension to a figure of its rows."""
    return {
        name: {
            dimension: of(rows)
            for d, dimension in enumerate(scores.dimensions)
            for rows in [(scores.annotator == a) & (scores.dimension == d)]
            if rows.any()
        }
        for a, name in enumerate(scores.annotators)
    }


def _judgements(scores: Scores, unit: Ints, rows: np.ndarray) -> Judgements | None:
    """Who wins each pair of candidates of each answer, the one shown first on the left; None for no pair.

    A tie is half a win for either. Of images that were shown alone neither stands first: such a pair enters half as it
    stands and half the other way round.
    """
    rows = rows & ~np.isnan(scores.value)
    at = np.flatnonzero(rows)
    key = (scores.group[at] * len(scores.annotators) + scores.annotator[at]) * (int(scores.repeat.max(initial=0)) + 1)
    key = key + scores.repeat[at]
    at, key = at[np.argsort(key, kind="stable")], np.sort(key, kind="stable")
    left, right = _pairs_within(key)
    if not len(left):
        return None
    a, b = at[left], at[right]
    turned = scores.slot[a] > scores.slot[b]
    a, b = np.where(turned, b, a), np.where(turned, a, b)
    won = np.where(scores.value[a] > scores.value[b], 1.0, np.where(scores.value[a] < scores.value[b], 0.0, 0.5))
    alone = scores.slot[a] < 0
    weight = np.where(alone, 0.5, 1.0)
    first, second = np.concatenate([a, b[alone]]), np.concatenate([b, a[alone]])
    return Judgements(
        left=unit[first],
        right=unit[second],
        worker=scores.annotator[first],
        left_wins=np.concatenate([won * weight, (1 - won[alone]) * 0.5]),
        right_wins=np.concatenate([(1 - won) * weight, won[alone] * 0.5]),
    )


def _pairs_within(key: Ints) -> tuple[Ints, Ints]:
    """Places of both members of every pair of rows with the same key; rows with one key stand together."""
    _, start, size = np.unique(key, return_index=True, return_counts=True)
    left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for members in np.unique(size):
        i, j = np.triu_indices(int(members), 1)
        rows = start[size == members][:, None]
        left.append((rows + i).ravel())
        right.append((rows + j).ravel())
    return np.concatenate(left), np.concatenate(right)


def check_installed(rule: str) -> None:
    """Whether what a rule needs is there.

    Raises:
        UserError: It is not; says how to install it.
    """
    if rule in ("majority", "dawid_skene"):
        try:
            import crowdkit.aggregation.classification.dawid_skene  # noqa: F401
        except ImportError:
            raise UserError(f"aggregate={rule} needs crowd-kit: pip install 'rewardkit[annotate]'") from None
