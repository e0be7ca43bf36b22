"""The figures of a folded annotation: how far it can be relied upon, for the terminal, ``annotate.json``, the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rewardkit.annotate.aggregate import aggregate
from rewardkit.annotate.consistency import Consistency, consistency
from rewardkit.annotate.fold import FoldRules
from rewardkit.annotate.folding import Folded
from rewardkit.annotate.overall import PairCounts
from rewardkit.annotate.people import WithPeople
from rewardkit.annotate.position_bias import PositionBias, position_bias
from rewardkit.annotate.read_back import Logged
from rewardkit.annotate.scores import Scores, asked
from rewardkit.metrics.correlations import spearman


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's correlation of two dimensions over candidates.

    Attributes:
        value: None where one of them is constant, or fewer than two candidates have both.
        n: Candidates with a number on both.
    """

    first: str
    second: str
    value: float | None
    n: int


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """All of them. Maps are by annotator, then by dimension.

    Attributes:
        rules: How labels followed.
        log: Digest of the log.
        groups: Of the input.
        with_scores: Groups with a score.
        complete: Groups of which every candidate has a score on every dimension.
        written: Groups in the shards.
        bad: Groups that cannot be read.
        unknown: Lines of the log on groups that are not in the input.
        outcomes: Annotator to outcome to requests.
        models: Annotator to its models.
        histogram: Value (as text, ``NA`` too) to how often it was given.
        pairs: Dimension, and overall, to what became of pairs.
        position: Empty where nothing was shown together.
        consistency: Empty without repeats.
        reliability: As the rule estimates it.
        correlations: Of each two dimensions, aggregated by the mean.
        people: Who spoke to dimension to agreement with people.
        flip_rates: Ready for a robust objective; empty where people judged too little.
    """

    rules: Mapping[str, Any]
    log: str
    groups: int
    with_scores: int
    complete: int
    written: int
    bad: Sequence[str]
    unknown: int
    outcomes: Mapping[str, Mapping[str, int]]
    models: Mapping[str, Sequence[str]]
    histogram: Mapping[str, Mapping[str, Mapping[str, int]]]
    pairs: Mapping[str, PairCounts]
    position: Mapping[str, Mapping[str, PositionBias]]
    consistency: Mapping[str, Mapping[str, Consistency]]
    reliability: Mapping[str, Mapping[str, float]]
    correlations: Sequence[Correlation]
    people: Mapping[str, Mapping[str, WithPeople]]
    flip_rates: str

    def as_record(self) -> dict[str, Any]:
        """Plain numbers and texts, for JSON."""
        record = asdict(self)
        for name, counts in self.pairs.items():
            record["pairs"][name] |= {"dropped": counts.dropped, "tie_share": counts.tie_share}
        return record


def fold_figures(
    logged: Logged, folded: Folded, rules: FoldRules, *, flip_rates: str, draws: int, seed: int = 0
) -> FoldFigures:
    """Counts and measures all.

    Args:
        logged: The log.
        folded: What became of it.
        rules: How labels followed.
        flip_rates: The argument for ``fit``.
        draws: Resamples behind intervals.
        seed: Of the resamples.
    """
    scores = logged.scores
    said = {(a, d): asked(scores, a, d) for a in range(len(scores.annotators)) for d in range(len(scores.dimensions))}

    def each(of: Any) -> dict[str, dict[str, Any]]:
        made = {
            by: {
                name: one
                for d, name in enumerate(scores.dimensions)
                if (one := of(said[a, d], draws=draws, seed=seed)) is not None
            }
            for a, by in enumerate(scores.annotators)
        }
        return {by: of_dimension for by, of_dimension in made.items() if of_dimension}

    return FoldFigures(
        rules=rules.as_record(),
        log=logged.digest,
        groups=folded.groups,
        with_scores=folded.groups - folded.without - len(folded.bad),
        complete=folded.complete,
        written=folded.written,
        bad=folded.bad,
        unknown=logged.unknown,
        outcomes={by: dict(counts) for by, counts in logged.outcomes.items()},
        models=logged.models,
        histogram=histogram(scores),
        pairs={name: counts for name, counts in folded.counts.items() if counts.pairs},
        position=each(position_bias),
        consistency=each(consistency),
        reliability=folded.reliability,
        correlations=correlations(scores),
        people={by: found for by, found in folded.people.items() if found},
        flip_rates=flip_rates,
    )


def histogram(scores: Scores) -> dict[str, dict[str, dict[str, int]]]:
    """Annotator to dimension to value to how often it was given."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for a, by in enumerate(scores.annotators):
        for d, name in enumerate(scores.dimensions):
            values = scores.of(a, d).value
            counts = Counter(values[~np.isnan(values)].tolist())
            told = {f"{value:g}": counts[value] for value in sorted(counts)}
            missing = int(np.isnan(values).sum())
            found.setdefault(by, {})[name] = told | ({"NA": missing} if missing else {})
    return found


def correlations(scores: Scores) -> list[Correlation]:
    """Of each two dimensions over candidates, aggregated by the mean."""
    mean = aggregate(scores, "mean")
    units, unit = np.unique(np.stack([mean.group, mean.candidate]), axis=1, return_inverse=True)
    table = np.full((units.shape[1], len(scores.dimensions)), np.nan)
    table[unit.ravel(), mean.dimension] = mean.value
    found = []
    for i, first in enumerate(scores.dimensions):
        for j, second in enumerate(scores.dimensions[:i]):
            both = ~np.isnan(table[:, i]) & ~np.isnan(table[:, j])
            value = float(spearman(table[both, i], table[both, j])) if both.sum() > 1 else np.nan
            found.append(Correlation(first, second, value if np.isfinite(value) else None, int(both.sum())))
    return found
