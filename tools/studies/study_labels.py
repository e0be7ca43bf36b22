"""Label sets whose faults are known: the same pictures, labelled anew by a law that is at hand.

Of the embedded dataset the law is the one its votes were drawn from, worked out from each record's seed and index. Of
sets that people rated it is their votes: a vote of the law is the vote of one person, drawn at random.

==========  ============================================================================================
clean       one vote on each comparison, first, tie or second, as the law has it
flipped     the same votes, and one in five of those that take a side is turned round
sparse      of the clean votes one in ten: each group speaks to one dimension only, and to some of its pairs
ties        scores from 1 to 5 for each picture, mostly 4, so that seven comparisons in ten are ties; the
            score follows the picture's worth and a noise of a little more than half its spread
==========  ============================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from rewardkit.data.comparisons import all_comparisons, comparisons_of
from rewardkit.data.demo.dataset import plan_group
from rewardkit.data.demo.voters import LOG_THETA, SHARPNESS, answer_law, utilities
from rewardkit.data.group import NOT_APPLICABLE, Answer, Comparison, Group
from rewardkit.data.index import ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.new_folder import new_folder
from rewardkit.data.shard_writer import ShardWriter

CONDITIONS = ("clean", "ties", "flipped", "sparse")
FLIPPED = 0.2
"""Share of the votes for a side that ``flipped`` turns round."""
KEPT = 0.1
"""Share of the comparisons that ``sparse`` keeps."""
SCORE_SHARES = (0.02, 0.04, 0.08, 0.83, 0.03)
"""Shares of the scores 1 to 5 of ``ties``: 70 % of independent pairs have equal ones."""
SCORE_NOISE = 0.6
"""Standard deviation of a score's noise, in spreads of the worth."""


@dataclass(frozen=True)
class Law:
    """What is true of a group.

    Attributes:
        worth: Dimension to the candidates' worth, higher is better.
        answers: (dimension, first, second) to the probabilities of first, tie, second.
    """

    worth: Mapping[str, Sequence[float]]
    answers: Mapping[tuple[str, int, int], tuple[float, float, float]]


@dataclass(frozen=True)
class LabelSet:
    """A set that was written.

    Attributes:
        comparisons: Over all groups.
        ties: Share of them that are ties.
    """

    folder: Path
    groups: int
    comparisons: int
    ties: float


def law_of_demo(group: Group, dimensions: Sequence[str]) -> Law:
    """The law that the votes of a group of the embedded dataset were drawn from."""
    said = group.provenance
    plan = plan_group(seed=said["seed"], index=said["index"], split=said["split"])
    values = [utilities(levels) for levels in plan.levels]
    return Law(
        worth={d: [value[d] for value in values] for d in dimensions},
        answers={
            (d, i, j): answer_law(SHARPNESS[d] * (values[i][d] - values[j][d]), LOG_THETA[d])
            for d in dimensions
            for i, j in combinations(range(len(values)), 2)
        },
    )


def law_of_people(group: Group, dimensions: Sequence[str]) -> Law:
    """The votes and mean ratings of people as a law; a picture that nobody rated has the mean of the others."""
    worth, answers = {}, {}
    for d in dimensions:
        said: list[list[float]] = [[] for _ in group.candidates]
        for answer in group.answers:
            if answer.dimension == d and answer.value != NOT_APPLICABLE:
                said[answer.candidate].append(float(answer.value))
        overall = float(np.mean([value for values in said for value in values]))
        worth[d] = [float(np.mean(values)) if values else overall for values in said]
        for c in comparisons_of(group, d):
            first, tie, second = (votes / sum(c.votes) for votes in c.votes)
            answers[d, c.first, c.second] = (first, tie, second)
    return Law(worth, answers)


