"""ImageRewardDB: rankings with ties, the hub's table with ratings, and the real test file where it is at hand."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.convert import convert
from rewardkit.data.formats import looks_like
from rewardkit.data.formats.imagereward import ImageRewardFormat, ImageRewardOptions
from rewardkit.data.group import Group
from rewardkit.data.grouping import read_groups
from rewardkit.data.index import ShardIndex
from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import UserError

SHARED = os.environ.get("REWARDKIT_SHARED")


def groups(src: Path, log: ReadLog | None = None, **options: Any) -> list[Group]:
    return [made.group for made in read_groups(ImageRewardFormat(), src, ImageRewardOptions(**options), log)]


def record(id: str = "1-1", ranking: Any = (1, 2, 5, 2), **more: Any) -> dict[str, Any]:
    ranking = list(ranking) if isinstance(ranking, tuple) else ranking
    return {
        "id": id,
        "prompt": "a red fox",
        "generations": [f"{id}/{n}.webp" for n in range(4)],
        "ranking": ranking,
    } | more


def write(folder: Path, *records: Any, name: str = "train.json") -> Path:
    (folder / name).write_text(json.dumps(list(records)))
    return folder


def row(image: str, rank: Any = 1, **more: Any) -> dict[str, Any]:
    return {
        "image_path": f"images/train/train_1/{image}.webp",
        "prompt_id": "001324-0093",
        "prompt": "a red fox",
        "classification": "Outdoor Scenes",
        "image_amount_in_total": 3,
        "rank": rank,
        "overall_rating": 6,
        "image_text_alignment_rating": 7,
        "fidelity_rating": 1,
    } | more


ROWS = [row("a", 2), row("b", 1, overall_rating=4), row("c", 2)]


def table(folder: Path, *rows: dict[str, Any], name: str = "metadata-train.parquet") -> Path:
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(list(rows)), folder / name)
    elif name.endswith(".jsonl"):
        (folder / name).write_text("\n".join(json.dumps(one) for one in rows))
    else:
        cells = [[json.dumps(str(value)) for value in one.values()] for one in rows]
        (folder / name).write_text("\n".join(",".join(line) for line in [list(rows[0]), *cells]))
    return folder


def test_a_ranking_with_ties_and_gaps(tmp_path: Path) -> None:
    log = ReadLog()
    [group] = groups(write(tmp_path, record()), log)
    assert group.id == "1-1" and [c.file for c in group.candidates] == [f"1-1/{n}.webp" for n in range(4)]
    assert [(r.dimension, r.by, r.ranks) for r in group.rankings] == [("overall", "", (1, 2, 5, 2))]
    votes = {(c.first, c.second): c.votes for c in comparisons_of(group, "overall")}
    assert votes[1, 3] == (0, 1, 0) and votes[0, 1] == (1, 0, 0) and votes[2, 3] == (0, 0, 1) and len(votes) == 6
    assert not log.notes and not log.bad


def test_records_are_told_by_their_ids(tmp_path: Path) -> None:
    log = ReadLog()
    found = groups(write(tmp_path, record("a"), record("b"), record("a"), record("c", prompt="a hen")), log)
    assert [group.id for group in found] == ["a", "b", "c"]
    assert [bad.line for bad in log.bad] == [3] and "the group id 'a' is that of another group" in log.bad[0].reason


@pytest.mark.parametrize("name", ["metadata-train.parquet", "metadata-train.csv", "metadata-train.jsonl"])
def test_the_table_of_the_hub(tmp_path: Path, name: str) -> None:
    log = ReadLog()
    other = row("d", 1, prompt_id="2", prompt="a hen", classification="Animals")
    rows = [ROWS[0], other, *ROWS[1:], {**other, "image_path": "e.webp", "rank": 9, "image_amount_in_total": 9}]
    fox, hen = groups(table(tmp_path, *rows, name=name), log)
    assert not log.notes and not log.bad
    assert fox.id == "001324-0093" and fox.tags == {"classification": "Outdoor Scenes"}
    assert [(r.dimension, r.ranks) for r in fox.rankings] == [("overall", (2, 1, 2))]
    assert {(a.dimension, a.candidate): a.value for a in fox.answers} == {
        **{("overall", n): value for n, value in enumerate([6, 4, 6])},
        **{("prompt_following", n): 7 for n in range(3)},
        **{("fidelity", n): 1 for n in range(3)},
    }
    assert [c.votes for c in comparisons_of(fox, "overall")] == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert hen.tags == {"classification": "Animals"} and hen.rankings[0].ranks == (1, 9)


def test_two_prompt_ids_of_one_prompt_stay_apart(tmp_path: Path) -> None:
    log = ReadLog()
    found = groups(table(tmp_path, *ROWS, row("d", prompt_id="2"), row("e", 2, prompt_id="2")), log)
    assert [(group.id, len(group.candidates)) for group in found] == [("001324-0093", 3), ("2", 2)]
    assert not log.bad


def test_images_in_the_table(tmp_path: Path) -> None:
    """As ``datasets`` stores the set: a column with the bytes."""
    rows = []
    for one in ROWS:
        name = one["image_path"]
        rest = {key: value for key, value in one.items() if key != "image_path"}
        rows.append({"image": {"bytes": name.encode(), "path": Path(name).name}} | rest)
    [made] = read_groups(ImageRewardFormat(), table(tmp_path, *rows), None, None)
    assert [c.file for c in made.group.candidates] == ["a.webp", "b.webp", "c.webp"]
    assert all(image.offset is not None for image in made.images)
    assert made.group.rankings[0].ranks == (2, 1, 2)


def test_missing_values(tmp_path: Path) -> None:
    rows = [row("a", None, overall_rating=None), row("b", 1), row("c", 2, fidelity_rating=None)]
    [group] = groups(table(tmp_path, *rows))
    assert group.rankings[0].ranks == (None, 1, 2)
    assert [(a.dimension, a.candidate) for a in group.answers if a.dimension != "prompt_following"] == [
        ("fidelity", 0),
        ("overall", 1),
        ("fidelity", 1),
        ("overall", 2),
    ]


def test_images_in_zips_are_found(tmp_path: Path) -> None:
    """The hub's layout: images/train/train_1.zip holds the files of images/train/train_1/."""
    source = tmp_path / "db"
    (source / "images" / "train").mkdir(parents=True)
    with zipfile.ZipFile(source / "images" / "train" / "train_1.zip", "w") as archive:
        for n, name in enumerate("abc"):
            data = io.BytesIO()
            Image.new("RGB", (8, 8), (80 * n, 0, 0)).save(data, "WEBP")
            archive.writestr(f"{name}.webp", data.getvalue())
        archive.writestr("train_1.json", "[]")
    table(source, *ROWS)
    convert("imagereward", source, tmp_path / "out")
    group = ShardIndex.open(tmp_path / "out").record(0)
    assert [c.width for c in group.candidates] == [8, 8, 8] and group.rankings[0].ranks == (2, 1, 2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (record("b", (1, 2, 3)), "ranking is [1, 2, 3]; it must be a list of 4 numbers"),
        (record("b", (0, 1, 2, 3)), "ranking is 0; it must lie between 1"),
        (record("b", (1, 2, 3, 6)), "ranking is 6; it must lie between 1 and 5"),
        (record("b", "1234"), "it must be a list of 4"),
        (record("b", (1, 2, 3, "x")), "ranking is 'x'; it must be a number"),
        (record("b", generations=["a", "b", "a", "c"]), "names the image 'a' twice"),
        (record("b", generations=["../../a.jpg", "/b", 3, "c"]), "generations is 3"),
        (record("b", prompt=""), "prompt is empty"),
        ({**record("b"), "id": None}, "the field 'id' is missing"),
        (["b"], "not an object"),
    ],
)
def test_bad_records_are_left_out_and_named(tmp_path: Path, bad: Any, message: str) -> None:
    log = ReadLog()
    found = groups(write(tmp_path, record("a"), bad, record("c")), log)
    assert [group.id for group in found] == ["a", "c"]
    assert [one.line for one in log.bad] == [2] and message in log.bad[0].reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fidelity_rating": 8}, "fidelity_rating is 8; it must lie between 1 and 7"),
        ({"overall_rating": 0}, "overall_rating is 0; it must lie between 1 and 7"),
        ({"rank": 6}, "rank is 6; it must lie between 1 and 5"),
        ({"rank": 0}, "rank is 0"),
        ({"prompt": "another"}, "the group id '001324-0093' is that of another group"),
        ({"classification": "Animals"}, "tag 'classification' is 'Animals', but an earlier row"),
        ({"image_path": "images/train/train_1/a.webp"}, "already in line 1"),
        ({"prompt_id": None}, "the field 'prompt_id' is missing"),
        ({"image_path": None}, "image_path is None"),
    ],
)
def test_bad_rows_are_left_out_and_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    log = ReadLog()
    [group] = groups(table(tmp_path, *ROWS, row("d", **change)), log)
    assert [c.file[-6] for c in group.candidates] == ["a", "b", "c"]
    assert [one.line for one in log.bad] == [4] and message in log.bad[0].reason


