"""From predictions tables and names of protocols to numbers: tune on one table, apply to another.

``tune(name, validation)`` gives the threshold or temperature of each dimension; ``apply(name, test, tuned)`` measures
with it. ``evaluate`` does many protocols at once and puts the baselines beside them. All are pure functions of tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from rewardkit.config.protocols import PROTOCOLS as NAMES
from rewardkit.config.protocols import TUNED, expand
from rewardkit.data.predictions import Predictions
from rewardkit.errors import UserError
from rewardkit.metrics.baselines import baselines, generator_win_rates
from rewardkit.metrics.calibration import measure_calibration, tune_temperature
from rewardkit.metrics.generator_balance import generator_balanced
from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.judged_pairs import judged_pairs, ranked_pairs
from rewardkit.metrics.protocols import PROTOCOLS, Protocol, credit, measured
from rewardkit.metrics.rank_protocols import measure_kendall, measure_recall, measure_spearman
from rewardkit.metrics.results import Measurement
from rewardkit.metrics.system_level import measure_system
from rewardkit.metrics.tie_thresholds import Tuned, measure_videoalign, tune_threshold

BESIDE = ("chance", "annotator_agreement", "which_generator", "list_position", "generator_balanced")
"""Keys of the baselines beside each number; None where one does not apply."""


@dataclass(frozen=True)
class Judged:
    """One dimension of a predictions table, as protocols read it.

    Attributes:
        dimension: Its name.
        candidates: Its rows of the scores.
        by_votes: Its ``judged_pairs``.
        by_ranks: Its ``ranked_pairs``.
    """

    dimension: str
    candidates: pd.DataFrame
    by_votes: pd.DataFrame
    by_ranks: pd.DataFrame

    def pairs(self, rule: Protocol) -> pd.DataFrame:
        """The pairs that a rule judges."""
        return self.by_ranks if rule.pairs == "ranks" else self.by_votes

    @cached_property
    def at_chance(self) -> Judged:
        """The same with scores that are all equal: what a random order is expected to give."""
        return self._with_scores(np.where(self.candidates["score"].isna(), np.nan, 0.0))

    @cached_property
    def by_position(self) -> Judged:
        """The same with scores that prefer the candidate listed first."""
        place = -self.candidates["candidate"].to_numpy(float)
        return self._with_scores(np.where(self.candidates["score"].isna(), np.nan, place))

    @cached_property
    def by_generator(self) -> Judged:
        """The same with each generator's share of wins in other groups as the score; one half where it is not known."""
        rates = generator_win_rates(self.by_votes)  # [P, 2]
        sides = [
            pd.DataFrame({"group": self.by_votes["group"], "candidate": self.by_votes[side], "rate": rates[:, n]})
            for n, side in enumerate(("first", "second"))
        ]
        known = pd.concat(sides).dropna().drop_duplicates(["group", "candidate"])
        found = self.candidates[["group", "candidate"]].merge(known, on=["group", "candidate"], how="left")["rate"]
        return self._with_scores(np.where(self.candidates["score"].isna(), np.nan, found.fillna(0.5)))

    def _with_scores(self, scores: Any) -> Judged:
        return replace(self, candidates=self.candidates.assign(score=scores))


def judged(predictions: Predictions, *, by_ranks: bool = True) -> dict[str, Judged]:
    """Every dimension of a table by name; without the pairs of the people's order, where no protocol asks for them."""
    votes = judged_pairs(predictions)
    ranks = ranked_pairs(predictions, votes) if by_ranks else votes.iloc[:0]
    return {
        name: Judged(
            name,
            *(frame[frame["dimension"] == name].reset_index(drop=True) for frame in (predictions.scores, votes, ranks)),
        )
        for name in predictions.dimensions
    }


def tune(protocol: str, validation: Predictions) -> dict[str, Tuned]:
    """The threshold (or temperature) of a protocol for each dimension, tuned on this table.

    Raises:
        UserError: The protocol has nothing to tune.
    """
    return {name: tune_dimension(protocol, part) for name, part in judged(validation).items()}


def apply(protocol: str, test: Predictions, tuned: Mapping[str, Tuned] | None = None) -> dict[str, list[Measurement]]:
    """A protocol's metrics for each dimension of a table.

    Args:
        protocol: A protocol's name, not a family's.
        test: The table.
        tuned: What ``tune`` found on another one, for the protocols that need it.

    Raises:
        UserError: The protocol needs a threshold that was not tuned.
    """
    return {name: measure(protocol, part, (tuned or {}).get(name)) for name, part in judged(test).items()}


def tune_dimension(protocol: str, validation: Judged) -> Tuned:
    """``tune`` for one dimension."""
    if protocol == "calibration":
        return tune_temperature(validation.by_votes)
    if protocol not in TUNED:
        raise UserError(f"{protocol} has nothing to tune; those that have: {', '.join((*TUNED, 'calibration'))}")
    rule = PROTOCOLS[protocol]
    return tune_threshold(validation.pairs(rule), rule)


def measure(protocol: str, part: Judged, tuned: Tuned | None = None) -> list[Measurement]:
    """``apply`` for one dimension: one measurement for each of the protocol's metrics."""
    if protocol in PROTOCOLS:
        return [_measure_pairs(PROTOCOLS[protocol], part, tuned)]
    if protocol == "calibration":
        return measure_calibration(part.by_votes, tuned)
    if protocol == "system":
        return measure_system(part.candidates, part.by_votes)
    if protocol == "videoalign_published":
        return [measure_videoalign(part.by_votes)]
    if protocol == "position":
        pairs = part.by_votes
        scored = pairs["score_first"].notna() & pairs["score_second"].notna()
        places = {f"score_{side}": -pairs[side].astype(float).where(scored) for side in ("first", "second")}
        probe = pairs.assign(**places)
        rule = replace(PROTOCOLS["strict_micro"], name="position")
        return [measured(probe, credit(probe, rule), rule)]
    if protocol not in _OF_ORDERS:
        raise UserError(f"there is no protocol {protocol!r}; protocols: {', '.join(NAMES)}")
    return _OF_ORDERS[protocol](part.candidates)