def write_label_sets(
    source: Path,
    out: Path,
    *,
    law: Callable[[Group, Sequence[str]], Law],
    dimensions: Sequence[str],
    seed: int,
    conditions: Sequence[str] = CONDITIONS,
) -> dict[str, LabelSet]:
    """Writes ``out/CONDITION`` for each condition, where it is not there yet. The same seed gives the same bytes.

    Args:
        source: Shard set with the pictures.
        out: Folder of the sets.
        law: What is true of a group.
        dimensions: Those that are labelled.
        seed: Of all that is drawn.
        conditions: Which.
    """
    index = ShardIndex.open(source)
    laws = [law(index.record(position), dimensions) for position in range(len(index))]
    scores = _scores(laws, dimensions, seed)
    written = {}
    for condition in conditions:
        folder = out / condition
        if not folder.is_dir():
            with new_folder(folder) as part:
                with ShardWriter(part, condition) as writer:
                    for position in range(len(index)):
                        sample = index.sample(position)
                        group = _labelled(sample.group, condition, laws[position], scores[position], dimensions, seed)
                        if group.comparisons or group.answers:
                            writer.write(group, sample.images)
                build_index(part, made={"action": "study", "condition": condition, "seed": seed})
        written[condition] = _described(folder)
    return written


def write_first_groups(source: Path, out: Path, groups: int) -> Path:
    """The first groups of a set as they are, where they are not there yet."""
    if not out.is_dir():
        index = ShardIndex.open(source)
        with new_folder(out) as part:
            with ShardWriter(part, "people") as writer:
                for position in range(min(groups, len(index))):
                    sample = index.sample(position)
                    writer.write(sample.group, sample.images)
            build_index(part)
    return out


def _labelled(
    group: Group,
    condition: str,
    law: Law,
    scores: Mapping[str, Sequence[int]],
    dimensions: Sequence[str],
    seed: int,
) -> Group:
    bare = replace(group, comparisons=(), rankings=(), answers=())
    if condition == "ties":
        said = [Answer(d, n, "scorer", float(score)) for d in dimensions for n, score in enumerate(scores[d])]
        return replace(bare, answers=tuple(said))
    votes = list(_votes(group, law, seed))
    rng = _random(seed, group.id, condition)
    if condition == "flipped":
        votes = [(pair, 2 - vote if rng.random() < FLIPPED else vote) for pair, vote in votes]
    elif condition == "sparse":
        only = dimensions[int(rng.integers(len(dimensions)))]
        share = KEPT * len(dimensions)  # of the one dimension's comparisons
        votes = [(pair, vote) for pair, vote in votes if pair[0] == only and rng.random() < share]
    cast = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return replace(bare, comparisons=tuple(Comparison(*pair, cast[vote]) for pair, vote in votes))


def _votes(group: Group, law: Law, seed: int) -> Iterator[tuple[tuple[str, int, int], int]]:
    """One vote on each comparison: 0 for first, 1 for a tie, 2 for second; the same in every condition."""
    rng = _random(seed, group.id, "votes")
    for pair, shares in law.answers.items():
        yield pair, int(rng.choice(3, p=np.asarray(shares) / sum(shares)))


def _scores(laws: Sequence[Law], dimensions: Sequence[str], seed: int) -> list[dict[str, list[int]]]:
    """Scores 1 to 5 of every candidate of every group: worth and noise, cut where the shares of the scores ask."""
    found: list[dict[str, list[int]]] = [{} for _ in laws]
    for n, d in enumerate(dimensions):
        worth = np.array([value for law in laws for value in law.worth[d]])
        rng = np.random.default_rng([seed, n])
        seen = worth + SCORE_NOISE * worth.std() * rng.standard_normal(len(worth))
        cuts = np.quantile(seen, np.cumsum(SCORE_SHARES)[:-1])
        scores = 1 + np.searchsorted(cuts, seen)
        start = 0
        for place, law in zip(found, laws, strict=True):
            place[d] = scores[start : start + len(law.worth[d])].tolist()
            start += len(law.worth[d])
    return found


def _described(folder: Path) -> LabelSet:
    index = ShardIndex.open(folder)
    comparisons = [c for position in range(len(index)) for c in all_comparisons(index.record(position))]
    ties = sum(c.votes[1] > max(c.votes[0], c.votes[2]) for c in comparisons)
    return LabelSet(folder, len(index), len(comparisons), ties / len(comparisons))


def _random(seed: int, name: str, purpose: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{purpose} {name}".encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "little")])
