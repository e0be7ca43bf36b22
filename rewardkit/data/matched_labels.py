"""Two label sets on the same images brought together: the votes of both on each pair of candidates.

A group of one set is that of the other where the id and the prompt are the same, or else where the prompt is (an empty
one does not count) and at least two images are (equal bytes). Candidates are matched by their images alone, so that
their order may differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.group import Group
from rewardkit.data.index import ShardIndex

Pair = tuple[int, int]


@dataclass(slots=True)
class MatchedVotes:
    """Votes of both sets on one dimension.

    Attributes:
        a: ``[P][3]`` votes of set a for first, tie, second.
        b: Likewise of set b, on the same candidates in the same order.
        group: ``[P]`` position of the group in set a.
        only_a: Comparisons of set a, in matched groups, that set b does not judge.
    """

    a: list[list[float]] = field(default_factory=list)
    b: list[list[float]] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    only_a: int = 0

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """The three as arrays ``[P, 3]``, ``[P, 3]``, ``[P]``."""
        return (
            np.array(self.a, float).reshape(-1, 3),
            np.array(self.b, float).reshape(-1, 3),
            np.array(self.group, np.int64),
        )


@dataclass(slots=True)
class Matched:
    """What two label sets share.

    Attributes:
        votes: Dimension of set a to the votes.
        by_id: Groups of set a matched by their id.
        by_images: Groups matched by prompt and images.
        other_prompt: Groups whose id stands in set b under another prompt, and that nothing else matched.
        other_images: Groups whose id or prompt stands in set b, but with fewer than two images in common.
        alone: Groups of which set b knows neither id nor prompt.
    """

    votes: dict[str, MatchedVotes]
    by_id: int = 0
    by_images: int = 0
    other_prompt: int = 0
    other_images: int = 0
    alone: int = 0


def match_labels(
    a: ShardIndex,
    b: ShardIndex,
    dimensions: Mapping[str, str],
    *,
    progress: Callable[[int], None] = lambda groups: None,
) -> Matched:
    """Brings the votes of two shard sets together. Reads each matched record; holds b's hashes and the votes.

    Args:
        a: The first set.
        b: The second.
        dimensions: Dimension of a to that of b.
        progress: Called with the number of groups of a so far.

    Raises:
        BadSample: A record cannot be read.
    """
    found = Matched({name: MatchedVotes() for name in dimensions})
    of_key, of_prompt = _positions(b.key_hash), _positions(b.prompt_hash)
    starts_a, starts_b = a.starts(a.candidates), b.starts(b.candidates)
    for position in range(len(a)):
        key, prompt = int(a.key_hash[position]), int(a.prompt_hash[position])
        same_key, same_prompt = of_key.get(key, []), of_prompt.get(prompt, []) if prompt else []
        mine = a.each_candidate_hash[starts_a[position] : starts_a[position + 1]]
        by_id = [p for p in same_key if int(b.prompt_hash[p]) == prompt]
        shared = {}
        for partner in by_id or same_prompt:
            places = _places(mine, b.each_candidate_hash[starts_b[partner] : starts_b[partner + 1]])
            if len(places) > 1:
                shared[partner] = places
        if shared:
            found.by_id += bool(by_id)
            found.by_images += not by_id
            partners = [(b.record(partner), places) for partner, places in shared.items()]
            _add(found.votes, position, a.record(position), partners, dimensions)
        elif by_id or same_prompt:
            found.other_images += 1
        elif same_key:
            found.other_prompt += 1
        else:
            found.alone += 1
        progress(position + 1)
    return found


def _positions(hashes: NDArray[np.uint64]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for position, value in enumerate(hashes.tolist()):
        found[value].append(position)
    return dict(found)


def _places(mine: NDArray[np.uint64], theirs: NDArray[np.uint64]) -> dict[int, int]:
    """Candidate of b to candidate of a with the same image. Of equal images in one group the first stands for all."""
    place: dict[int, int] = {}
    for n, value in enumerate(mine.tolist()):
        place.setdefault(value, n)
    return {n: place[value] for n, value in enumerate(theirs.tolist()) if value in place}


def _add(
    votes: Mapping[str, MatchedVotes],
    position: int,
    group: Group,
    partners: list[tuple[Group, dict[int, int]]],
    dimensions: Mapping[str, str],
) -> None:
    """Enters one group of a with the groups of b that it was matched with."""
    for mine, theirs in dimensions.items():
        said = votes_on_pairs(group, mine, {n: n for n in range(len(group.candidates))})
        people: dict[Pair, list[float]] = {}
        for partner, places in partners:
            for pair, cast in votes_on_pairs(partner, theirs, places).items():
                before = people.setdefault(pair, [0.0, 0.0, 0.0])
                people[pair] = [x + y for x, y in zip(before, cast, strict=True)]
        into = votes[mine]
        for pair, cast in said.items():
            if pair not in people:
                into.only_a += 1
                continue
            into.a.append(cast)
            into.b.append(people[pair])
            into.group.append(position)


def votes_on_pairs(group: Group, dimension: str, places: Mapping[int, int]) -> dict[Pair, list[float]]:
    """Votes on each pair of candidates, the smaller place first; a pair compared twice has the votes of both."""
    found: dict[Pair, list[float]] = {}
    for comparison in comparisons_of(group, dimension):
        first, second = places.get(comparison.first), places.get(comparison.second)
        if first is None or second is None or first == second:
            continue
        votes = comparison.votes if first < second else comparison.votes[::-1]
        before = found.setdefault((min(first, second), max(first, second)), [0.0, 0.0, 0.0])
        for side in range(3):
            before[side] += votes[side]
    return found
