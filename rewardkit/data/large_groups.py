"""Groups of more candidates than a batch can hold, as several groups that together keep each comparison once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from rewardkit.data.comparisons import all_comparisons
from rewardkit.data.group import Comparison, Group
from rewardkit.data.subset import subset
from rewardkit.errors import UserError

SMALLEST_LIMIT = 2
"""A comparison needs two candidates, so no limit can be below."""


def split_large(group: Group, max_candidates: int) -> list[tuple[Group, tuple[int, ...]]]:
    """Parts of a group with at most ``max_candidates`` candidates each.

    A group that fits comes back as it is. Otherwise its comparisons are derived first (``comparisons_of``) and each is
    given to exactly one part, so that no vote is lost and none counts twice; a candidate's answers, and the part of a
    ranking that is on it, go to the first part that holds the candidate.

    Returns:
        Parts with ids ``ID-0``, ``ID-1``, …, and for each the positions of its candidates in the given group.

    Raises:
        UserError: ``max_candidates`` is below 2.
    """
    if max_candidates < SMALLEST_LIMIT:
        raise UserError(f"max_candidates={max_candidates}: a comparison needs two candidates, so it must be at least 2")
    if len(group.candidates) <= max_candidates:
        return [(group, tuple(range(len(group.candidates))))]
    comparisons = all_comparisons(group)
    blocks = _blocks(len(group.candidates), {(c.first, c.second) for c in comparisons}, max_candidates)
    left: list[Comparison] = list(comparisons)
    homeless = set(range(len(group.candidates)))
    parts: list[tuple[Group, tuple[int, ...]]] = []
    for block in blocks:
        members = set(block)
        kept = [c for c in left if c.first in members and c.second in members]
        home = homeless & members
        if not kept and not home:
            continue
        left = [c for c in left if c.first not in members or c.second not in members]
        homeless -= home
        parts.append((_part(group, block, kept, home, f"{group.id}-{len(parts)}"), block))
    assert not left, "the blocks cover every pair"
    assert not homeless, "the blocks hold every candidate"
    return parts


def _part(group: Group, block: tuple[int, ...], kept: Sequence[Comparison], home: set[int], name: str) -> Group:
    """One part: the block's candidates, the comparisons given to it, and the other labels of its home candidates."""
    rankings = tuple(
        replace(ranking, ranks=tuple(rank if n in home else None for n, rank in enumerate(ranking.ranks)))
        for ranking in group.rankings
    )
    answers = tuple(answer for answer in group.answers if answer.candidate in home)
    mine = replace(group, id=name, comparisons=tuple(kept), rankings=rankings, answers=answers)
    return subset(replace(mine, provenance={**group.provenance, "part_of": group.id}), block)


def _blocks(count: int, pairs: set[tuple[int, int]], limit: int) -> Iterator[tuple[int, ...]]:
    """Blocks of at most ``limit`` of ``count`` candidates; each of the pairs lies in at least one.

    Candidates that are connected by pairs stay together where they fit. Those that do not fit are cut into slices of
    half the limit, and every two slices make a block.
    """
    room: list[list[int]] = []
    for component in _components(count, pairs):
        if len(component) > limit:
            half = limit // 2
            slices = [component[start : start + half] for start in range(0, len(component), half)]
            yield from (tuple(sorted(one + other)) for one, other in combinations(slices, 2))
            continue
        block = next((block for block in room if len(block) + len(component) <= limit), None)
        if block is None:
            room.append(list(component))
        else:
            block.extend(component)
    yield from (tuple(sorted(block)) for block in room)


def _components(count: int, pairs: set[tuple[int, int]]) -> list[list[int]]:
    """Candidates that pairs connect, directly or through others; each list and the lists themselves in order."""
    root = list(range(count))

    def find(candidate: int) -> int:
        while root[candidate] != candidate:
            root[candidate] = root[root[candidate]]
            candidate = root[candidate]
        return candidate

    for first, second in sorted(pairs):
        a, b = find(first), find(second)
        root[max(a, b)] = min(a, b)
    components: dict[int, list[int]] = {}
    for candidate in range(count):
        components.setdefault(find(candidate), []).append(candidate)
    return list(components.values())
