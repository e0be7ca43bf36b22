"""How HPS v2's benchmark turns scores of one text-to-image model into the numbers of its tables.

For each style the scores stand in the order of the prompts, in groups of 80 (tgxs002/HPSv2, ``hpsv2/evaluation.py``);
the style's mean and spread are the mean and population deviation of the groups' means, the model's average is that of
all scores. The published program drops missing images, so that every later score moves into another group. Here a
group is made of prompts: a missing image is named, and its group has one less. The deviation over groups of prompts is
no error of the mean; the interval (bootstrap over prompts) is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardkit.errors import DataError
from rewardkit.metrics.intervals import DRAWS, ratio
from rewardkit.metrics.results import Counts, Measurement

GROUP_SIZE = 80
"""Prompts in a group of HPS v2's benchmark: 800 prompts of a style are ten groups."""

PROTOCOL = "hpsv2_benchmark"


@dataclass(frozen=True, slots=True)
class StyleScore:
    """One style.

    Attributes:
        mean: Mean of the groups' means; None where there is no score.
        std: Their population deviation (ddof 0).
        low: Lower end of the mean's 95 % interval (bootstrap over prompts).
        high: Upper end.
        plain_mean: Mean of the style's scores; differs from ``mean`` where groups differ in size.
        group_means: Of each group that has a score, in the order of the prompts.
        group_sizes: Scores in each of these.
        n_planned: Prompts.
        n_scored: Images that were scored.
        missing: Places, from 0, of the prompts without a score.
    """

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    plain_mean: float | None
    group_means: tuple[float, ...]
    group_sizes: tuple[int, ...]
    n_planned: int
    n_scored: int
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BenchmarkScore:
    """A text-to-image model on every style.

    Attributes:
        styles: Style to score, in the order given.
        average: Mean of all scores (not of the styles' means); None where there is none.
        low: Lower end of its 95 % interval (bootstrap over prompts).
        high: Upper end.
        mean_of_style_means: Mean of the styles' means, which weighs styles alike.
        n_planned: Prompts.
        n_scored: Images that were scored.
    """

    styles: Mapping[str, StyleScore]
    average: float | None
    low: float | None
    high: float | None
    mean_of_style_means: float | None
    n_planned: int
    n_scored: int

    def as_record(self) -> dict[str, Any]:
        """Plain numbers and texts, for JSON."""
        return asdict(self)


def benchmark_scores(
    scores: Mapping[str, ArrayLike], *, group_size: int = GROUP_SIZE, draws: int = DRAWS, seed: int = 0
) -> BenchmarkScore:
    """HPS v2's benchmark, groups by the place of the prompt.

    Args:
        scores: Style to scores ``[P]`` in the order of the prompts, NaN where the image is missing. The published scale
            is 100 · cosine.
        group_size: Prompts in a group.
        draws: Resamples of prompts behind each interval; 0 gives none.
        seed: Of the resamples.

    Raises:
        DataError: A score is infinite.
    """
    whole = {style: _checked(values, style) for style, values in scores.items()}
    styles = {style: _style_score(style, values, group_size, draws=draws, seed=seed) for style, values in whole.items()}
    everything = average_measurement(whole).result(draws=draws, seed=seed)
    means = [score.mean for score in styles.values() if score.mean is not None]
    return BenchmarkScore(
        styles=styles,
        average=everything.value,
        low=everything.low,
        high=everything.high,
        mean_of_style_means=float(np.mean(means)) if means else None,
        n_planned=sum(score.n_planned for score in styles.values()),
        n_scored=sum(score.n_scored for score in styles.values()),
    )


def benchmark_scores_published(scores: Mapping[str, ArrayLike], *, group_size: int = GROUP_SIZE) -> BenchmarkScore:
    """The same with missing images dropped first, so that later scores move up, as the published program does."""
    return benchmark_scores(
        {style: values[~np.isnan(values)] for style, values in _arrays(scores).items()},
        group_size=group_size,
        draws=0,
    )


