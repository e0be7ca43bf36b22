"""Splitting keeps each comparison's votes exactly once, each answer once, and never exceeds the limit."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit.data.comparisons import all_comparisons
from rewardkit.data.group import Answer, Candidate, Comparison, Group, Ranking
from rewardkit.data.large_groups import split_large
from rewardkit.errors import UserError


def candidates(count):
    return tuple(Candidate(f"{n}.jpg") for n in range(count))


def votes(groups):
    """Votes per dimension and pair of file names, summed over groups, and how many comparisons hold them."""
    found = defaultdict(list)
    for group in groups:
        for c in all_comparisons(group):
            a, b = group.candidates[c.first].file, group.candidates[c.second].file
            key, value = ((a, b), c.votes) if a < b else ((b, a), c.votes[::-1])
            found[c.dimension, *key].append(value)
    return dict(found)


@st.composite
def labelled_groups(draw):
    count = draw(st.integers(1, 14))
    position = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(position, position).filter(lambda p: p[0] < p[1]), unique=True, max_size=20))
    ranks = st.lists(st.one_of(st.none(), st.integers(1, 4)), min_size=count, max_size=count)
    return Group(
        "g",
        "p",
        candidates(count),
        tuple(Comparison("given", i, j, (1.0, 2.0, 3.0)) for i, j in pairs),
        tuple(Ranking("ranked", f"r{n}", tuple(r)) for n, r in enumerate(draw(st.lists(ranks, max_size=3)))),
        tuple(
            Answer("rated", c, by, value)
            for c, by, value in draw(
                st.lists(st.tuples(position, st.sampled_from("xy"), st.sampled_from([1.0, 2.0, "NA"])), max_size=20)
            )
        ),
    )


@settings(max_examples=150, deadline=None)
@given(labelled_groups(), st.integers(2, 6))
def test_every_vote_is_kept_once(group, limit):
    parts = split_large(group, limit)
    assert votes(part for part, _ in parts) == votes([group])
    assert all(len(part.candidates) <= limit for part, _ in parts)
    answers = sorted((part.candidates[a.candidate].file, a.by, str(a.value)) for part, _ in parts for a in part.answers)
    assert answers == sorted((group.candidates[a.candidate].file, a.by, str(a.value)) for a in group.answers)
    for part, members in parts:
        assert [c.file for c in part.candidates] == [group.candidates[m].file for m in members]
    assert {c.file for part, _ in parts for c in part.candidates} == {c.file for c in group.candidates}


def test_a_group_that_fits_is_left_alone():
    group = Group("g", "p", candidates(16))
    assert split_large(group, 16) == [(group, tuple(range(16)))]


def test_all_pairs_of_forty_candidates():
    group = Group("g", "p", candidates(40), rankings=(Ranking("overall", "ann", tuple(range(1, 41))),))
    parts = split_large(group, 16)
    assert len(parts) == 10  # five slices of eight, every two together
    assert [part.id for part, _ in parts] == [f"g-{n}" for n in range(10)]
    assert votes(part for part, _ in parts) == votes([group])
    assert parts[0][0].provenance["part_of"] == "g"


def test_single_pairs_are_packed_not_multiplied():
    pairs = tuple(Comparison("overall", 2 * n, 2 * n + 1, (1.0, 0.0, 0.0)) for n in range(20))
    parts = split_large(Group("g", "p", candidates(40), pairs), 16)
    assert [len(part.candidates) for part, _ in parts] == [16, 16, 8]


def test_captions_follow_their_candidates():
    group = Group("g", "p", candidates(3), slots={"captions": ["a", "b", "c"], "subject": "cat"})
    parts = split_large(group, 2)
    assert [part.slots for part, _ in parts] == [
        {"captions": ["a", "b"], "subject": "cat"},
        {"captions": ["c"], "subject": "cat"},
    ]


def test_a_limit_below_two_is_refused():
    with pytest.raises(UserError, match="at least 2"):
        split_large(Group("g", "p", candidates(3)), 1)
