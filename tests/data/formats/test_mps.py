"""MHP (MPS): pairs with a label per dimension, as a number, as shares, or in two columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats.mps import MpsFormat
from rewardkit.data.group import Group
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import UserError


def groups(src: Path, log: ReadLog | None = None) -> list[Group]:
    return [made.group for made in read_groups(MpsFormat(), src, None, log) if made.group]


def table(folder: Path, *lines: str) -> Path:
    (folder / "mhp.csv").write_text("\n".join(lines))
    return folder / "mhp.csv"


HEADER = "prompt,image_0,image_1,aesthetics,detail,alignment,overall,model_0,model_1"


def votes(group: Group, dimension: str) -> list[tuple[float, float, float]]:
    return [c.votes for c in comparisons_of(group, dimension)]


def test_pairs_of_a_prompt_become_one_group(tmp_path: Path) -> None:
    file = table(tmp_path, HEADER, "a fox,a.png,b.png,1,0,0.5,0.75,sdxl,sd15", "a fox,c.png,a.png,0,,1,1,pixart,sdxl")
    log = ReadLog()
    [group] = groups(file, log)
    assert not log.notes and not log.bad
    assert [(c.file, c.generator) for c in group.candidates] == [
        ("a.png", "sdxl"),
        ("b.png", "sd15"),
        ("c.png", "pixart"),
    ]
    assert votes(group, "aesthetics") == [(1, 0, 0), (1, 0, 0)]
    assert votes(group, "detail") == [(0, 0, 1)]
    assert votes(group, "alignment") == [(0, 1, 0), (0, 0, 1)]
    assert votes(group, "overall") == [(0.75, 0, 0.25), (0, 0, 1)]


@pytest.mark.parametrize(
    ("label", "expected"),
    [([0.7, 0.3], (0.7, 0, 0.3)), ([0.5, 0.5], (0, 1, 0)), ([0.5, 0.2, 0.3], (0.5, 0.2, 0.3)), (1, (1, 0, 0))],
)
def test_labels_as_shares(tmp_path: Path, label: Any, expected: tuple[float, float, float]) -> None:
    row = {"prompt": "a fox", "image_0": "a.png", "image_1": "b.png", "overall": label}
    (tmp_path / "mhp.jsonl").write_text(json.dumps(row))
    assert votes(groups(tmp_path)[0], "overall") == [expected]
    table(tmp_path, "prompt,image_0,image_1,overall", f'a fox,a.png,b.png,"{json.dumps(label)}"')
    assert votes(groups(tmp_path / "mhp.csv")[0], "overall") == [expected]


def test_two_columns_per_dimension_and_images_in_parquet(tmp_path: Path) -> None:
    data = {
        "prompt": ["a fox", "a fox"],
        "image_0": [b"one", b"two"],
        "image_1": [b"two", b"three"],
        "overall_label_0": [0.5, None],
        "overall_label_1": [0.5, None],
        "extra": [1, 2],
    }
    pq.write_table(pa.table(data), tmp_path / "part.parquet")
    log = ReadLog()
    [group] = groups(tmp_path, log)
    assert len(group.candidates) == 3 and votes(group, "overall") == [(0, 1, 0)]
    assert list(log.notes) == ["column 'extra' of part.parquet is not one of this format: not read"]


def test_a_named_rater_keeps_the_name(tmp_path: Path) -> None:
    [group] = groups(table(tmp_path, "prompt,image_0,image_1,overall,rater", "p,a.png,b.png,0,ann"))
    assert [(r.by, r.ranks) for r in group.rankings] == [("ann", (2, 1))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a fox,a.png,b.png,2,0,0,0,,", "aesthetics is '2'; it must lie between 0 and 1"),
        ("a fox,a.png,b.png,left,0,0,0,,", "aesthetics is 'left'; it must be a number"),
        ('a fox,a.png,b.png,"[0.9, 0.9]",0,0,0,,', "two or three shares whose sum is 1"),
        ('a fox,a.png,b.png,"[0.9",0,0,0,,', "a number or a list of shares"),
        ("a fox,a.png,./a.png,1,0,0,0,,", "the pair names the image 'a.png' twice"),
        ("a fox,,b.png,1,0,0,0,,", "image_0 is ''; it must be the path of an image"),
        (" ,a.png,b.png,1,0,0,0,,", "prompt is empty"),
        ("a fox,a.png,b.png,1,0,0", "the row has 6 cells, the header has 9"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    log = ReadLog()
    good = "a hen,c.png,d.png,1,1,1,1,,"
    assert [g.prompt for g in groups(table(tmp_path, HEADER, line, good), log)] == ["a hen"]
    assert log.bad[0].line == 2 and message in log.bad[0].reason


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the columns 'prompt', 'image_0', 'image_1' are missing; there are a, b"):
        groups(table(tmp_path, "a,b", "1,2"))
    with pytest.raises(UserError, match="no column with labels on aesthetics, detail, alignment, overall"):
        groups(table(tmp_path, "prompt,image_0,image_1", "p,a,b"))
    assert MpsFormat().matches(table(tmp_path, HEADER)) and not MpsFormat().matches(table(tmp_path, "prompt,better"))