def test_splits_and_files_of_another_kind(tmp_path: Path) -> None:
    src = write(write(tmp_path, record("a")), record("b"), name="valid.json")
    with pytest.raises(UserError, match="say split=train or split=valid"):
        groups(src)
    assert [g.id for g in groups(src, split="valid")] == ["b"]
    assert len(groups(src, split="train,valid")) == 2
    table(src, *ROWS, name="metadata-validation.parquet")
    with pytest.raises(UserError, match=r"holds metadata-validation\.parquet and valid\.json"):
        groups(src, split="valid")
    assert len(groups(src / "metadata-validation.parquet")[0].candidates) == 3
    assert "imagereward" in looks_like(src) and "hpdv2" not in looks_like(src)
    alone = tmp_path / "alone"
    alone.mkdir()
    log = ReadLog()
    groups(write(alone, record("a", seed=1)), log)
    assert list(log.notes) == ["column 'seed' of train.json is not one of this format: not read"]
    write(alone, {"id": "a", "generations": ["a"], "prompt": "p"})
    with pytest.raises(UserError, match="column 'ranking' is missing"):
        groups(alone)
    write(alone, {"prompt": "p", "file_path": ["a", "b"]})
    with pytest.raises(UserError, match="column 'prompt_id' is missing"):
        groups(alone)
    (alone / "train.json").write_text(json.dumps([record("a"), record("b")])[:-30])
    with pytest.raises(UserError, match="cut off while downloading"):
        groups(alone)
    (alone / "train.json").unlink()
    pq.write_table(pa.Table.from_pylist(ROWS), alone / "metadata-train.parquet")
    whole = (alone / "metadata-train.parquet").read_bytes()
    (alone / "metadata-train.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        groups(alone)


def test_text_that_is_not_utf8_spoils_its_record_only(tmp_path: Path) -> None:
    text = json.dumps([record("a"), record("b", prompt="caf?"), record("c")])
    (tmp_path / "train.json").write_bytes(text.encode().replace(b"?", b"\xe9"))
    log = ReadLog()
    assert [g.id for g in groups(tmp_path, log)] == ["a", "c"]
    assert [bad.line for bad in log.bad] == [2] and "not UTF-8" in log.bad[0].reason
    (tmp_path / "train.json").write_bytes(text.encode().replace(b"?", b"\xe9")[:-30])
    with pytest.raises(UserError, match="not valid JSON"):
        groups(tmp_path)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path, peak_megabytes: Any) -> None:
    src = write(tmp_path, *[record(str(n)) for n in range(20_000)])
    count, peak = peak_megabytes(ImageRewardFormat(), src)
    assert count == 20_000 and peak < 8
    src = table(tmp_path, *[row(str(n), 1, prompt_id=str(n // 4)) for n in range(20_000)])
    (tmp_path / "train.json").unlink()
    count, peak = peak_megabytes(ImageRewardFormat(), src)
    assert count == 80_000 and peak < 8


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
def test_the_real_file() -> None:
    log = ReadLog()
    found = groups(Path(str(SHARED)) / "data" / "imagereward_test" / "test.json", log)
    assert not log.bad and not log.notes and log.rows == 466
    assert len(found) == 466 and sum(len(group.candidates) for group in found) == 2_720
    comparisons = [c for group in found for c in comparisons_of(group, "overall")]
    assert sum(c.votes[1] == 1 for c in comparisons) == 831
    assert sum(c.votes[1] == 0 for c in comparisons) == 6_399
    assert len({group.id for group in found}) == 466
