"""From what was said to the record: candidates, votes, rankings, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.gathered import Gathered, ImagePlace
from rewardkit.data.group import Candidate, Group
from rewardkit.data.grouping import Grouped, build_group, gather, read_groups
from rewardkit.data.reading.format import ReadLog, Row, TooManyBadRows, say_each
from rewardkit.data.reading.statements import Choice, Order, Rating, Said, Statement, WholeRecord
from rewardkit.data.spool import Spool


def built(*statements: Said, id: str | None = None, bytes_of: dict[str, ImagePlace] | None = None) -> Grouped:
    return build_group(Gathered(0, "p", None, id, list(statements), bytes_of or {}), "test")


def said(*images: str, line: int = 1, **more: Any) -> Statement:
    return Statement(prompt="p", line=line, images=images, file="f", **more)


def choice(first: str, second: str, *votes: float, line: int = 1, **more: Any) -> Choice:
    return Choice(prompt="p", line=line, images=(first, second), votes=votes, file="f", **more)  # type: ignore[arg-type]


def rating(image: str, value: Any, line: int = 1, **more: Any) -> Rating:
    return Rating(prompt="p", line=line, images=(image,), value=value, file="f", **more)


def order(line: int = 1, by: str = "ann", **ranks: float | None) -> Order:
    return Order(prompt="p", line=line, images=tuple(ranks), ranks=tuple(ranks.values()), by=by, file="f")


def bad(grouped: Grouped) -> list[str]:
    return [str(row) for row in grouped.bad]


def test_equal_names_are_one_candidate_in_the_order_of_appearance() -> None:
    made = built(
        said("b", "a", folder="img", generators=(None, "x")),
        choice("c", "b", 1, 0, 0, generators=("z", "y")),
        bytes_of={"c": ImagePlace("c", "", 5, 7)},
    )
    assert [(c.file, c.generator) for c in made.group.candidates] == [("b", "y"), ("a", "x"), ("c", "z")]
    assert made.images == [ImagePlace("b", "img"), ImagePlace("a", "img"), ImagePlace("c", "", 5, 7)]
    assert made.group.provenance == {"format": "test", "file": "f", "line": 1}
    assert not made.bad and not made.notes


def test_the_id_is_the_sources_or_follows_from_group_and_prompt() -> None:
    assert built(said("a"), id="x").group.id == "x"
    first = built(said("a")).group.id
    assert first == built(said("b"), said("a")).group.id and len(first) == 16
    assert first != build_group(Gathered(0, "p", "1", None, [said("a")], {}), "test").group.id


def test_votes_on_one_pair_are_added_whatever_their_order() -> None:
    made = built(
        choice("a", "b", 1, 0, 0),
        choice("b", "a", 1, 0.5, 0),
        choice("a", "b", 0, 0, 2, weight=0.5),
        choice("a", "b", 0, 1, 0, dimension="d"),
    )
    found = [(c.dimension, c.first, c.second, c.votes, c.weight) for c in made.group.comparisons]
    assert found == [
        ("overall", 0, 1, (1, 0.5, 1), 1),
        ("overall", 0, 1, (0, 0, 2), 0.5),
        ("d", 0, 1, (0, 1, 0), 1),
    ]


def test_a_named_persons_choice_is_kept_as_that_persons_order() -> None:
    made = built(said("c"), choice("b", "a", 0, 0, 1, by="ann"), choice("a", "b", 0, 1, 0, by="bo"))
    assert [(r.by, r.ranks) for r in made.group.rankings] == [("ann", (None, 2, 1)), ("bo", (None, 1, 1))]
    assert not made.group.comparisons and not made.notes


@pytest.mark.parametrize("more", [{"weight": 0.5, "by": "bo"}, {"by": ""}, {"by": "bo", "votes": (0.5, 0, 0.5)}])
def test_names_are_lost_only_where_votes_cannot_be_orders_and_it_is_noted(more: dict[str, Any]) -> None:
    votes = more.pop("votes", (0, 1, 0))
    made = built(choice("a", "b", 1, 0, 0, by="ann"), choice("a", "b", *votes, **more))
    assert not made.group.rankings and sum(sum(c.votes) for c in made.group.comparisons) == 2
    [note] = made.notes
    assert "became votes without the raters' names" in note


def test_comparisons_beside_ratings_are_noted() -> None:
    made = built(choice("a", "b", 1, 0, 0), rating("a", 3.0), rating("b", "NA", rationale="no"))
    assert len(made.group.comparisons) == 1
    assert [(a.candidate, a.value, a.rationale) for a in made.group.answers] == [(0, 3, None), (1, "NA", "no")]
    [note] = made.notes
    assert "beside ratings or rankings on 'overall'" in note


def test_orders_of_several_images_are_rankings_of_their_own() -> None:
    made = built(order(a=1, b=2), order(c=1, a=1.5), order(b=None, a=1), order(by="bo", a=1, c=2))
    assert [(r.by, r.ranks) for r in made.group.rankings] == [
        ("ann", (1, 2, None)),
        ("ann", (1.5, None, 1)),
        ("ann", (1, None, None)),
        ("bo", (1, None, 2)),
    ]
    assert not made.bad


def test_ranks_of_single_images_are_joined_for_each_person_and_dimension() -> None:
    other = Order(prompt="p", line=9, images=("a",), ranks=(2.0,), by="ann", dimension="d")
    another = Order(prompt="p", line=10, images=("b",), ranks=(1.0,), by="ann", dimension="d")
    made = built(order(a=2), order(by="bo", c=1), other, order(a=1, b=2, c=3), order(b=1), order(by="bo", a=1), another)
    assert [(r.dimension, r.by, r.ranks) for r in made.group.rankings] == [
        ("overall", "ann", (2, None, 1)),
        ("overall", "bo", (1, 1, None)),
        ("d", "ann", (2, None, 1)),
        ("overall", "ann", (1, 3, 2)),
    ]
    assert not made.bad


def test_an_image_ranked_twice_by_a_person_and_a_person_who_ranks_one_image() -> None:
    made = built(order(1, a=2), order(2, b=1), order(3, a=3), order(4, by="bo", a=1), order(5, by="", b=2))
    assert [(r.by, r.ranks) for r in made.group.rankings] == [("ann", (2, 1))]
    assert bad(made) == [
        "f:3: rater 'ann' ranked 'a' already in line 1; several people's rankings need the rater's name",
        "f:4: rater 'bo' ranks only one image of this prompt; a ranking needs two",
        "f:5: the ranking without a rater ranks only one image of this prompt; a ranking needs two",
    ]


def test_a_statement_that_contradicts_an_earlier_one_is_left_out_whole() -> None:
    made = built(
        choice("a", "b", 1, 0, 0, generators=("x", None), tags={"style": "anime"}),
        choice("a", "c", 1, 0, 0, line=2, generators=("y", "z")),
        choice("a", "d", 1, 0, 0, line=3, tags={"style": "photo"}),
        choice("a", "b", 0, 0, 1, line=4, generators=("x", "w"), tags={"style": "anime", "more": "1"}),
    )
    assert [row.split(": ")[0] for row in bad(made)] == ["f:2", "f:3"]
    assert "is said to come from generator 'y', but an earlier row of this prompt says 'x'" in bad(made)[0]
    assert "tag 'style' is 'photo', but an earlier row of this prompt says 'anime'" in bad(made)[1]
    assert [(c.file, c.generator) for c in made.group.candidates] == [("a", "x"), ("b", "w")]
    assert made.group.comparisons[0].votes == (1, 0, 1)
    assert made.group.tags == {"style": "anime", "more": "1"}


def test_of_slots_the_first_row_decides() -> None:
    made = built(said("a", slots={"raw_prompt": "P"}), said("b", slots={"raw_prompt": "Q", "n": 1}))
    assert made.group.slots == {"raw_prompt": "P", "n": 1} and not made.bad


def test_a_whole_record_stays_as_it_is_but_for_its_place() -> None:
    group = Group("g", "p", (Candidate("a"), Candidate("b")), provenance={"line": 7, "who": "me"})
    made = built(WholeRecord(line=3, record=group, file="f", folder="img"))
    assert made.group.provenance == {"format": "test", "file": "f", "line": 7, "who": "me"}
    assert made.images == [ImagePlace("a", "img"), ImagePlace("b", "img")]


def comparisons(grouped: Grouped) -> list[tuple[float, float, float]]:
    return [c.votes for c in comparisons_of(grouped.group, "overall")]


@dataclass
class NoOptions:
    """None."""


class Letters:
    """A format whose rows are single letters in memory: a prompt each, ``!`` is a bad row."""

    name = "letters"
    summary = ""
    options = NoOptions

    def __init__(self, letters: str) -> None:
        self.letters = letters
        self.ahead = 0

    def matches(self, src: Path) -> bool:
        return False

    def read(self, src: Path, options: Any, log: ReadLog) -> Iterator[Said]:
        def rows() -> Iterator[Row]:
            for line, letter in enumerate(self.letters, start=1):
                log.rows += 1
                self.ahead += 1
                yield Row("f", line, {"letter": letter})

        yield from say_each(rows(), log, self.say)

    def say(self, row: Row) -> list[Said]:
        letter = row.values["letter"]
        if letter == "!":
            raise ValueError("no letter")
        return [
            Choice(prompt=letter, line=row.line, file="f", images=("a", "b"), votes=(1, 0, 0), id=letter.lower()),
        ]


def test_reading_all_groups_of_a_source(tmp_path: Path) -> None:
    log = ReadLog()
    made = read_groups(Letters("baa!bcB" * 3), tmp_path, None, log)
    assert [(grouped.group.prompt, comparisons(grouped)) for grouped in made] == [
        ("b", [(6, 0, 0)]),
        ("a", [(6, 0, 0)]),
        ("c", [(3, 0, 0)]),
    ]
    assert log.rows == 21
    # Rows that cannot be read, and those that do not go with an earlier one ("B" has the id of "b").
    assert [row.line for row in log.bad] == [4, 7, 11, 14, 18, 21]
    assert "the group id 'b' is that of another group, at f:1" in log.bad[1].reason


def test_too_many_bad_rows_are_refused_with_all_their_names(tmp_path: Path) -> None:
    with pytest.raises(TooManyBadRows, match=r"11 of 1,000 rows cannot be used") as caught:
        read_groups(Letters("!" * 11 + "a" * 989), tmp_path)
    assert [row.line for row in caught.value.bad] == list(range(1, 12))
    log = ReadLog(max_bad_fraction=0.02)
    read_groups(Letters("!" * 11 + "a" * 989), tmp_path, None, log)
    assert len(log.bad) == 11
    with pytest.raises(TooManyBadRows, match=r"2 of 3 rows cannot be used"):
        read_groups(Letters("!!a"), tmp_path)


def test_a_hopeless_source_is_not_read_to_its_end(tmp_path: Path) -> None:
    format = Letters("!" * 100_000)
    with pytest.raises(TooManyBadRows, match=r"100 of 100 rows read so far cannot be used"):
        read_groups(format, tmp_path)
    assert format.ahead == 100


def test_gathering_takes_rows_as_they_come(tmp_path: Path) -> None:
    format = Letters("ab" * 1000)
    seen = []

    class Watched(Spool):
        def add(self, said: Said) -> bool:
            seen.append(format.ahead)
            return super().add(said)

    with Watched(tmp_path) as spool:
        assert gather(format.read(tmp_path, None, ReadLog()), spool, ReadLog()) == 2
    assert seen == list(range(1, 2001))
