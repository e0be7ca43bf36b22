"""Do two rewards, or a reward and people, order generators alike: as a whole, and on single prompts?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rewardkit.benchmark.human import HumanScores
from rewardkit.benchmark.result_rows import Agreement
from rewardkit.metrics.correlations import kendall_tau_b, spearman
from rewardkit.metrics.intervals import DRAWS, ratio
from rewardkit.metrics.model_ranking import human_agreement, score_matrix
from rewardkit.metrics.results import Counts, Measurement, Statistic

Floats = NDArray[np.float64]
ByGenerator = Mapping[str, Floats]
Side = tuple[str, str]
"""Label of the reward ("" are people) and dimension."""

GENERATORS, PROMPTS = "generators", "prompts"
_CORRELATIONS: dict[str, Callable[[Floats, Floats], Floats]] = {"spearman": spearman, "kendall": kendall_tau_b}


def agreement_of_rewards(
    ours: ByGenerator, theirs: ByGenerator, sides: tuple[Side, Side], *, draws: int = DRAWS, seed: int = 0
) -> list[Agreement]:
    """Two rewards on the same images.

    Args:
        ours: Generator to ``[P]`` scores of the first, NaN where there is no image.
        theirs: Of the second.
        sides: Whose they are.
        draws: Resamples of prompts behind each interval.
        seed: Of the resamples.

    Returns:
        ``spearman`` and ``kendall`` of the order of the generators' means; ``kendall`` within a prompt, averaged, and
        the share of pairs in the same order.
    """
    found = [*_of_means(ours, theirs), *_of_prompts(ours, theirs)]
    return _rows(found, sides, len(ours), draws=draws, seed=seed)


def agreement_with_people(
    scores: ByGenerator, said: HumanScores, side: Side, *, draws: int = DRAWS, seed: int = 0
) -> list[Agreement]:
    """A reward and people; within prompts where people judged single images. Arguments as above."""
    judged = {name: scores[name] for name in scores if name in said.values}
    # Ranks, 1 is best; the correlation is of orders for Kendall and Spearman alike, so minus the value serves.
    measured = human_agreement(scores, {name: -value for name, value in said.values.items()})
    found = [(GENERATORS, one) for one in measured]
    by_prompt = {name: said.by_prompt[name] for name in judged if name in said.by_prompt}
    if len(by_prompt) > 1:
        found += _of_prompts({name: judged[name] for name in by_prompt}, by_prompt)
    return _rows(found, (side, ("", said.dimension)), len(judged), draws=draws, seed=seed)


def _of_means(ours: ByGenerator, theirs: ByGenerator) -> list[tuple[str, Measurement]]:
    names, mine = score_matrix(ours)
    other = np.stack([theirs[name] for name in names], axis=1)
    both = ~np.isnan(mine) & ~np.isnan(other)
    placed = both.any(axis=0)
    mine, other, both = mine[:, placed], other[:, placed], both[:, placed]
    sums = np.concatenate([np.where(both, mine, 0.0), np.where(both, other, 0.0), both], axis=1).astype(float)
    counts = Counts(comparisons=int(both.sum()), groups=int(both.any(axis=1).sum()))
    return [
        (GENERATORS, Measurement(GENERATORS, name, _names(len(sums)), sums, _of_sums(rule), counts, share=False))
        for name, rule in _CORRELATIONS.items()
    ]


def _of_sums(rule: Callable[[Floats, Floats], Floats]) -> Statistic:
    def statistic(sums: Floats) -> Floats:
        mine, other, number = np.split(sums, 3, axis=1)
        found = np.full(len(sums), np.nan)
        drawn = (number > 0).all(axis=1)  # a resample without a generator has no order of them
        if drawn.any() and number.shape[1] > 1:
            found[drawn] = rule(mine[drawn] / number[drawn], other[drawn] / number[drawn])
        return found

    return statistic


def _of_prompts(ours: ByGenerator, theirs: ByGenerator) -> list[tuple[str, Measurement]]:
    """Within prompts: mean Kendall, and pairs in the same order where neither side has a tie."""
    names, mine = score_matrix(ours)
    other = np.stack([theirs[name] for name in names], axis=1)  # [P, M]
    i, j = np.triu_indices(len(names), 1)
    over_mine, over_other = (np.sign(of[:, i] - of[:, j]) for of in (mine, other))  # [P, pairs], NaN without both
    decided = (np.nan_to_num(over_mine) != 0) & (np.nan_to_num(over_other) != 0)
    alike = ((over_mine == over_other) & decided).sum(axis=1)
    pairs = np.stack([alike, decided.sum(axis=1)], axis=1).astype(float)
    # Kendall's tau-b over the pairs that both sides have; those with a tie count in one side's denominator.
    known = ~np.isnan(over_mine) & ~np.isnan(over_other)
    a, b = np.where(known, over_mine, 0.0), np.where(known, over_other, 0.0)
    whole = np.sqrt(np.abs(a).sum(axis=1) * np.abs(b).sum(axis=1))
    tau = np.divide((a * b).sum(axis=1), whole, out=np.zeros(len(whole)), where=whole > 0)
    taus = np.stack([tau, whole > 0], axis=1).astype(float)
    return [
        (PROMPTS, Measurement(PROMPTS, metric, _names(len(sums)), sums, ratio,
                              Counts(comparisons=int(decided.sum()), groups=int((sums[:, 1] > 0).sum()))))
        for metric, sums in (("kendall", taus), ("pairs", pairs))
    ]  # fmt: skip


def _rows(
    found: Sequence[tuple[str, Measurement]], sides: tuple[Side, Side], generators: int, *, draws: int, seed: int
) -> list[Agreement]:
    rows = []
    for level, measurement in found:
        result = measurement.result(draws=draws, seed=seed)
        rows.append(
            Agreement(
                *sides[0],
                *sides[1],
                level,
                measurement.metric,
                result.value,
                result.low,
                result.high,
                generators,
                result.groups,
                result.note,
            )
        )
    return rows


def _names(prompts: int) -> NDArray[np.object_]:
    return np.array([str(place) for place in range(prompts)], dtype=object)
