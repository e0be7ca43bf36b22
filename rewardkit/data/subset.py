"""Some candidates of a group, as a group of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rewardkit.data.group import Group, Ranking


def subset(group: Group, members: Sequence[int]) -> Group:
    """The group with only the candidates at the given positions, in that order.

    Comparisons and answers that point at others are dropped, rankings are cut down to the candidates kept and dropped
    where they rank fewer than two of them; captions (``slots["captions"]``) and the images' own names
    (``provenance["files"]``) follow their candidates.
    """
    place = {candidate: n for n, candidate in enumerate(members)}
    rankings: list[Ranking] = []
    for ranking in group.rankings:
        ranks = tuple(ranking.ranks[candidate] for candidate in members)
        if sum(rank is not None for rank in ranks) > 1:
            rankings.append(replace(ranking, ranks=ranks))
    return replace(
        group,
        candidates=tuple(group.candidates[candidate] for candidate in members),
        comparisons=tuple(
            replace(c, first=place[c.first], second=place[c.second])
            for c in group.comparisons
            if c.first in place and c.second in place
        ),
        rankings=tuple(rankings),
        answers=tuple(replace(a, candidate=place[a.candidate]) for a in group.answers if a.candidate in place),
        slots={name: _follow(value, name == "captions", group, members) for name, value in group.slots.items()},
        provenance={name: _follow(value, name == "files", group, members) for name, value in group.provenance.items()},
    )


def _follow(value: object, per_candidate: bool, group: Group, members: Sequence[int]) -> object:
    """A list with one entry per candidate cut down to the members; anything else as it is."""
    if per_candidate and isinstance(value, list) and len(value) == len(group.candidates):
        return [value[candidate] for candidate in members]
    return value
