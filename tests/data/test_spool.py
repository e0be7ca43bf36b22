"""The spool: statements in any order come back by group, from disk, with the bytes of images once each."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rewardkit.data import spool as spool_module
from rewardkit.data.gathered import Gathered
from rewardkit.data.group import Candidate, Group
from rewardkit.data.reading.statements import Choice, Order, Rating, Said, Statement, WholeRecord
from rewardkit.data.spool import Spool
from rewardkit.errors import DataError


def said(prompt: str, line: int = 1, images: tuple[str, ...] = ("a", "b"), **more: Any) -> Statement:
    return Statement(prompt=prompt, line=line, images=images, file="f", **more)


def record(id: str, line: int = 1) -> WholeRecord:
    return WholeRecord(line=line, record=Group(id, "p", (Candidate("a"),)), file="f", folder="img")


def fill(folder: Path, statements: list[Said], part: tuple[int, int] | None = None) -> list[Gathered]:
    folder.mkdir(exist_ok=True)
    with Spool(folder, part) as spool:
        spool.start()
        for statement in statements:
            spool.add(statement)
        count = spool.finish()
        return list(spool.groups(0, count))


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes to disk at once and is forgotten."""
    monkeypatch.setattr(spool_module, "RECENT", 2)
    monkeypatch.setattr(spool_module, "WAITING_CHARACTERS", 300)


EVERY_KIND: list[Said] = [
    said("p", 1, generators=("x", None), folder="img", tags={"style": "ä"}, slots={"raw_prompt": "P", "n": [1, None]}),
    Choice(
        prompt="p", line=2, images=("a", "b"), file="f", votes=(0.5, 0.0, 2.0), weight=0.25, by="ann", dimension="d"
    ),
    Rating(prompt="p", line=3, images=("a",), file="f", value="NA", rationale='"so"'),
    Rating(prompt="p", line=4, images=("a",), file="f", value=0.1),
    Order(prompt="p", line=5, images=("a", "b", "c"), file="f", ranks=(1.0, None, 2.5), by="bo"),
]


def test_every_kind_of_statement_comes_back_as_it_went(tmp_path: Path) -> None:
    [group] = fill(tmp_path, EVERY_KIND)
    assert group.statements == EVERY_KIND
    assert (group.number, group.prompt, group.group, group.id, group.bytes_of) == (0, "p", None, None, {})
    [whole] = fill(tmp_path / "whole", [record("g")])
    assert whole.statements == [record("g")]


@pytest.mark.usefixtures("small_memory")
def test_groups_stand_in_the_order_of_their_first_rows_and_rows_in_theirs(tmp_path: Path) -> None:
    prompts = ["c", "a", "b", "a", "d", "c", "e", "a", "c"] * 5
    made = fill(tmp_path, [said(prompt, line) for line, prompt in enumerate(prompts)])
    assert [group.prompt for group in made] == ["c", "a", "b", "d", "e"]
    assert [group.number for group in made] == list(range(5))
    for group in made:
        lines = [line for line, prompt in enumerate(prompts) if prompt == group.prompt]
        assert [statement.line for statement in group.statements] == lines


def test_what_makes_a_group(tmp_path: Path) -> None:
    statements: list[Said] = [
        said("p"), said("p", group="1"), said("1", group="p"), said("p", group=""), said("P"), record("p"), said("p"),
        said("p", group="1"), record("q"), said("q", group="record"),
    ]  # fmt: skip
    made = fill(tmp_path, statements)
    assert [len(group.statements) for group in made] == [2, 2, 1, 1, 1, 1, 1, 1]
    assert [group.group for group in made] == [None, "1", "p", "", None, None, None, "record"]


