"""HPD v3: pairs with votes, a confidence, and the winner in the first place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardkit.data.formats import looks_like
from rewardkit.data.formats.hpdv3 import Hpdv3Format, Hpdv3Options
from rewardkit.data.group import Group
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import DataError, UserError


def groups(src: Path, log: ReadLog | None = None, **options: Any) -> list[Group]:
    return [made.group for made in read_groups(Hpdv3Format(), src, Hpdv3Options(**options), log)]


def record(first: str = "a", second: str = "b", **more: Any) -> dict[str, Any]:
    return {
        "prompt": "a red fox",
        "choice_dist": [12, 7],
        "confidence": 0.99,
        "path1": f"images/{first}.jpg",
        "path2": f"images/{second}.jpg",
        "model1": "flux",
        "model2": "infinity",
    } | more


ELSEWHERE: dict[str, Any] = {"choice_dist": None, "confidence": None, "model1": "hpdv2", "model2": "hpdv2"}


def write(folder: Path, *records: Any, name: str = "train.json") -> Path:
    (folder / name).write_text(json.dumps(list(records)))
    return folder


def test_votes_generators_and_pairs_from_elsewhere(tmp_path: Path) -> None:
    log = ReadLog()
    src = write(tmp_path, record(), record("c", "a", model1="kolors", model2="flux"), record("d", "e", **ELSEWHERE))
    [group] = groups(src, log)
    assert [(c.file, c.generator) for c in group.candidates] == [
        ("images/a.jpg", "flux"),
        ("images/b.jpg", "infinity"),
        ("images/c.jpg", "kolors"),
        ("images/d.jpg", None),
        ("images/e.jpg", None),
    ]
    found = [(c.first, c.second, c.votes) for c in group.comparisons]
    assert found == [(0, 1, (12, 0, 7)), (0, 2, (7, 0, 12)), (3, 4, (1, 0, 0))]
    assert not log.notes and not log.bad
    assert [c.votes for c in groups(src, labels="winner")[0].comparisons] == [(1, 0, 0), (0, 0, 1), (1, 0, 0)]


def test_votes_against_the_preferred_image_are_kept_and_noted(tmp_path: Path) -> None:
    log = ReadLog()
    [group] = groups(write(tmp_path, record(choice_dist=[3, 9]), record("c", "d", choice_dist=[5, 5])), log)
    assert [c.votes for c in group.comparisons] == [(3, 0, 9), (5, 0, 5)]
    assert list(log.notes.values()) == [1] and "more votes for path2" in next(iter(log.notes))


def test_confidence(tmp_path: Path) -> None:
    src = write(tmp_path, record(confidence=0.94), record("c", "d", confidence=0.95), record("e", "f", **ELSEWHERE))
    assert len(groups(src)[0].comparisons) == 3
    log = ReadLog()
    [group] = groups(src, log, min_confidence=0.95)
    assert [c.file for c in group.candidates] == [f"images/{name}.jpg" for name in "cdef"]
    assert dict(log.notes) == {
        "pairs whose confidence is below 0.95: left out": 1,
        "pairs without a confidence: kept": 1,
    }


def test_files_and_splits(tmp_path: Path) -> None:
    write(tmp_path, record(), record("c", "d"))
    bare = {name: value for name, value in record("e", "f").items() if name not in ("choice_dist", "confidence")}
    write(tmp_path, bare, name="test.json")
    with pytest.raises(UserError, match="say split=train or split=test"):
        groups(tmp_path)
    assert [len(g.comparisons) for g in groups(tmp_path, split="test")] == [1]
    assert [len(g.comparisons) for g in groups(tmp_path, split="train,test")] == [2, 1]
    lines = tmp_path / "lines"
    lines.mkdir()
    (lines / "pairs.jsonl").write_text("\n".join(json.dumps(r) for r in (record(), record("c", "d"))))
    assert len(groups(lines)[0].comparisons) == 2
    pq.write_table(pa.Table.from_pylist([record(), record("c", "d", **ELSEWHERE)]), tmp_path / "all.parquet")
    assert [c.votes for c in groups(tmp_path, split="all")[0].comparisons] == [(12, 0, 7), (1, 0, 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path2": "images/a.jpg"}, "the pair names the image 'images/a.jpg' twice"),
        ({"path1": None}, "path1 is None"),
        ({"prompt": " "}, "prompt is empty"),
        ({"confidence": 1.5}, "confidence is 1.5; it must lie between 0 and 1"),
        ({"confidence": "high"}, "confidence is 'high'"),
        ({"choice_dist": [12]}, "choice_dist has 1 entries; it must have 2"),
        ({"choice_dist": [-1, 2]}, "choice_dist is -1"),
        ({"choice_dist": [0, 0]}, "it must hold a vote"),
    ],
)
def test_bad_records_are_left_out_and_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    log = ReadLog()
    [group] = groups(write(tmp_path, record(), record(**change), record("c", "d")), log)
    assert len(group.candidates) == 4
    assert [row.line for row in log.bad] == [2] and message in log.bad[0].reason


def test_an_image_of_two_models_is_a_bad_row(tmp_path: Path) -> None:
    log = ReadLog()
    groups(write(tmp_path, record(), record("a", "c", model1="kolors"), record("d", "e")), log)
    assert [row.line for row in log.bad] == [2] and "'kolors', but an earlier row" in log.bad[0].reason


def test_files_of_another_kind(tmp_path: Path) -> None:
    src = write(tmp_path, *[record(seed=1)] * 2)
    log = ReadLog()
    groups(src, log)
    assert list(log.notes) == ["column 'seed' of train.json is not one of this format: not read"]
    assert looks_like(src) == ["hpdv3"]
    write(tmp_path, {"prompt": "p", "path1": "a"})
    with pytest.raises(UserError, match="column 'path2' is missing"):
        groups(src)
    assert not Hpdv3Format().matches(src)
    (src / "train.json").write_text(json.dumps([record()] * 3)[:-40])
    with pytest.raises(UserError, match="cut off while downloading"):
        groups(src)
    (src / "train.json").write_bytes(json.dumps([record()]).replace("red", "r?d").encode().replace(b"?", b"\xff"))
    with pytest.raises(DataError, match="not UTF-8"):
        groups(src)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path, peak_megabytes: Any) -> None:
    src = write(tmp_path, *[record(str(n), f"{n}b") for n in range(20_000)])
    count, peak = peak_megabytes(Hpdv3Format(), src)
    assert count == 20_000 and peak < 8
