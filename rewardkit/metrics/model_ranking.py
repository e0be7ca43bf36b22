"""Text-to-image models ranked by scores of their images on the same prompts, and which of them cannot be told apart.

A leaderboard's places mean little without the spread of its prompts. Two models are distinguishable where the 95 %
interval of their difference (paired bootstrap: each resample draws the same prompts for both) does not hold 0. The rank
of a model is one more than the number of models that are distinguishably better, so that models which nothing tells
apart share a rank. The intervals are of one pair each, not corrected for the number of pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardkit.errors import DataError
from rewardkit.metrics.correlations import kendall_tau_b, spearman
from rewardkit.metrics.intervals import DRAWS, interval_of, resampled_sums
from rewardkit.metrics.results import Counts, Measurement, Statistic

Floats = NDArray[np.float64]

_ROUNDING = 1e-12
_CELLS_AT_ONCE = 8_000_000


@dataclass(frozen=True, slots=True)
class RankedModel:
    """One text-to-image model.

    Attributes:
        model: Its name.
        mean: Mean score over its prompts; None where it has none.
        low: Lower end of the mean's 95 % interval (bootstrap over prompts).
        high: Upper end.
        prompts: Prompts with a score.
        missing: Prompts without.
        rank: One more than the number of models that are distinguishably better; None without a mean.
        last_rank: The rank it would have at worst: the number of models less those that are distinguishably worse.
        same_as: Models that it cannot be told apart from, best mean first.
    """

    model: str
    mean: float | None
    low: float | None
    high: float | None
    prompts: int
    missing: int
    rank: int | None
    last_rank: int | None
    same_as: tuple[str, ...]

    @property
    def note(self) -> str:
        """The ties in words; empty where there are none."""
        return f"not distinguishable from {', '.join(self.same_as)}" if self.same_as else ""

    def as_row(self) -> dict[str, Any]:
        """Plain numbers and texts, for tables and JSON."""
        return {**asdict(self), "same_as": list(self.same_as), "note": self.note}


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Two models on the prompts that both have.

    Attributes:
        first: The one.
        second: The other.
        prompts: Prompts with both scores.
        difference: Mean of first minus second; None without a prompt in common.
        low: Lower end of its 95 % interval; None for fewer than two prompts.
        high: Upper end.
        win_rate: Share of the prompts on which the first scores higher, equal scores counting one half.
        win_low: Lower end of its 95 % interval.
        win_high: Upper end.
    """

    first: str
    second: str
    prompts: int
    difference: float | None
    low: float | None
    high: float | None
    win_rate: float | None
    win_low: float | None
    win_high: float | None

    @property
    def distinguishable(self) -> bool:
        """Whether the interval of the difference does not hold 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def as_row(self) -> dict[str, Any]:
        """Plain numbers and texts, for tables and JSON."""
        return {**asdict(self), "distinguishable": self.distinguishable}


def compare_models(scores: Mapping[str, ArrayLike], *, draws: int = DRAWS, seed: int = 0) -> list[ModelPair]:
    """Every pair of models: difference and win rate over prompts.

    Args:
        scores: Model to scores ``[P]`` on the same prompts in the same order, NaN where an image is missing.
        draws: Resamples of prompts behind each interval.
        seed: Of the resamples.

    Returns:
        Pairs in the order of the models, each once.

    Raises:
        DataError: Models with different numbers of prompts, or an infinite score.
    """
    names, matrix = score_matrix(scores)
    firsts, seconds = np.triu_indices(len(names), 1)
    step = max(1, _CELLS_AT_ONCE // max(1, 3 * len(matrix)))
    pairs: list[ModelPair] = []
    for start in range(0, len(firsts), step):
        i, j = firsts[start : start + step], seconds[start : start + step]
        delta = matrix[:, i] - matrix[:, j]  # [P, pairs]
        both = ~np.isnan(delta)
        wins = np.where(both, (np.sign(np.nan_to_num(delta)) + 1) / 2, 0.0)
        columns = np.concatenate([np.where(both, delta, 0.0), wins, both], axis=1).astype(float)
        whole = _quotients(columns.sum(axis=0, keepdims=True))[0]
        drawn = _quotients(resampled_sums(columns, draws=draws, seed=seed)) if len(matrix) and draws else None
        for n, prompts in enumerate(both.sum(axis=0).tolist()):
            ends = [_ends(None if drawn is None else drawn[:, kind, n], prompts) for kind in (0, 1)]
            value, rate = (_known(whole[kind, n]) for kind in (0, 1))
            pairs.append(ModelPair(names[i[n]], names[j[n]], prompts, value, *ends[0], rate, *ends[1]))
    return pairs


def rank_models(
    scores: Mapping[str, ArrayLike],
    *,
    pairs: Sequence[ModelPair] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[RankedModel]:
    """Models by mean score, best first, with ranks that are shared where nothing tells models apart.

    Args:
        scores: As for ``compare_models``.
        pairs: What ``compare_models`` found on them, where it is at hand.
        draws: Resamples of prompts.
        seed: Of the resamples.

    Raises:
        DataError: As ``compare_models``.
    """
    names, matrix = score_matrix(scores)
    found = compare_models(scores, draws=draws, seed=seed) if pairs is None else pairs
    better: dict[str, list[str]] = {name: [] for name in names}
    worse: dict[str, list[str]] = {name: [] for name in names}
    same: dict[str, list[str]] = {name: [] for name in names}
    for pair in found:
        if not pair.distinguishable:
            same[pair.first].append(pair.second)
            same[pair.second].append(pair.first)
            continue
        ahead, behind = (pair.first, pair.second) if (pair.low or 0) > 0 else (pair.second, pair.first)
        better[behind].append(ahead)
        worse[ahead].append(behind)
    intervals = _means(matrix, draws=draws, seed=seed)
    means = {name: intervals[n][0] for n, name in enumerate(names)}
    placed = sorted((name for name in names if means[name] is not None), key=lambda name: -(means[name] or 0.0))
    order = {name: place for place, name in enumerate(placed)}
    ranked = []
    for name in [*placed, *(name for name in names if name not in order)]:
        scored = name in order
        place = names.index(name)
        prompts = int((~np.isnan(matrix[:, place])).sum())
        tied = sorted((other for other in same[name] if other in order), key=order.__getitem__)
        ranked.append(
            RankedModel(
                model=name,
                mean=means[name],
                low=intervals[place][1],
                high=intervals[place][2],
                prompts=prompts,
                missing=len(matrix) - prompts,
                rank=1 + len(better[name]) if scored else None,
                last_rank=len(placed) - len(worse[name]) if scored else None,
                same_as=tuple(tied) if scored else (),
            )
        )
    return ranked


def human_agreement(scores: Mapping[str, ArrayLike], human_ranks: Mapping[str, float]) -> list[Measurement]:
    """Does the order of the models' mean scores agree with people's? Spearman's rho and Kendall's tau-b.

    Args:
        scores: As for ``compare_models``.
        human_ranks: Model to people's rank, 1 the best, equal numbers tie.

    Returns:
        ``spearman`` and ``kendall``, undefined for fewer than two models or where a side is constant. Their intervals
        are over prompts: the models and people's ranks are given.

    Raises:
        DataError: People ranked none of the models, or as ``compare_models``.
    """
    names, matrix = score_matrix(scores)
    placed = [n for n, name in enumerate(names) if name in human_ranks and (~np.isnan(matrix[:, n])).any()]
    if not placed:
        raise DataError(
            f"people's ranks are of {', '.join(human_ranks) or 'no model'}, the scores of {', '.join(names)}: no model "
            "has both"
        )
    columns = matrix[:, placed]
    known = ~np.isnan(columns)
    ranks = np.array([float(human_ranks[names[n]]) for n in placed])
    sums = np.concatenate([np.where(known, columns, 0.0), known], axis=1).astype(float)
    left_out = [name for name in {**scores, **human_ranks} if name not in {names[n] for n in placed}]
    note = f"over {len(placed)} models" + (f"; without both: {', '.join(left_out)}" if left_out else "")
    counts = Counts(comparisons=int(known.sum()), groups=len(matrix), unscored=int((~known).sum()))
    prompts = _prompt_names(len(matrix))
    return [
        Measurement("models", name, prompts, sums, _agreement(of, ranks), counts, note=note, share=False)
        for name, of in (("spearman", spearman), ("kendall", kendall_tau_b))
    ]


def score_matrix(scores: Mapping[str, ArrayLike]) -> tuple[list[str], Floats]:
    """Names of the models and their scores ``[P, M]``, NaN where an image is missing.

    Raises:
        DataError: Models with different numbers of prompts, or an infinite score.
    """
    columns = {name: np.asarray(values, dtype=float).reshape(-1) for name, values in scores.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            "models are compared on the same prompts in the same order, and these have "
            + ", ".join(f"{length} ({name})" for name, length in lengths.items())
        )
    for name, column in columns.items():
        if np.isinf(column).any():
            raise DataError(f"a score of {name} is infinite; look at the weights it was made with")
    return list(columns), np.stack(list(columns.values()), axis=1) if columns else np.zeros((0, 0))


def _means(matrix: Floats, *, draws: int, seed: int) -> list[tuple[float | None, float | None, float | None]]:
    """Mean and interval of each model of ``[P, M]``."""
    known = ~np.isnan(matrix)
    sums = np.concatenate([np.where(known, matrix, 0.0), known], axis=1).astype(float)

    def mean(totals: Floats) -> Floats:
        score, number = np.split(totals, 2, axis=1)
        return np.divide(score, number, out=np.full_like(score, np.nan), where=number > 0)

    if not sums.size:
        return [(None, None, None)] * matrix.shape[1]
    whole = mean(sums.sum(axis=0, keepdims=True))[0]
    drawn = mean(resampled_sums(sums, draws=draws, seed=seed)) if draws else None
    numbers = known.sum(axis=0).tolist()
    return [
        (_known(whole[n]), *_ends(None if drawn is None else drawn[:, n], number)) for n, number in enumerate(numbers)
    ]


def _quotients(sums: Floats) -> Floats:
    """Sums ``[draws, 3 * M]`` of differences, wins and numbers to ``[draws, 2, M]`` mean difference and win rate."""
    delta, wins, number = np.split(sums, 3, axis=1)
    found = np.full((len(sums), 2, number.shape[1]), np.nan)
    for kind, part in enumerate((delta, wins)):
        np.divide(part, number, out=found[:, kind], where=number > 0)
    return np.where(np.abs(found) < _ROUNDING, 0.0, found)  # the rounding of sums in another order tells nothing apart


def _ends(drawn: Floats | None, prompts: int) -> tuple[float | None, float | None]:
    """The interval of resampled values ``[draws]``, NaN where undefined; none for fewer than two prompts."""
    ends = interval_of(drawn[np.isfinite(drawn)]) if drawn is not None and prompts >= 2 else None
    return ends or (None, None)


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _prompt_names(prompts: int) -> NDArray[np.object_]:
    return np.array([str(place) for place in range(prompts)], dtype=object)


def _agreement(correlation: Any, ranks: Floats) -> Statistic:
    def statistic(sums: Floats) -> Floats:
        score, number = np.split(sums, 2, axis=1)
        means = np.divide(score, number, out=np.full_like(score, np.nan), where=number > 0)
        found = np.full(len(sums), np.nan)
        drawn = ~np.isnan(means).any(axis=1)  # a resample without a model has no order of them
        if drawn.any() and len(ranks) > 1:
            found[drawn] = correlation(means[drawn], np.broadcast_to(-ranks, means[drawn].shape))
        return found

    return statistic