@pytest.mark.parametrize("forgotten", [False, True])
def test_ids(tmp_path: Path, forgotten: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if forgotten:
        monkeypatch.setattr(spool_module, "RECENT", 1)
    with Spool(tmp_path) as spool:
        spool.start()
        spool.add(said("p", 1, id="x"))
        spool.add(said("q", 2))
        spool.add(said("p", 3))
        spool.add(said("p", 4, id="x"))
        with pytest.raises(ValueError, match=r"the group id 'x' is that of another group, at f:1; ids must differ"):
            spool.add(said("r", 5, id="x"))
        with pytest.raises(ValueError, match=r"the group id 'x' is that of another group, at f:1; ids must differ"):
            spool.add(said("q", 6, id="x"))
        with pytest.raises(ValueError, match=r"the id is 'y', but an earlier row of this prompt says 'x'"):
            spool.add(said("p", 7, id="y"))
        spool.add(said("q", 8, id="late"))
        spool.add(said("q", 9, id="late"))
        spool.add(record("z", 10))
        with pytest.raises(ValueError, match=r"a group with the id 'z' stands already in this source"):
            spool.add(record("z", 11))
        with pytest.raises(ValueError, match=r"the group id 'late' is that of another group, at f:8"):
            spool.add(record("late", 12))
        made = list(spool.groups(0, spool.finish()))
    assert [(group.id, [statement.line for statement in group.statements]) for group in made] == [
        ("x", [1, 3, 4]),
        ("late", [2, 8, 9]),
        ("z", [10]),
    ]


def test_parts_are_disjoint_and_complete(tmp_path: Path) -> None:
    statements: list[Said] = [said(f"prompt {n % 40}", n, group=str(n % 3)) for n in range(300)]
    statements += [record(f"id {n}") for n in range(40)]
    whole = {(group.prompt, group.group, str(group.statements)) for group in fill(tmp_path / "whole", statements)}
    parts = [fill(tmp_path / str(k), statements, (k, 4)) for k in range(4)]
    found = [(group.prompt, group.group, str(group.statements)) for part in parts for group in part]
    assert len(found) == len(set(found)) == len(whole) == 160
    assert set(found) == whole
    assert all(20 < len(part) < 60 for part in parts)
    for part in parts:
        assert [group.number for group in part] == list(range(len(part)))


def test_add_says_whether_a_statement_is_of_the_part(tmp_path: Path) -> None:
    kept = []
    for k in range(2):
        (tmp_path / str(k)).mkdir()
        with Spool(tmp_path / str(k), (k, 2)) as spool:
            spool.start()
            kept.append([spool.add(said(f"prompt {n % 10}", id=f"id {n % 10}")) for n in range(30)])
    assert [a != b for a, b in zip(*kept, strict=True)] == [True] * 30


def test_bytes_of_an_image_are_kept_once_for_a_group(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.start()
        spool.add(said("p", images=("a", "b"), data=(b"one", None)))
        spool.add(said("p", images=("b", "a"), data=(None, b"one")))
        spool.add(said("q", images=("a", "c"), data=(b"other", b"")))
        spool.add(said("p", images=("c",), data=(b"three",)))
        with pytest.raises(ValueError, match="the image 'a' has other bytes here than in an earlier row of its prompt"):
            spool.add(said("p", images=("a",), data=(b"ONE",)))
        count = spool.finish()
        p, q = spool.groups(0, count)
        assert {name: spool.read(place) for name, place in p.bytes_of.items()} == {"a": b"one", "c": b"three"}
        assert {name: spool.read(place) for name, place in q.bytes_of.items()} == {"a": b"other", "c": b""}
        assert len(p.statements) == 3
    assert (tmp_path / "spool.bytes").read_bytes() == b"oneotherthree"


def test_one_image_twice_in_a_statement_with_other_bytes(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.start()
        with pytest.raises(ValueError, match="the image 'a' has other bytes the second time"):
            spool.add(said("p", images=("a", "a"), data=(b"one", b"two")))
        spool.add(said("q"))
        count = spool.finish()
        assert [group.prompt for group in spool.groups(0, count)] == ["q"]


def test_another_process_reads_ranges(tmp_path: Path) -> None:
    fill(tmp_path, [said(f"prompt {n}", n, images=("a",), data=(b"%d" % n,)) for n in range(10)])
    with Spool(tmp_path) as reader:
        made = list(reader.groups(3, 6))
        assert [(group.number, group.prompt) for group in made] == [(n, f"prompt {n}") for n in (3, 4, 5)]
        assert [reader.read(group.bytes_of["a"]) for group in made] == [b"3", b"4", b"5"]


def test_started_again_it_is_empty(tmp_path: Path) -> None:
    fill(tmp_path, EVERY_KIND)
    [group] = fill(tmp_path, [said("new", id="x")])
    assert group.prompt == "new" and (tmp_path / "spool.bytes").read_bytes() == b""


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    fill(tmp_path, [said(f"prompt {n}" * 50) for n in range(100)])
    data = bytearray((tmp_path / "spool.sqlite").read_bytes())
    data[3000:20000] = b"x" * 17000
    (tmp_path / "spool.sqlite").write_bytes(data)
    with Spool(tmp_path) as reader, pytest.raises(DataError, match=r"spool.sqlite is damaged: .*; remove"):
        list(reader.groups(0, 100))
    (tmp_path / "cut").mkdir()
    fill(tmp_path / "cut", [said("p")])
    with sqlite3.connect(tmp_path / "cut" / "spool.sqlite") as base:
        base.execute("UPDATE said SET payload = '[[\"choice\",'")
    with Spool(tmp_path / "cut") as reader, pytest.raises(DataError, match=r"spool.sqlite is damaged"):
        list(reader.groups(0, 1))


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "RECENT_CHARACTERS", 1 << 18)
    monkeypatch.setattr(spool_module, "WAITING_CHARACTERS", 1 << 18)

    def rows() -> Iterator[Statement]:
        for n in range(8000):
            raw = {"raw_prompt": "z" * 1000}
            yield said(f"{n % 4000} " + "x" * 1000, n, images=(f"{n}", "b"), data=(b"y" * 10_000, None), slots=raw)

    with Spool(tmp_path) as spool:
        spool.start()
        tracemalloc.start()
        for row in rows():
            spool.add(row)
        _, peak = tracemalloc.get_traced_memory()
        assert spool.finish() == 4000
        tracemalloc.reset_peak()
        count = sum(len(group.statements) for group in spool.groups(0, 4000))
        _, peak_reading = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert count == 8000
    assert (tmp_path / "spool.bytes").stat().st_size == 8000 * 10_000
    assert max(peak, peak_reading) < 3 << 20