def plain_score(scores: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> StyleScore:
    """A benchmark without styles and groups, as DrawBench: the plain mean, every image that is there counting once.

    Args:
        scores: ``[P]`` in the order of the prompts, NaN where the image is missing.
        draws: Resamples of prompts behind the interval.
        seed: Of the resamples.

    Returns:
        One group of all scores.

    Raises:
        DataError: A score is infinite.
    """
    values = _checked(scores, "the benchmark")
    return _style_score("", values, max(1, len(values)), draws=draws, seed=seed)


def style_measurement(style: str, scores: ArrayLike, *, group_size: int = GROUP_SIZE) -> Measurement:
    """A style's mean of group means as sums over prompts: for its interval, and to compare two models on the same.

    Args:
        style: Its name, which is part of the prompts' names.
        scores: ``[P]``, NaN where the image is missing.
        group_size: Prompts in a group.
    """
    values = _checked(scores, style)
    known = ~np.isnan(values)
    groups = -(-len(values) // group_size)
    sums = np.zeros((len(values), 2 * groups))
    place = np.arange(len(values))
    sums[place, place // group_size] = np.where(known, values, 0.0)
    sums[place, groups + place // group_size] = known
    return Measurement(
        PROTOCOL, style or "mean", _names(style, len(values))[known], sums[known], _mean_of_means, _counts(known),
        share=False,
    )  # fmt: skip


def average_measurement(scores: Mapping[str, ArrayLike]) -> Measurement:
    """The mean of all scores as sums over prompts; arguments as ``benchmark_scores``."""
    whole = {style: _checked(values, style) for style, values in scores.items()}
    values = np.concatenate([np.zeros(0), *whole.values()])
    names = np.concatenate([np.zeros(0, object), *(_names(style, len(of)) for style, of in whole.items())])
    known = ~np.isnan(values)
    sums = np.stack([values[known], np.ones(int(known.sum()))], axis=1)
    return Measurement(PROTOCOL, "average", names[known], sums, ratio, _counts(known), share=False)


def _style_score(style: str, values: NDArray[np.float64], group_size: int, *, draws: int, seed: int) -> StyleScore:
    known = ~np.isnan(values)
    starts = range(0, len(values), group_size)
    groups = [part[~np.isnan(part)] for part in (values[start : start + group_size] for start in starts)]
    groups = [group for group in groups if len(group)]
    means = [float(group.mean()) for group in groups]
    found = style_measurement(style, values, group_size=group_size).result(draws=draws, seed=seed)
    return StyleScore(
        mean=float(np.mean(means)) if means else None,
        std=float(np.std(means)) if means else None,
        low=found.low,
        high=found.high,
        plain_mean=float(values[known].mean()) if means else None,
        group_means=tuple(means),
        group_sizes=tuple(len(group) for group in groups),
        n_planned=len(values),
        n_scored=int(known.sum()),
        missing=tuple(np.flatnonzero(~known).tolist()),
    )


def _mean_of_means(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[draws, 2 * groups]`` sums and numbers to ``[draws]``; a group of which nothing was drawn is left out."""
    score, number = np.split(sums, 2, axis=1)
    filled = (number > 0).sum(axis=1)
    means = np.divide(score, number, out=np.zeros_like(score), where=number > 0)
    return np.divide(means.sum(axis=1), filled, out=np.full(len(sums), np.nan), where=filled > 0)


def _counts(known: NDArray[np.bool_]) -> Counts:
    scored = int(known.sum())
    return Counts(comparisons=scored, groups=scored, unscored=len(known) - scored, groups_without=len(known) - scored)


def _names(style: str, prompts: int) -> NDArray[np.object_]:
    """What names a prompt across models."""
    return np.array([f"{style}\n{place}" for place in range(prompts)], dtype=object)


def _arrays(scores: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    return {style: np.asarray(values, dtype=float).reshape(-1) for style, values in scores.items()}


def _checked(scores: ArrayLike, what: str) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=float).reshape(-1)
    if np.isinf(values).any():
        place = int(np.flatnonzero(np.isinf(values))[0])
        raise DataError(f"{what}: the score of prompt {place} is infinite; look at the weights it was made with")
    return values
