"""Agreement of an annotation with people, where people judged some of its groups: by dimension, with intervals.

- **pair accuracy** on the comparisons that people decided: ``strict`` (equal scores are wrong) and ``half`` (one half);
- **tau-b** between scores and the people's order, mean over groups;
- **kappa** (quadratic weights) and **alpha** (Krippendorff's), of answers where people gave some on the question's
  scale: the mean of theirs against the score (kappa of both rounded to a level; alpha is the interval one). Else of
  comparisons: verdicts of win, tie, loss, ordered (alpha is the ordinal one). Which candidate stands first is an
  accident, so each comparison counts half as it stands and half the other way round;
- the **flip rate**, with people's own disagreement taken out (``metrics/flip_rate.py``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rewardkit.annotate.consistency import alpha_estimate
from rewardkit.annotate.estimates import Estimate, Floats, estimate
from rewardkit.data.group import NOT_APPLICABLE, Group
from rewardkit.data.index import Scale
from rewardkit.data.matched_labels import votes_on_pairs
from rewardkit.data.predictions import PredictionRows
from rewardkit.metrics.agreement import kappa_of_confusions
from rewardkit.metrics.evaluate import judged
from rewardkit.metrics.flip_rate import FlipRate, flip_rate
from rewardkit.metrics.judged_pairs import UNDECIDED, verdicts
from rewardkit.metrics.protocols import accuracy
from rewardkit.metrics.rank_protocols import measure_kendall
from rewardkit.metrics.results import Result


@dataclass(frozen=True, slots=True)
class WithPeople:
    """Agreement on one dimension; see the module's docstring.

    Attributes:
        strict: ``n`` counts comparisons.
        half: Likewise.
        tau_b: ``n`` counts groups.
        kappa: ``n`` counts candidates or comparisons, as ``of`` says.
        alpha: Likewise.
        of: ``answers`` or ``comparisons``.
        flips: Of the comparisons that both judged.
    """

    strict: Estimate
    half: Estimate
    tau_b: Estimate
    kappa: Estimate
    alpha: Estimate
    of: str
    flips: FlipRate


class AgreementWithPeople:
    """Takes groups one by one; ``found`` gives the agreement of one speaker on each dimension.

    Args:
        people: Dimension of the annotation to that of the people's labels.
        scales: Dimension to the scale of its questions; none where answers are no numbers of it (``bradley_terry``).
    """

    def __init__(self, people: Mapping[str, str], scales: Mapping[str, Scale]) -> None:
        self._people, self._scales = dict(people), dict(scales)
        self._rows = PredictionRows(tuple(people))
        self._answers: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
        self._votes: dict[str, list[tuple[int, list[float], list[float]]]] = defaultdict(list)
        self._off_scale: set[str] = set()

    def add(self, number: int, people: Group, annotated: Group, values: Mapping[str, Floats]) -> None:
        """Adds a group.

        Args:
            number: The group's, different for every group.
            people: With the people's labels; where none is on a dimension, nothing is added to it.
            annotated: The same group with the annotation's comparisons.
            values: Dimension to scores ``[K]`` of the annotation; NaN: none.
        """
        said = self._as_annotated(people)
        if not said.dimensions:
            return
        table = np.stack([values[name] for name in self._people], axis=1)
        self._rows.add(said, table.tolist(), number=number, key=people.id, source="")
        same = {n: n for n in range(len(people.candidates))}
        for name in said.dimensions:
            theirs = votes_on_pairs(said, name, same)
            for pair, votes in votes_on_pairs(annotated, name, same).items():
                if pair in theirs:
                    self._votes[name].append((number, votes, theirs[pair]))
        self._add_answers(number, said, values)

    def _add_answers(self, number: int, said: Group, values: Mapping[str, Floats]) -> None:
        numbers: dict[tuple[str, int], list[float]] = defaultdict(list)
        for answer in said.answers:
            if answer.value != NOT_APPLICABLE:
                value, scale = float(answer.value), self._scales.get(answer.dimension)
                numbers[answer.dimension, answer.candidate].append(value)
                if scale is None or not scale.low <= value <= scale.high or value != round(value):
                    self._off_scale.add(answer.dimension)
        for (name, candidate), of in numbers.items():
            if not np.isnan(values[name][candidate]):
                self._answers[name].append((number, sum(of) / len(of), float(values[name][candidate])))

    def _as_annotated(self, people: Group) -> Group:
        """The people's labels under the names of the annotation's dimensions."""
        names = defaultdict(list)
        for name, theirs in self._people.items():
            names[theirs].append(name)
        return replace(
            people,
            comparisons=tuple(replace(c, dimension=name) for c in people.comparisons for name in names[c.dimension]),
            rankings=tuple(replace(r, dimension=name) for r in people.rankings for name in names[r.dimension]),
            answers=tuple(replace(a, dimension=name) for a in people.answers for name in names[a.dimension]),
        )

    def found(self, *, draws: int, seed: int = 0) -> dict[str, WithPeople]:
        """Dimension to agreement, of those that people judged."""
        table = self._rows.predictions()
        parts = judged(table, by_ranks=False)
        made = {}
        for name in self._people:
            part = parts.get(name)
            if part is None or not (len(part.by_votes) or part.candidates["human_rank"].notna().any()):
                continue
            votes = self._votes[name]
            numbers = np.array([number for number, _, _ in votes], np.int64)
            ours, theirs = (np.array([row[n] for row in votes], float).reshape(-1, 3) for n in (1, 2))
            kappa, alpha, of = self._chance_corrected(name, ours, theirs, numbers, draws, seed)
            made[name] = WithPeople(
                strict=_estimate_of(accuracy(part.by_votes, "strict_micro", draws=draws, seed=seed)),
                half=_estimate_of(accuracy(part.by_votes, "half_micro", draws=draws, seed=seed)),
                tau_b=_tau(measure_kendall(part.candidates)[0].result(draws=draws, seed=seed)),
                kappa=kappa,
                alpha=alpha,
                of=of,
                flips=flip_rate(ours, theirs, numbers, draws=draws, seed=seed),
            )
        return made

    def _chance_corrected(
        self, name: str, ours: Floats, theirs: Floats, numbers: np.ndarray, draws: int, seed: int
    ) -> tuple[Estimate, Estimate, str]:
        if self._answers[name] and name not in self._off_scale:
            scale, table = self._scales[name], np.array(self._answers[name])
            group = np.unique(table[:, 0], return_inverse=True)[1]
            alpha = alpha_estimate(table[:, 1:].T, group, "interval", draws=draws, seed=seed)
            place = np.floor(table[:, 1:] + 0.5).astype(np.int64) - int(scale.low)
            levels = int(scale.high - scale.low) + 1
            return kappa_estimate(place[:, 0], place[:, 1], levels, group, draws=draws, seed=seed), alpha, "answers"
        a, b = verdicts(*ours.T), verdicts(*theirs.T)
        known = (a != UNDECIDED) & (b != UNDECIDED)
        a, b = a[known].astype(np.int64), b[known].astype(np.int64)
        group = np.tile(np.unique(numbers[known], return_inverse=True)[1], 2)
        both = np.concatenate([a, -a]), np.concatenate([b, -b])
        alpha = alpha_estimate(np.stack(both).astype(float), group, "ordinal", draws=draws, seed=seed)
        kappa = kappa_estimate(both[0] + 1, both[1] + 1, 3, group, draws=draws, seed=seed)
        return replace(kappa, n=kappa.n // 2), replace(alpha, n=alpha.n // 2), "comparisons"


def kappa_estimate(
    a: np.ndarray, b: np.ndarray, levels: int, group: np.ndarray, *, draws: int, seed: int = 0
) -> Estimate:
    """Quadratic-weighted kappa with its interval.

    Args:
        a: ``[n]`` levels 0 to ``levels - 1`` of one rater.
        b: ``[n]`` of the other.
        levels: Levels of the scale.
        group: ``[n]``, whole numbers from 0.
        draws: Resamples of groups.
        seed: Of the resamples.
    """
    size = int(group.max()) + 1 if len(group) else 0
    sums = np.zeros((size, levels, levels))
    np.add.at(sums, (group, a, b), 1.0)

    def statistic(drawn: Floats) -> Floats:
        return kappa_of_confusions(drawn.reshape(-1, levels, levels))

    return estimate(sums.reshape(size, -1), sums.sum(axis=(1, 2)), statistic, draws=draws, seed=seed)


def people_dimensions(dimensions: Sequence[str], dimension_map: Mapping[str, str | None]) -> dict[str, str]:
    """Dimension of the annotation to that of the people's labels; those mapped to null are left out."""
    wanted = {name: dimension_map.get(name, name) for name in dimensions}
    return {name: people for name, people in wanted.items() if people is not None}


def _estimate_of(result: Result) -> Estimate:
    return Estimate(result.value, result.low, result.high, result.comparisons, result.groups)


def _tau(result: Result) -> Estimate:
    return Estimate(result.value, result.low, result.high, result.groups, result.groups)