def evaluate(
    predictions: Predictions,
    protocols: Sequence[str],
    *,
    tuning: Predictions | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row for each dimension, protocol and metric: value, interval, counts, and what it has to be read beside.

    Args:
        predictions: The table.
        protocols: Names of protocols or families.
        tuning: Another table of the same model, that thresholds and temperatures are tuned on.
        draws: Resamples of groups behind each interval.
        seed: Of the resamples.

    Returns:
        ``{"dimension", **Result, **BESIDE}``, in the order of the dimensions and protocols.

    Raises:
        UserError: An unknown protocol, or one that needs ``tuning``.
    """
    names = expand(protocols)
    by_ranks = any(name in PROTOCOLS and PROTOCOLS[name].pairs == "ranks" for name in names)
    others = judged(tuning, by_ranks=by_ranks) if tuning is not None else {}
    rows = []
    for dimension, part in judged(predictions, by_ranks=by_ranks).items():
        for name in names:
            tuned = tuned_on(name, others.get(dimension), asked=tuning is not None)
            measurements = measure(name, part, tuned)
            for found, told in zip(measurements, beside(measurements, part, seed=seed), strict=True):
                rows.append({"dimension": dimension, **found.result(draws=draws, seed=seed).as_row(), **told})
    return rows


def tuned_on(protocol: str, tuning: Judged | None, *, asked: bool) -> Tuned | None:
    """What a protocol is to be applied with: tuned on another table's dimension, or None where it needs nothing.

    Args:
        protocol: Its name.
        tuning: The dimension of the tuning table; None where that lacks it.
        asked: Whether there is a tuning table at all.
    """
    if protocol not in TUNED and (protocol != "calibration" or not asked):
        return None
    if tuning is None:
        if asked:
            return Tuned(protocol, None, 0, 0, None, "the tuning data have no such dimension")
        raise UserError(
            f"{protocol} needs data to tune its threshold on, other than those it is applied to: data.tune=FOLDER[,…]."
            + (
                f" The form that tunes on the evaluated set itself is {protocol}_published"
                if protocol != "pickapic"
                else ""
            )
        )
    return tune_dimension(protocol, tuning)


def beside(measurements: Sequence[Measurement], part: Judged, *, seed: int = 0) -> list[dict[str, float | None]]:
    """The baselines of each of a protocol's measurements; None where one does not apply.

    Protocols of whole orders have no annotators; ``system``, ``calibration`` and the probe have no baselines.
    """
    found: list[dict[str, float | None]] = [dict.fromkeys(BESIDE) for _ in measurements]
    protocol = measurements[0].protocol
    if protocol in PROTOCOLS and measurements[0].counts.comparisons:
        rule, threshold = PROTOCOLS[protocol], measurements[0].tuned or 0.0
        pairs = part.pairs(rule)
        told = baselines(pairs, rule, threshold=threshold, draws=0, seed=seed)
        found[0] |= {name: result.value for name, result in told.items()}
        found[0]["generator_balanced"] = generator_balanced(pairs, rule, threshold=threshold, draws=0).value
    elif protocol in _OF_ORDERS:
        name = protocol.removesuffix("_published")  # equal scores of a baseline are never put in list order
        stand_ins = {
            "chance": part.at_chance,
            "which_generator": part.by_generator,
            "list_position": part.by_position,
        }
        for baseline, stand_in in stand_ins.items():
            values = {m.metric: m.value() for m in measure(name, stand_in)}
            for row, measurement in zip(found, measurements, strict=True):
                row[baseline] = values[measurement.metric]
                if baseline == "chance" and not measurement.share:
                    row[baseline] = 0.0  # equal scores have no correlation; random ones have none on average
    return found


def _measure_pairs(rule: Protocol, part: Judged, tuned: Tuned | None) -> Measurement:
    """One accuracy; with a threshold tuned elsewhere, or, in the published forms, on these pairs themselves."""
    pairs = part.pairs(rule)
    if rule.threshold is None:
        return measured(pairs, credit(pairs, rule), rule)
    itself = rule.name.endswith("_published")
    if itself:
        tuned = tune_threshold(pairs, rule)
    if tuned is None:
        tuned = tuned_on(rule.name, None, asked=False)
    assert tuned is not None
    if tuned.value is None:
        nothing = measured(pairs, np.full(len(pairs), np.nan), rule)
        return replace(nothing, note=f"not tuned: {tuned.note}")
    found = measured(pairs, credit(pairs, rule, tuned.value), rule)
    sign = "|p1 - p0|" if rule.threshold == "probability" else "|difference|"
    where = "these comparisons themselves" if itself else f"{tuned.comparisons} other comparisons"
    note = f"scores tie where {sign} <= {tuned.value:.6g}, tuned on {where}"
    return replace(found, tuned=tuned.value, note=note)


_OF_ORDERS = {
    "imagereward_recall": measure_recall,
    "imagereward_recall_published": lambda candidates: measure_recall(candidates, published=True),
    "kendall": measure_kendall,
    "spearman": measure_spearman,
}
