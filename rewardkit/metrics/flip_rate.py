"""How often an annotator such as an MLLM turns the order of people round, with people's own disagreement taken out.

On every comparison the people have an order, the one that most people would give. A person who takes a side names the
other order with probability h, which may differ from comparison to comparison; the annotator does so with probability
e, the flip rate. Given the order, all judge independently, and no side of the list is favoured (symmetric noise). With
c = 1 - 2h, how clear a comparison is to people::

    P(annotator = a person) = A      2A - 1 = E[(1 - 2e) c]
    P(two people agree)     = B      2B - 1 = E[c^2]

    1 - 2e = (2A - 1) / r            r = E[c], the people's reliability

Where all comparisons are equally clear, r = sqrt(2B - 1), which is A = (1-e)(1-h) + eh and B = (1-h)^2 + h^2 solved for
e. Where they are not, r is smaller (Cauchy-Schwarz), but never below 2B - 1 since c <= 1; so sqrt gives an upper bound
of e, and B alone a lower one. Four or more votes on a comparison tell more than B: the distribution of c is then fitted
to the counts by maximum likelihood (a mixture over a grid of h, by EM; Laird 1978, Kiefer & Wolfowitz 1956), and r is
its mean. If e varies too, the result is its mean weighted by c: a comparison without an order has none to be flipped.

Votes for a tie take no side. The annotator's ties are counted apart: a tie flips nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewardkit.metrics.intervals import bootstrap_interval, interval_of, resampled_sums
from rewardkit.metrics.judged_pairs import FIRST, SECOND, TIE, UNDECIDED, verdicts

Floats = NDArray[np.float64]
Noise = Literal["auto", "one_rate", "varying"]
Method = Literal["uncorrected", "one_rate", "varying"]

DRAWS = 1000
"""Resamples of groups behind an interval."""

VOTES_FOR_VARYING = 4
"""Sided votes on a comparison from which on they tell whether comparisons differ in clearness: the counts of n votes
hold the even moments of c up to n, and two or three votes only the second, which B is already."""

COMPARISONS_FOR_VARYING = 50
"""Comparisons with so many votes that a distribution of c is fitted to, where the choice is ``auto``."""

_H = np.linspace(0.0, 0.5, 26)  # the grid of h
_STEPS = 2000  # of EM on the data
_STEPS_OF_A_DRAW = 150  # of EM on a resample, which starts at the data's solution


@dataclass(frozen=True, slots=True)
class FlipRate:
    """The estimate for one dimension.

    Attributes:
        flip_rate: e, 0 … 1; an estimate below 0 (a lucky draw) is given as 0. None where the votes do not tell it.
        low: Lower end of its 95 % interval (bootstrap over groups), likewise at least 0; None for fewer than 2 groups.
        high: Upper end, at most 1.
        unclipped: The estimate as the formula gives it.
        method: ``varying`` or ``one_rate``: whether people's noise may differ among comparisons; ``uncorrected``: no
            comparison has two sided votes, people's noise is unknown, and 1 - A is an upper bound.
        reason: Why there is no estimate; empty where there is one.
        least: The lower bound of e, from r >= 2B - 1; None where uncorrected.
        most: The upper bound, from r <= sqrt(2B - 1).
        comparisons: Comparisons behind the estimate.
        groups: Their groups.
        agreement: A, the share of single people's sided votes that the annotator's order agrees with.
        human_agreement: B, of two people's sided votes; None where uncorrected.
        reliability: r; None where uncorrected.
        raw_disagreement: Share of ``majorities`` where the annotator's order is not the majority's; nothing corrected.
        majorities: Comparisons where both gave an order.
        matched: Comparisons that both judged.
        annotator_ties: Of them, those that the annotator calls a tie, or undecided.
        human_ties: Of them, those that people call a tie by majority.
        human_undecided: Of them, those with as many votes for one side as for the other, and no tie by majority.
        both_ties: Of them, those that both call a tie.
        no_side: Of them, those where the annotator gave an order and no person took a side.
        one_side_vote: Of them, those where the annotator gave an order, but only one person took a side; they are left
            out of the estimate where others have more.
    """

    flip_rate: float | None
    low: float | None
    high: float | None
    unclipped: float | None
    method: Method
    reason: str
    least: float | None
    most: float | None
    comparisons: int
    groups: int
    agreement: float | None
    human_agreement: float | None
    reliability: float | None
    raw_disagreement: float | None
    majorities: int
    matched: int
    annotator_ties: int
    human_ties: int
    human_undecided: int
    both_ties: int
    no_side: int
    one_side_vote: int

    @property
    def usable(self) -> bool:
        """Whether a robust objective can take it: it is known and below one half."""
        return self.flip_rate is not None and self.flip_rate < 0.5


def flip_rate(
    annotator: Floats,
    human: Floats,
    group: NDArray[np.int64],
    *,
    noise: Noise = "auto",
    draws: int = DRAWS,
    seed: int = 0,
) -> FlipRate:
    """Estimates one dimension's flip rate from two label sets on the same comparisons.

    Args:
        annotator: ``[P, 3]`` votes of the annotator for first, tie, second; their majority is its label.
        human: ``[P, 3]`` votes of people on the same comparisons.
        group: ``[P]``, whole numbers; comparisons of one group are resampled together.
        noise: ``one_rate``: all comparisons are equally clear to people. ``varying``: they differ. ``auto``: varying
            where most comparisons, and at least 50, have four or more sided votes.
        draws: Resamples of groups behind the interval.
        seed: Of the resamples.

    Raises:
        ValueError: Shapes differ, or a vote is negative or not finite.
    """
    annotator, human, group = _checked(annotator, human, group)
    said = verdicts(*annotator.T)
    people = verdicts(*human.T)
    ordered = (said == FIRST) | (said == SECOND)
    sides = human[:, 0] + human[:, 2]
    majority = ordered & ((people == FIRST) | (people == SECOND))
    counted = ordered & (sides >= 2)
    corrected = bool(counted.any())
    if not corrected:
        counted = ordered & (sides > 0)
    with_first = np.where(said == FIRST, human[:, 0], human[:, 2])[counted]
    votes = np.column_stack([with_first, sides[counted] - with_first])  # [n, 2]: with and against the annotator
    method: Method = _method(votes, noise) if corrected else "uncorrected"
    numbers = np.unique(group[counted], return_inverse=True)[1]
    found = _estimate(votes, numbers, method, draws, seed)
    return FlipRate(
        **found,
        method=method,
        comparisons=len(votes),
        groups=int(numbers.max()) + 1 if len(numbers) else 0,
        raw_disagreement=float((said != people)[majority].mean()) if majority.any() else None,
        majorities=int(majority.sum()),
        matched=len(said),
        annotator_ties=int((~ordered).sum()),
        human_ties=int((people == TIE).sum()),
        human_undecided=int((people == UNDECIDED).sum()),
        both_ties=int(((said == TIE) & (people == TIE)).sum()),
        no_side=int((ordered & (sides == 0)).sum()),
        one_side_vote=int((ordered & (sides > 0) & (sides < 2)).sum()),
    )


def latent_flip_rate(agreement: float, human_agreement: float) -> float:
    """The flip rate e of the symmetric model with one h for all comparisons, from A and B.

    Solves A = (1-e)(1-h) + eh and B = (1-h)^2 + h^2 for e = (1 - (2A - 1) / sqrt(2B - 1)) / 2. With B = 1, people who
    never differ, it is 1 - A. It is below 0 where the annotator agrees with people more than noise allows, and above
    one half where it is worse than chance.

    Args:
        agreement: A, 0 … 1.
        human_agreement: B, above one half.

    Raises:
        ValueError: B is one half or less: people agree no more than chance.
    """
    if not human_agreement > 0.5:
        raise ValueError(f"two people agree on {human_agreement:.1%} of comparisons, no more than by chance")
    return float(0.5 * (1 - (2 * agreement - 1) / np.sqrt(2 * human_agreement - 1)))


def _checked(annotator: Floats, human: Floats, group: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    annotator, human, group = np.asarray(annotator, float), np.asarray(human, float), np.asarray(group)
    if not (annotator.ndim == 2 and annotator.shape[1] == 3 and annotator.shape == human.shape):
        raise ValueError(f"votes are [P, 3] twice; got {annotator.shape} and {human.shape}")
    if group.shape != annotator.shape[:1]:
        raise ValueError(f"{len(annotator)} comparisons have groups of shape {group.shape}")
    for votes in (annotator, human):
        if not (np.isfinite(votes).all() and (votes >= 0).all()):
            raise ValueError("votes must be finite and not negative")
    return annotator, human, group


def _method(votes: Floats, noise: Noise) -> Method:
    if noise != "auto":
        return noise
    many = votes.sum(axis=1) >= VOTES_FOR_VARYING
    return "varying" if many.sum() >= max(COMPARISONS_FOR_VARYING, len(votes) / 2) else "one_rate"


def _estimate(votes: Floats, group: NDArray[np.int64], method: Method, draws: int, seed: int) -> dict[str, Any]:
    """The fields of ``FlipRate`` that follow from the votes with and against the annotator, ``[n, 2]``."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("flip_rate", "low", "high", "unclipped", "least", "most", "agreement", "human_agreement", "reliability")
    )
    if not len(votes):
        return {**nothing, "reason": "no comparison has both an order of the annotator and a sided vote of a person"}
    total = votes.sum(axis=1)
    with_it = votes[:, 0] / total
    groups = int(group.max()) + 1
    if method == "uncorrected":
        a = float(with_it.mean())
        sums = _per_group(np.column_stack([1 - with_it, np.ones(len(votes))]), group, groups)
        interval = bootstrap_interval(sums, lambda s: s[:, 0] / s[:, 1], draws=draws, seed=seed)
        return {**nothing, **_ends(1 - a, interval), "agreement": a, "reason": ""}
    agree = (votes * (votes - 1)).sum(axis=1) / (total * (total - 1))
    shapes, kind = np.unique(np.sort(votes, axis=1), axis=0, return_inverse=True)
    counts = np.zeros((groups, len(shapes)))  # of each group's comparisons with votes of each shape
    np.add.at(counts, (group, kind.reshape(-1)), 1.0)
    sums = np.column_stack([_per_group(np.column_stack([with_it, agree]), group, groups), counts])
    whole = sums.sum(axis=0)
    n = len(votes)
    a, b = float(whole[0] / n), float(whole[1] / n)
    likelihood = _likelihood(shapes)
    start = np.full((1, len(_H)), 1 / len(_H))
    mixture = _fit(whole[None, 2:], likelihood, start, _STEPS) if method == "varying" else start
    told = {**nothing, "agreement": a, "human_agreement": b}
    if b <= 0.5:
        return {**told, "reason": f"two people agree on {b:.1%} of comparisons, no more than by chance"}

    def reliability(sums: Floats, steps: int) -> Floats:
        if method == "one_rate":  # as latent_flip_rate
            return np.sqrt(np.clip(2 * sums[:, 1] / sums[:, 2:].sum(axis=1) - 1, 0, None))
        return np.asarray(_fit(sums[:, 2:], likelihood, mixture, steps) @ (1 - 2 * _H))

    def rate(sums: Floats, steps: int) -> Floats:
        r = reliability(sums, steps)
        side = 2 * sums[:, 0] / sums[:, 2:].sum(axis=1) - 1
        return 0.5 * (1 - np.divide(side, r, out=np.full(len(r), np.nan), where=r > 0))

    drawn = rate(resampled_sums(sums, draws=draws, seed=seed), _STEPS_OF_A_DRAW) if groups > 1 else np.zeros(0)
    # E[c^2], as the counts have it or as the fitted distribution does: the fit weighs comparisons by their votes.
    second = 2 * b - 1 if method == "one_rate" else float((mixture @ (1 - 2 * _H) ** 2)[0])
    bounds = sorted(0.5 * (1 - (2 * a - 1) / r) for r in (second, np.sqrt(second)))
    return {
        **told,
        **_ends(float(rate(whole[None], 0)[0]), interval_of(drawn[np.isfinite(drawn)])),
        "least": _clip(bounds[0]),
        "most": _clip(bounds[1]),
        "reliability": float(reliability(whole[None], 0)[0]),
        "reason": "",
    }


