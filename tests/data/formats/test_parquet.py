"""Own data in parquet and arrow files: the columns of csv or the fields of jsonl, images as paths or as bytes."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.convert import convert
from rewardkit.data.formats import looks_like
from rewardkit.data.formats.parquet import ParquetFormat, ParquetOptions
from rewardkit.data.group import Group
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog
from rewardkit.data.shards import open_sample, scan_shard, shard_paths
from rewardkit.errors import UserError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The storage of the Image feature of ``datasets``."""


def groups(src: Path, log: ReadLog | None = None, split: str = "") -> list[Group]:
    log = log if log is not None else ReadLog()
    return [made.group for made in read_groups(ParquetFormat(), src, ParquetOptions(split), log)]


def parquet(folder: Path, columns: dict[str, Any], name: str = "prefs.parquet") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def arrow(folder: Path, columns: dict[str, Any], name: str = "data-00000-of-00001.arrow") -> Path:
    """As ``Dataset.save_to_disk`` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def votes(group: Group, dimension: str = "overall") -> dict[tuple[str, str], tuple[float, float, float]]:
    files = [candidate.file for candidate in group.candidates]
    return {(files[c.first], files[c.second]): c.votes for c in comparisons_of(group, dimension)}


def digest(data: bytes) -> str:
    return "sha256-" + hashlib.sha256(data).hexdigest()[:32]


PAIRS = {"prompt": ["p", "p"], "image_a": ["a", "c"], "image_b": ["b", "a"], "better": ["a", "tie"]}


def test_the_columns_of_csv(tmp_path: Path) -> None:
    more = {"raw_prompt": ["p, 8k", None], "group": [7, 7], "tags.style": ["anime", None], "weight": [None, 2.0]}
    [group] = groups(parquet(tmp_path, PAIRS | more | {"generator_a": ["x", None]}))
    assert votes(group) == {("a", "b"): (1, 0, 0), ("a", "c"): (0, 1, 0)}
    assert [c.weight for c in group.comparisons] == [1, 2]
    assert (group.tags, group.slots) == ({"style": "anime"}, {"raw_prompt": "p, 8k"})
    assert [c.generator for c in group.candidates] == ["x", None, None]
    assert group.provenance == {"format": "parquet", "file": "prefs.parquet", "line": 1}


def test_ratings_and_ranks_as_numbers_or_texts(tmp_path: Path) -> None:
    shared = {"prompt": ["p"] * 3, "image": ["a", "b", "c"], "rater": ["ann"] * 3}
    [group] = groups(parquet(tmp_path, shared | {"rating": ["4", "NA", "2.5"]}))
    assert [a.value for a in group.answers] == [4, "NA", 2.5]
    [group] = groups(parquet(tmp_path, shared | {"rating": [4, 1, 2]}))
    assert [a.value for a in group.answers] == [4, 1, 2]
    [group] = groups(parquet(tmp_path, shared | {"rank": [2, 1, 2]}))
    assert [(r.by, r.ranks) for r in group.rankings] == [("ann", (2, 1, 2))]


def test_the_fields_of_jsonl(tmp_path: Path) -> None:
    columns = {
        "prompt": ["p"] * 4,
        "images": [["a", "b"], ["b", "a"], ["a", "b", "c"], None],
        "better": ["0", "tie", None, None],
        "ranks": pa.array([None, None, [1.0, None, 2.0], None]),
        "image": [None, None, None, "c"],
        "rating": [None, None, None, "NA"],
        "dimension": [None, None, "detail", "realism"],
        "generators": [["x", None], None, None, None],
        "id": [5, 5, 5, 5],
        "tags": pa.array([[("style", "anime")], None, None, None], pa.map_(pa.string(), pa.string())),
        "__index_level_0__": [0, 1, 2, 3],
    }
    [group] = groups(parquet(tmp_path, columns))
    assert group.id == "5" and group.tags == {"style": "anime"}
    assert votes(group) == {("a", "b"): (1, 1, 0)}
    assert [(r.dimension, r.ranks) for r in group.rankings] == [("detail", (1, None, 2))]
    assert [(a.dimension, a.value) for a in group.answers] == [("realism", "NA")]
    assert [c.generator for c in group.candidates] == ["x", None, None]
    columns = {"prompt": ["p", "p"], "images": [["a", "b"]] * 2, "votes": [[7, 1, 2], [1, 0, 0]]}
    [group] = groups(parquet(tmp_path, columns | {"tags": [{"style": "x", "mood": None}] * 2}))
    assert votes(group) == {("a", "b"): (8, 1, 2)} and group.tags == {"style": "x"}
    [group] = groups(parquet(tmp_path, {"prompt": ["p"], "images": [["a", "b"]], "better": [1]}))
    assert votes(group) == {("a", "b"): (0, 0, 1)}


def test_whole_records(tmp_path: Path) -> None:
    columns = {
        "id": ["g"],
        "prompt": ["p"],
        "candidates": [[{"file": "a", "generator": None}, {"file": "b", "generator": "x"}]],
        "answers": [[{"dimension": "d", "candidate": 1, "by": "ann", "value": "4"}]],
    }
    [group] = groups(parquet(tmp_path, columns))
    assert group.id == "g" and [c.generator for c in group.candidates] == [None, "x"]
    assert group.answers[0].value == 4


@pytest.mark.parametrize("as_struct", [False, True])
def test_images_as_bytes(tmp_path: Path, as_struct: bool) -> None:
    cells = [b"one", b"two", b"one", b"three"]
    one, two, three = digest(b"one"), digest(b"two"), digest(b"three")
    made: Any = [{"bytes": cell, "path": None} for cell in cells] if as_struct else cells
    kind = IMAGE if as_struct else pa.binary()
    flat = PAIRS | {"image_a": pa.array(made[:2], kind), "image_b": pa.array([made[3], made[2]], kind)}
    [group] = groups(parquet(tmp_path, flat))
    assert votes(group) == {(one, three): (1, 0, 0), (one, two): (0, 1, 0)}
    lists = {"prompt": ["p"], "images": pa.array([[made[0], made[1], made[3]]], pa.list_(kind)), "ranks": [[1, 2, 2]]}
    [group] = groups(parquet(tmp_path, lists))
    assert [c.file for c in group.candidates] == [one, two, three]


@pytest.mark.parametrize("as_struct", [False, True])
def test_many_images_are_read_a_column_at_a_time(tmp_path: Path, as_struct: bool) -> None:
    cells = [b"%d " % n + bytes(40_000) for n in range(400)]
    made: Any = [{"bytes": cell, "path": f"x{n}.png"} for n, cell in enumerate(cells)] if as_struct else cells
    kind = IMAGE if as_struct else pa.binary()
    columns = {
        "prompt": [f"prompt {n}" for n in range(400)],
        "image_a": pa.array(made, kind),
        "image_b": [f"{n}.png" for n in range(400)],
        "better": ["b"] * 400,
    }
    log = ReadLog()
    said = list(ParquetFormat().read(parquet(tmp_path, columns), ParquetOptions(), log))
    assert log.rows == 400 and not log.bad
    assert [statement.data for statement in said] == [(cell, None) for cell in cells]  # type: ignore[union-attr]


def test_names_beside_bytes_and_files_beside_the_table(tmp_path: Path) -> None:
    cells = [{"bytes": b"one", "path": "x.png"}, {"bytes": None, "path": "img/y.png"}]
    columns = {"prompt": ["p"], "images": pa.array([cells], pa.list_(IMAGE)), "better": [0]}
    [made] = read_groups(ParquetFormat(), parquet(tmp_path, columns))
    assert [(i.name, i.offset, i.length) for i in made.images] == [("x.png", 0, 3), ("img/y.png", None, 0)]


def test_one_name_with_other_bytes_is_a_bad_row(tmp_path: Path) -> None:
    first = pa.array([{"bytes": b"one", "path": "x.png"}, {"bytes": b"ONE", "path": "x.png"}], IMAGE)
    log = ReadLog()
    [group] = groups(parquet(tmp_path, PAIRS | {"image_a": first, "image_b": ["b.png", "b.png"]}), log)
    assert [c.file for c in group.candidates] == ["x.png", "b.png"]
    assert [str(bad) for bad in log.bad] == [
        "prefs.parquet:2: the image 'x.png' has other bytes here than in an earlier row of its prompt"
    ]


def test_converted_with_the_bytes_that_the_table_holds(tmp_path: Path) -> None:
    files = []
    for shade in (10, 90, 170):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 10), (shade, 0, 0)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    src = parquet(tmp_path / "src", PAIRS | {"image_a": [files[0], files[2]], "image_b": [files[1], files[0]]})
    done = convert("parquet", src, tmp_path / "out", decode=True)
    assert (done.rows, done.read, done.written, done.candidates) == (2, 1, 1, 3)
    [sample] = [open_sample(stored) for path in shard_paths(tmp_path / "out") for stored in scan_shard(path)]
    assert list(sample.images) == files
    assert sample.group.candidates[0].sha256 == hashlib.sha256(files[0]).hexdigest()


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    arrow(tmp_path / "train", PAIRS)
    arrow(tmp_path / "test", PAIRS | {"prompt": ["q", "r"]})
    (tmp_path / "train" / "cache-123.arrow").write_bytes(b"left over")
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    log = ReadLog()
    assert [group.prompt for group in groups(tmp_path, log)] == ["q", "r", "p"]
    assert list(log.notes) == ["the splits test, train were read together; split=test reads one"]
    log = ReadLog()
    [group] = groups(tmp_path, log, split="train")
    assert group.provenance["file"] == "train/data-00000-of-00001.arrow" and not log.notes
    assert [group.prompt for group in groups(tmp_path / "test")] == ["q", "r"]
    assert looks_like(tmp_path) == ["parquet"]
    with pytest.raises(UserError, match=r"split=trian: .* has no such split. Did you mean 'train'"):
        groups(tmp_path, split="trian")


def test_a_folder_as_the_hub_holds_it(tmp_path: Path) -> None:
    for number, split in ((0, "train"), (1, "train"), (0, "test")):
        parquet(
            tmp_path, PAIRS | {"prompt": [split, f"{split}{number}"]}, f"data/{split}-0000{number}-of-00002.parquet"
        )
    assert [group.prompt for group in groups(tmp_path, split="train")] == ["train", "train0", "train1"]
    assert groups(tmp_path, split="train")[2].provenance["file"] == "data/train-00001-of-00002.parquet"
    parquet(tmp_path / "plain", PAIRS, "part-0.parquet")
    parquet(tmp_path / "plain", PAIRS, "part-1.parquet")
    log = ReadLog()
    assert votes(groups(tmp_path / "plain", log)[0]) == {("a", "b"): (2, 0, 0), ("a", "c"): (0, 2, 0)}
    assert not log.notes


def test_an_arrow_file(tmp_path: Path) -> None:
    table = pa.table(PAIRS)
    with pa.OSFile(str(tmp_path / "prefs.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    assert len(groups(tmp_path / "prefs.arrow")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beter": ["a", "a"]}, "'beter' is not a column of a preference table. Did you mean 'better'"),
        ({"rating": [1, 2]}, "at once comparison and rating"),
        ({"image_b": None}, "the column 'image_b' is missing"),
        ({"images": [["a", "b"]] * 2}, "'image_a' is not a column of a preference table. Did you mean 'image"),
    ],
)
def test_wrong_columns(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    columns = {name: values for name, values in (PAIRS | change).items() if values is not None}
    file = parquet(tmp_path, columns)
    assert not ParquetFormat().matches(file)
    with pytest.raises(UserError) as caught:
        groups(file)
    assert str(caught.value).startswith(f"{file}: ") and message in str(caught.value)


def test_a_wrong_column_of_a_later_file_is_found(tmp_path: Path) -> None:
    parquet(tmp_path, PAIRS, "a.parquet")
    parquet(tmp_path, PAIRS | {"dimenson": ["x", "y"]}, "b.parquet")
    with pytest.raises(UserError, match=r"b.parquet: 'dimenson' is not a column .* Did you mean 'dimension'"):
        groups(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("better", "c", "better is 'c'; it must be a, b or tie"),
        ("better", None, "better is None; it must be a, b or tie"),
        ("image_b", "c", "image_a and image_b names the image 'c' twice"),
        ("image_b", None, "image_b is empty; it must be the path of an image, or its bytes"),
        ("prompt", " ", "prompt is empty; write the prompt"),
        ("prompt", None, "the field 'prompt' is missing"),
    ],
)
def test_bad_rows(tmp_path: Path, column: str, value: Any, message: str) -> None:
    columns = {name: [*values, *values[:1]] for name, values in PAIRS.items()}
    columns[column][1] = value
    log = ReadLog()
    [group] = groups(parquet(tmp_path, columns), log)
    [bad] = log.bad
    assert str(bad).startswith("prefs.parquet:2: ") and message in str(bad)
    assert votes(group) == {("a", "b"): (2, 0, 0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"better": ["0", "2", "0"]}, "better is '2'; it must be 0"),
        ({"images": [["a", "b"], ["a"], ["a", "b"]]}, "a comparison has two images, this line has 1"),
        ({"images": [["a", "b"], None, ["a", "b"]]}, "the field 'images' is missing"),
        ({"images": [["a", "b"], ["a", None], ["a", "b"]]}, "images is empty; it must be the path"),
        ({"better": ["0", None, "0"]}, "the line says nothing about its images"),
        ({"better": ["0", None, "0"], "ranks": [None, [1], None]}, "must be a list with one rank"),
        ({"better": ["0", None, "0"], "votes": [None, [0, 0, 0], None]}, "at least one must be positive"),
    ],
)
def test_bad_rows_of_lists(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    columns = {"prompt": ["p"] * 3, "images": [["a", "b"]] * 3, "better": ["0"] * 3}
    log = ReadLog()
    [group] = groups(parquet(tmp_path, columns | change), log)
    [bad] = log.bad
    assert str(bad).startswith("prefs.parquet:2: ") and message in str(bad)
    assert votes(group) == {("a", "b"): (2, 0, 0)}


def test_a_text_that_is_not_utf8_spoils_its_row_alone(tmp_path: Path) -> None:
    bad = pa.StringArray.from_buffers(3, *pa.array([b"caf\xe9", b"p", b"p"], pa.binary()).buffers()[1:])
    columns = {name: [*values, *values[:1]] for name, values in PAIRS.items()}
    log = ReadLog()
    [group] = groups(parquet(tmp_path, columns | {"prompt": bad}), log)
    assert group.prompt == "p" and [row.line for row in log.bad] == [1]


def test_files_that_are_cut_off_or_no_parquet(tmp_path: Path) -> None:
    file = parquet(tmp_path, PAIRS)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"prefs.parquet cannot be read \(cut off while downloading\?\)"):
        groups(file)
    assert not ParquetFormat().matches(file)
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"is empty \(0 bytes\)"):
        groups(file)
    folder = arrow(tmp_path / "saved", {name: values * 500 for name, values in PAIRS.items()})
    [data] = folder.glob("*.arrow")
    data.write_bytes(data.read_bytes()[:-3000])
    with pytest.raises(UserError, match=r"data-00000-of-00001.arrow cannot be read \(cut off"):
        groups(folder)
    (tmp_path / "prefs.txt").write_text("x")
    with pytest.raises(UserError, match=r"format=parquet reads files whose names end in .parquet or .arrow"):
        groups(tmp_path / "prefs.txt")
    with pytest.raises(UserError, match=r"holds no .parquet and no .arrow file"):
        (tmp_path / "none").mkdir()
        groups(tmp_path / "none")
    with pytest.raises(UserError, match="has no rows"):
        groups(parquet(tmp_path, {name: pa.array([], pa.string()) for name in PAIRS}, "zero.parquet"))
