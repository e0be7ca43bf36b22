"""What an accuracy has to be read beside: four numbers that need no model, under the same protocol.

- ``chance``: scores that say nothing. They are apart, or, where the rule tells ties by a threshold, call as many ties
  as the model does (Pick-a-Pic: the share t, as its authors reckon), at random.
- ``annotator_agreement``: one annotator against the others. For each comparison, an annotator drawn at random is taken
  out of the vote; credit 1 where what they said is the verdict of the rest, 0 where it is the other side. Their "tie"
  gets what the protocol gives tied scores; where the rest has no winner (and the protocol judges no ties), the credit
  is one half. The mean over the draw is taken exactly. Comparisons with fewer than two votes say nothing of agreement
  and are left out.
- ``which_generator``: always prefer the generator that wins more often, known from other groups only (ten folds).
- ``list_position``: always prefer the candidate listed first.

The last two have no opinion on some pairs (the same generator twice, one that was never seen): they guess there, and
get one half. They call no pair a tie.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.judged_pairs import FIRST, SECOND, TIE, verdicts
from rewardkit.metrics.protocols import Protocol, credit, find_protocol, score_gaps, summarise
from rewardkit.metrics.results import Result

FOLDS = 10
"""Parts that the groups are split into, each judged by what the other nine say of the generators."""


def baselines(
    pairs: pd.DataFrame, protocol: str | Protocol, *, threshold: float = 0.0, draws: int = DRAWS, seed: int = 0
) -> dict[str, Result]:
    """The four baselines over the comparisons that the protocol counts for the model.

    Args:
        pairs: From ``judged_pairs`` or ``ranked_pairs``, of one dimension.
        protocol: Name or rule.
        threshold: Of a rule that has one.
        draws: Resamples behind each interval.
        seed: Of the resamples and of the folds.
    """
    rule = find_protocol(protocol) if isinstance(protocol, str) else protocol
    counts = ~np.isnan(credit(pairs, rule, threshold))

    def counted(credits: NDArray[np.float64]) -> Result:
        found = summarise(pairs, np.where(counts, credits, np.nan), rule, draws=draws, seed=seed)
        # Equal scores of the model are no property of a baseline.
        return replace(found, equal_scores=0)

    by_generator = generator_win_rates(pairs, seed=seed)  # [P, 2]
    position = -pairs[["first", "second"]].to_numpy(float)
    return {
        "chance": counted(_chance(pairs, rule, threshold, counts)),
        "annotator_agreement": counted(agreement(pairs, rule)),
        "which_generator": counted(_guess(pairs, by_generator, rule)),
        "list_position": counted(_guess(pairs, position, rule)),
    }


def agreement(pairs: pd.DataFrame, rule: Protocol) -> NDArray[np.float64]:
    """``[P]``: expected credit of one annotator against the others; NaN for fewer than two votes.

    See the module's docstring for the definition.
    """
    votes = pairs[["votes_first", "votes_tie", "votes_second"]].to_numpy(float)  # [P, 3]
    total = votes.sum(axis=1)
    expected = np.zeros(len(pairs))
    for column, said in enumerate((FIRST, TIE, SECOND)):
        rest = votes.copy()
        # Averaged votes may hold less than one whole annotator.
        rest[:, column] = np.maximum(rest[:, column] - 1.0, 0.0)
        verdict = verdicts(rest[:, 0], rest[:, 1], rest[:, 2])
        decided = np.isin(verdict, (FIRST, SECOND))
        right = np.full(len(pairs), rule.worth_of_a_guess) if said == TIE else (verdict == said).astype(float)
        credits = np.where(decided, right, 0.5)
        if rule.ties is not None:
            credits[verdict == TIE] = rule.ties[0 if said == TIE else 1]
        share = np.divide(votes[:, column], total, out=np.zeros_like(total), where=total > 0)
        expected += share * credits
    return np.where(total >= 2, expected, np.nan)


def _chance(pairs: pd.DataFrame, rule: Protocol, threshold: float, counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``[P]``: expected credit of scores that say nothing; see the module's docstring."""
    tied = 0.0
    if rule.threshold == "probability":
        tied = min(max(threshold, 0.0), 1.0)
    elif rule.threshold == "difference" and counts.any():
        tied = float((score_gaps(pairs)[counts] <= threshold).mean())
    expected = np.full(len(pairs), (1 - tied) * 0.5 + tied * rule.worth_of_a_guess)
    if rule.ties is not None:
        said_tie = (pairs["verdict"] == TIE).to_numpy()
        expected[said_tie] = tied * rule.ties[0] + (1 - tied) * rule.ties[1]
    return expected


def generator_win_rates(pairs: pd.DataFrame, *, seed: int = 0) -> NDArray[np.float64]:
    """For both candidates of each comparison, how often their generator wins in the other folds: ``[P, 2]``.

    NaN where the generator is not named or was not judged in the other folds. A win of either side counts 1, and only
    comparisons of different generators count.
    """
    pair_generators = pairs[["generator_first", "generator_second"]]
    codes, names = pd.factorize(pair_generators.to_numpy(object).ravel())
    generator = codes.reshape(-1, 2)  # [P, 2], -1 where not named
    group, groups = pd.factorize(pairs["group"], sort=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    fold = (order % FOLDS)[group] if len(groups) else np.zeros(0, dtype=int)
    verdict = pairs["verdict"].to_numpy()
    judged = np.isin(verdict, (FIRST, SECOND)) & (generator >= 0).all(axis=1) & (generator[:, 0] != generator[:, 1])
    wins, played = np.zeros((FOLDS, len(names))), np.zeros((FOLDS, len(names)))
    for side, winner in enumerate((FIRST, SECOND)):
        np.add.at(played, (fold[judged], generator[judged, side]), 1.0)
        won = judged & (verdict == winner)
        np.add.at(wins, (fold[won], generator[won, side]), 1.0)
    others_won, others_played = wins.sum(axis=0) - wins, played.sum(axis=0) - played  # [FOLDS, generators]
    rate = np.divide(others_won, others_played, out=np.full_like(wins, np.nan), where=others_played > 0)
    if not len(names):
        return np.full((len(pairs), 2), np.nan)
    return np.where(generator >= 0, rate[fold[:, None], generator], np.nan)


def _guess(pairs: pd.DataFrame, scores: NDArray[np.float64], rule: Protocol) -> NDArray[np.float64]:
    """Credit of a rule that scores both sides ``[P, 2]`` and guesses where it cannot tell them apart."""
    difference = scores[:, 0] - scores[:, 1]
    verdict = pairs["verdict"].to_numpy()
    right = np.where(verdict == FIRST, difference > 0, difference < 0).astype(float)
    right[np.isnan(difference) | (difference == 0)] = 0.5
    if rule.ties is not None:
        right[verdict == TIE] = rule.ties[1]
    return right