def _ends(value: float, interval: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {
        "flip_rate": _clip(value),
        "unclipped": value,
        "low": None if low is None else _clip(low),
        "high": None if high is None else _clip(high),
    }


def _clip(value: float) -> float:
    return float(min(1.0, max(0.0, value)))


def _per_group(values: Floats, group: NDArray[np.int64], groups: int) -> Floats:
    """Sums over each group's rows: ``[n, C]`` to ``[G, C]``."""
    sums = np.zeros((groups, values.shape[1]))
    np.add.at(sums, group, values)
    return sums


def _likelihood(shapes: Floats) -> Floats:
    """``[U, K]``: chance of so many votes on either side, at each h of the grid, whichever side is right."""
    few, many = shapes[:, :1], shapes[:, 1:]
    return np.asarray((1 - _H) ** many * _H**few + (1 - _H) ** few * _H**many)


def _fit(counts: Floats, likelihood: Floats, start: Floats, steps: int) -> Floats:
    """Mixtures over the grid of h by EM: ``[draws, U]`` counts to ``[draws, K]`` shares."""
    shares = np.broadcast_to(start, (len(counts), start.shape[1]))
    total = counts.sum(axis=1, keepdims=True)
    for _ in range(steps):
        shares = shares * ((counts / (shares @ likelihood.T)) @ likelihood) / total
    return np.asarray(shares)
