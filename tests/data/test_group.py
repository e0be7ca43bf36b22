"""The group record: comparisons that contradict it are refused, whichever part of them is wrong."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest

from rewardkit.data.group import Candidate, Comparison, Group, RecordError

SOUND: dict[str, Any] = {"dimension": "overall", "first": 0, "second": 1, "votes": (1.0, 0.0, 2.0), "weight": 0.5}
WRONG: list[tuple[str, Any, str]] = [
    *(("first", at, "points at candidates") for at in (-1, 3, 10**30)),
    *(("second", at, "points at candidates") for at in (-1, 3)),
    ("second", 0, "compares candidate 0 with itself"),
    *(
        ("votes", votes, "needs votes")
        for votes in [(), (1.0,), (1.0,) * 4, (0.0,) * 3, (-1.0, 2.0, 0.0)]
        + [tuple(votes) for votes in product((1.0, math.nan), repeat=3) if math.nan in votes]
        + [(math.inf, 0.0, 0.0), (0.0, math.inf, -math.inf)]
    ),
    *(("weight", weight, "it must be finite") for weight in (-1.0, math.nan, math.inf)),
]


def group_with(**changed: Any) -> Group:
    candidates = tuple(Candidate(f"{n}.png") for n in range(3))
    return Group("g", "p", candidates, (Comparison(**SOUND), Comparison(**SOUND | changed)))


@pytest.mark.parametrize(("field", "value", "reason"), WRONG)
def test_wrong_comparisons_are_named(field: str, value: Any, reason: str) -> None:
    with pytest.raises(RecordError, match=rf"comparison 1 \(overall\).*{reason}"):
        group_with(**{field: value})


@pytest.mark.parametrize("changed", [{}, {"weight": 0.0}, {"votes": (0.0, 1e-300, 0.0)}, {"first": 2}])
def test_sound_comparisons(changed: dict[str, Any]) -> None:
    assert len(group_with(**changed).comparisons) == 2


def test_votes_beyond_the_largest_number_together() -> None:
    assert len(group_with(votes=(1e308, 1e308, 1e308)).comparisons) == 2


def test_all_that_is_wrong_with_a_comparison_is_told() -> None:
    with pytest.raises(RecordError, match=r"itself; comparison 1 .* needs votes .*; comparison 1 .* has weight"):
        group_with(second=0, votes=(0.0, 0.0, 0.0), weight=-1.0)
