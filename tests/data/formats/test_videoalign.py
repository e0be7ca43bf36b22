"""VideoAlign-style tables: a column of A, B and same per dimension, on images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats.videoalign import VideoAlignFormat, VideoAlignOptions
from rewardkit.data.group import Group
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import DataError, UserError

HEADER = "path_A,path_B,A_model,B_model,prompt,VQ,MQ,TA,Overall,fps_A,num_frames_A,fps_B,num_frames_B"


def groups(src: Path, log: ReadLog | None = None, **options: Any) -> list[Group]:
    made = read_groups(VideoAlignFormat(), src, VideoAlignOptions(**options), log)
    return [grouped.group for grouped in made if grouped.group]


def table(folder: Path, *lines: str, name: str = "data.csv") -> Path:
    (folder / name).write_text("\n".join(lines))
    return folder / name


def votes(group: Group, dimension: str) -> dict[tuple[str, str], tuple[float, float, float]]:
    files = [candidate.file for candidate in group.candidates]
    return {(files[c.first], files[c.second]): c.votes for c in comparisons_of(group, dimension)}


def test_labels_of_each_dimension(tmp_path: Path) -> None:
    file = table(
        tmp_path,
        HEADER,
        "./m/kling/1.png,m/minimax/1.png,kling,minimax,a ball rolls,A,B,same,a,24,100,24,100",
        "m/minimax/1.png,m/gen3/1.png,minimax,gen3,a ball rolls,SAME,,b,A,24,100,24,100",
        "m/kling/2.png,m/gen3/2.png,kling,gen3,a hen,,,,,24,100,24,100",
    )
    log = ReadLog()
    first, second = groups(file, log)
    assert not log.notes and not log.bad
    assert [(c.file, c.generator) for c in first.candidates] == [
        ("m/kling/1.png", "kling"),
        ("m/minimax/1.png", "minimax"),
        ("m/gen3/1.png", "gen3"),
    ]
    a, b, c = (candidate.file for candidate in first.candidates)
    assert votes(first, "VQ") == {(a, b): (1, 0, 0), (b, c): (0, 1, 0)}
    assert votes(first, "MQ") == {(a, b): (0, 0, 1)}
    assert votes(first, "TA") == {(a, b): (0, 1, 0), (b, c): (0, 0, 1)}
    assert votes(first, "Overall") == {(a, b): (1, 0, 0), (b, c): (1, 0, 0)}
    assert len(second.candidates) == 2 and not second.dimensions


def test_named_dimensions_and_columns_that_are_none(tmp_path: Path) -> None:
    file = table(
        tmp_path, ",path_A,path_B,prompt,beauty,remark", "0,a.png,b.png,a fox,A,blurred", "1,a.png,c.png,a fox,B,"
    )
    log = ReadLog()
    [group] = groups(file, log, dimensions=["beauty"])
    assert group.dimensions == ("beauty",) and not log.bad
    assert sorted(log.notes) == [
        "column '' of data.csv is not one of this format: not read",
        "column 'remark' of data.csv is not one of this format: not read",
    ]
    with pytest.raises(DataError, match=r"remark is 'blurred'; it must be A, B, same, or empty.* dimensions="):
        groups(table(tmp_path, "path_A,path_B,prompt,beauty,remark", "a.png,b.png,a fox,A,blurred"))
    with pytest.raises(UserError, match=r"dimensions=beuty: .* has no such column. Did you mean 'beauty'"):
        groups(file, dimensions=["beuty"])


def test_parquet(tmp_path: Path) -> None:
    data = {"path_A": ["a.png"] * 2, "path_B": ["b.png", "c.png"], "prompt": ["p"] * 2, "VQ": ["A", None]}
    pq.write_table(pa.table(data), tmp_path / "data.parquet")
    [group] = groups(tmp_path / "data.parquet")
    assert votes(group, "VQ") == {("a.png", "b.png"): (1, 0, 0)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("videos/1.mp4,videos/2.mp4,a fox,A,A", "path_A is the video 'videos/1.mp4'; rewardkit scores images"),
        ("a.png,b.png,a fox,A,C", "MQ is 'C'; it must be A, B, same, or empty"),
        ("a.png,b.png,a fox,22,A", "VQ is '22'; it must be A, B, same, or empty"),
        ("a.png,./a.png,a fox,A,A", "the pair names the image 'a.png' twice"),
        ("a.png,,a fox,A,A", "path_B is ''; it must be the path of an image"),
        ("a.png,b.png,,A,A", "prompt is empty"),
        ("a.png,b.png,a fox", "the row has 3 cells, the header has 5"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    log = ReadLog()
    file = table(tmp_path, "path_A,path_B,prompt,VQ,MQ", line, "c.png,d.png,a hen,A,A")
    assert [g.prompt for g in groups(file, log)] == ["a hen"]
    assert log.bad[0].line == 2 and message in log.bad[0].reason


def test_bytes_that_are_not_utf8_spoil_their_row(tmp_path: Path) -> None:
    file = table(tmp_path, "path_A,path_B,prompt,VQ", "a.png,b.png,cafe,A", "c.png,d.png,a hen,A")
    file.write_bytes(file.read_bytes().replace(b"cafe", b"caf\xe9"))
    log = ReadLog()
    assert [g.prompt for g in groups(file, log)] == ["a hen"] and "UTF-8" in log.bad[0].reason


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the column 'path_B' is missing; there are path_A, prompt, VQ"):
        groups(table(tmp_path, "path_A,prompt,VQ", "a.png,p,A"))
    with pytest.raises(UserError, match="there is no column of labels"):
        groups(table(tmp_path, "path_A,path_B,prompt", "a.png,b.png,p"))
    with pytest.raises(UserError, match="is empty"):
        groups(table(tmp_path, ""))
    assert VideoAlignFormat().matches(table(tmp_path, HEADER))
    assert not VideoAlignFormat().matches(table(tmp_path, "prompt,image_a,image_b,better"))
