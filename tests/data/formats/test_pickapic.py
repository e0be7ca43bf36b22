"""Pick-a-Pic: parquet files in the published layout, with the images inside."""

from __future__ import annotations

import datetime
import io
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.convert import convert
from rewardkit.data.formats import looks_like
from rewardkit.data.formats.pickapic import PickaPicFormat, PickaPicOptions
from rewardkit.data.group import Group
from rewardkit.data.grouping import Grouped, read_groups
from rewardkit.data.index import ShardIndex
from rewardkit.data.reading import image_columns
from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import UserError

SCHEMA = pa.schema(
    [
        ("are_different", pa.bool_()),
        ("best_image_uid", pa.string()),
        ("caption", pa.string()),
        ("created_at", pa.timestamp("ns")),
        ("has_label", pa.bool_()),
        ("image_0_uid", pa.string()),
        ("image_0_url", pa.string()),
        ("image_1_uid", pa.string()),
        ("image_1_url", pa.string()),
        ("jpg_0", pa.binary()),
        ("jpg_1", pa.binary()),
        ("label_0", pa.float64()),
        ("label_1", pa.float64()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("ranking_id", pa.int64()),
        ("user_id", pa.int64()),
        ("num_example_per_prompt", pa.int64()),
        ("__index_level_0__", pa.int64()),
    ]
)
"""As published (v1)."""


def read(src: Path, log: ReadLog | None = None, **options: Any) -> list[Grouped]:
    return read_groups(PickaPicFormat(), src, PickaPicOptions(**options), log)


def groups(src: Path, log: ReadLog | None = None, **options: Any) -> list[Group]:
    return [made.group for made in read(src, log, **options)]


def jpeg(name: str) -> bytes:
    data = io.BytesIO()
    shade = sum(name.encode()) * 37 % 256
    Image.new("RGB", (8, 8), (shade, 0, 255 - shade)).save(data, "JPEG")
    return data.getvalue()


def row(first: str = "u1", second: str = "u2", label: float | None = 1.0, **more: Any) -> dict[str, Any]:
    return {
        "are_different": True,
        "best_image_uid": first,
        "caption": "a red fox",
        "created_at": datetime.datetime(2023, 1, 7),
        "has_label": True,
        "image_0_uid": first,
        "image_0_url": f"https://host/{first}.png",
        "image_1_uid": second,
        "image_1_url": f"https://host/{second}.png",
        "jpg_0": jpeg(first),
        "jpg_1": jpeg(second),
        "label_0": label,
        "label_1": None if label is None else 1 - label,
        "model_0": "sdxl",
        "model_1": "sd15",
        "ranking_id": 1,
        "user_id": 17,
        "num_example_per_prompt": 4,
        "__index_level_0__": 0,
    } | more


def write(folder: Path, *rows: dict[str, Any], name: str = "train-00000-of-00001-aa11.parquet") -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), folder / "data" / name)
    return folder


def test_labels_people_and_images(tmp_path: Path) -> None:
    log = ReadLog()
    rows = [row(), row("u2", "u3", 0.5, model_0="sd15", model_1="pixart"), row("u3", "u1", 0.0, user_id=18)]
    rows[2] |= {"model_0": "pixart", "model_1": "sdxl"}
    made, _ = read(write(tmp_path, *rows, row("u7", "u8", 0.0, caption="a hen", user_id=None)), log)
    group = made.group
    assert [(c.file, c.generator) for c in group.candidates] == [("u1", "sdxl"), ("u2", "sd15"), ("u3", "pixart")]
    assert [(r.by, r.ranks) for r in group.rankings] == [
        ("17", (1, 2, None)),
        ("17", (None, 1, 1)),
        ("18", (1, None, 2)),
    ]
    assert {(c.first, c.second): c.votes for c in comparisons_of(group, "overall")} == {
        (0, 1): (1, 0, 0),
        (1, 2): (0, 1, 0),
        (0, 2): (1, 0, 0),
    }
    assert group.slots == {"num_example_per_prompt": 4}
    assert [image.length for image in made.images] == [len(jpeg(name)) for name in ("u1", "u2", "u3")]
    assert not log.notes and not log.bad and log.rows == 4


def test_rows_without_a_user_are_votes(tmp_path: Path) -> None:
    [group] = groups(
        write(tmp_path, row(user_id=None), row("u2", "u1", 0.5, user_id=None, model_0="sd15", model_1="sdxl"))
    )
    assert [(c.first, c.second, c.votes, c.weight) for c in group.comparisons] == [(0, 1, (1, 1, 0), 1)]


def test_convert_writes_the_bytes_as_they_came(tmp_path: Path) -> None:
    src = write(tmp_path / "pap", row(), row("u2", "u3", 0.5, model_0="sd15", model_1="sd15"))
    convert("pickapic", src, tmp_path / "out")
    group = ShardIndex.open(tmp_path / "out").record(0)
    assert [(c.width, c.height) for c in group.candidates] == [(8, 8)] * 3
    assert group.slots == {"num_example_per_prompt": 4}


def test_unlabelled_and_equal_pairs(tmp_path: Path) -> None:
    src = write(
        tmp_path,
        row(),
        row("u3", "u4", 0.0, has_label=False),
        row("u5", "u6", None, has_label=False, caption="a hen"),
        row("u7", "u8", 0.5, are_different=False),
        row("u9", "u9", 0.5, are_different=False),
    )
    log = ReadLog()
    [group] = groups(src, log)
    assert [c.file for c in group.candidates] == ["u1", "u2", "u7", "u8"]
    assert sorted(log.notes.values()) == [1, 2] and not log.bad
    found = groups(src, keep_unlabelled=True)
    assert [[c.file for c in group.candidates] for group in found] == [
        ["u1", "u2", "u3", "u4", "u7", "u8"],
        ["u5", "u6"],
    ]
    assert len(found[0].rankings) == 2 and not found[1].dimensions
    [group] = groups(src, only_different=True)
    assert [c.file for c in group.candidates] == ["u1", "u2"]


def test_examples_per_prompt(tmp_path: Path) -> None:
    rows = [row(f"a{n}", f"b{n}", caption=f"prompt {n % 2}") for n in range(6)]
    src = write(tmp_path, *rows, row("c", "d", has_label=False, caption="prompt 1"))
    log = ReadLog()
    found = groups(src, log, limit_examples_per_prompt=2)
    assert [[c.file for c in group.candidates] for group in found] == [
        ["a0", "b0", "a2", "b2"],
        ["a1", "b1", "a3", "b3"],
    ]
    assert log.notes["pairs beyond limit_examples_per_prompt: left out"] == 2
    [group, _] = groups(src, weigh_examples=True)
    assert [c.weight for c in group.comparisons] == [0.25] * 3 and not group.rankings


def test_splits(tmp_path: Path) -> None:
    write(tmp_path, row())
    write(tmp_path, row(), name="validation_unique-00000-of-00001-bb.parquet")
    write(tmp_path, row("u3", "u4"), name="validation-00000-of-00001-cc.parquet")
    with pytest.raises(UserError, match="say split=train or split=validation or split=validation_unique"):
        read(tmp_path)
    assert [c.file for c in groups(tmp_path, split="validation")[0].candidates] == ["u3", "u4"]
    assert len(groups(tmp_path, split="train,validation_unique")) == 2
    assert len(groups(tmp_path / "data" / "train-00000-of-00001-aa11.parquet")) == 1
    with pytest.raises(UserError, match=r"split=test: .* has no file test-\*"):
        read(tmp_path, split="test")
    with pytest.raises(UserError, match=r"split=trian is not a split of Pick-a-Pic. Did you mean 'train'"):
        read(tmp_path, split="trian")


def test_several_files_of_a_split_are_one_set(tmp_path: Path) -> None:
    write(tmp_path, row(), row("u5", "u6", caption="a hen"), name="train-00000-of-00002-aa.parquet")
    write(tmp_path, row("u3", "u4"), name="train-00001-of-00002-bb.parquet")
    log = ReadLog()
    fox, _ = groups(tmp_path, log)
    assert len(fox.candidates) == 4
    assert set(log.files) == {"data/train-00000-of-00002-aa.parquet", "data/train-00001-of-00002-bb.parquet"}


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    """The layout of ``DatasetDict.save_to_disk`` and ``Dataset.save_to_disk``: arrow streams, one folder per split."""
    table = pa.Table.from_pylist([row(), row("u3", "u4", 0.0)], schema=SCHEMA)
    for folder in ("both/train", "both/test_unique", "one"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "state.json").write_text("{}")
        file = str(tmp_path / folder / "data-00000-of-00001.arrow")
        with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as stream:
            stream.write_table(table)
    (tmp_path / "both" / "dataset_dict.json").write_text('{"splits": ["train", "test_unique"]}')
    [group] = groups(tmp_path / "both", split="test_unique")
    assert [c.file for c in group.candidates] == ["u1", "u2", "u3", "u4"]
    with pytest.raises(UserError, match="say split=test_unique or split=train"):
        read(tmp_path / "both")
    assert len(groups(tmp_path / "one")[0].rankings) == 2


def test_images_without_uids_and_in_structs(tmp_path: Path) -> None:
    """Other sets in this layout store images as ``datasets.Image`` does, and name none."""
    rows = []
    for label, names in ((1.0, ("x", "y")), (0.0, ("y", "z"))):
        cells = {f"jpg_{side}": {"bytes": jpeg(name), "path": None} for side, name in enumerate(names)}
        rows.append({"caption": "p", "label_0": label, "label_1": 1 - label} | cells)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    [group] = groups(tmp_path / "pairs.parquet")
    assert len(group.candidates) == 3 and all(c.file.startswith("sha256-") for c in group.candidates)
    assert [(c.first, c.second, c.votes) for c in group.comparisons] == [(0, 1, (1, 0, 0)), (1, 2, (0, 0, 1))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_0": 2.0, "label_1": -1.0}, "label_0 and label_1 are 2.0 and -1.0; they must be 1 and 0"),
        ({"label_1": 1.0}, "label_0 and label_1 are 1.0 and 1.0"),
        ({"label_0": 0.7, "label_1": 0.3}, "label_0 and label_1 are 0.7 and 0.3"),
        ({"label_0": None}, "label_0 is None"),
        ({"jpg_1": None}, "jpg_1 is empty"),
        ({"jpg_1": b""}, "jpg_1 holds no bytes"),
        ({"image_1_uid": "u3"}, "the pair names the image 'u3' twice"),
        ({"caption": ""}, "caption is empty"),
        ({"caption": None}, "the field 'caption' is missing"),
        ({"num_example_per_prompt": 0}, "num_example_per_prompt is 0"),
        ({"image_0_uid": "u1", "model_0": "sdxl"}, "the image 'u1' has other bytes here than in an earlier row"),
        ({"image_0_uid": "u1", "jpg_0": jpeg("u1"), "model_0": "pixart"}, "'pixart', but an earlier row"),
    ],
)
def test_bad_rows_are_left_out_and_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    log = ReadLog()
    [group] = groups(write(tmp_path, row(), row("u3", "u4") | change, row("u5", "u6")), log)
    assert [c.file for c in group.candidates] == ["u1", "u2", "u5", "u6"]
    assert [bad.line for bad in log.bad] == [2] and message in log.bad[0].reason


def test_files_of_another_kind(tmp_path: Path) -> None:
    src = write(tmp_path / "pap", row(), row("u3", "u4"))
    assert looks_like(src) == ["pickapic"]
    file = src / "data" / "train-00000-of-00001-aa11.parquet"
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["jpg_0", "jpg_1"]), file)
    with pytest.raises(UserError, match=r"by URL only .no column jpg_0 and jpg_1.: it is the set without images"):
        read(src)
    pq.write_table(table.drop_columns(["jpg_0", "image_0_url", "image_1_url"]), file)
    with pytest.raises(UserError, match="column 'jpg_0' is missing"):
        read(src)
    pq.write_table(table.drop_columns(["label_0"]), file)
    with pytest.raises(UserError, match="column 'label_0' is missing"):
        read(src)
    assert looks_like(src) == []
    pq.write_table(table.append_column("nsfw", pa.array([0.1, 0.2])), file)
    log = ReadLog()
    read(src, log)
    assert list(log.notes) == [f"column 'nsfw' of {file.name} is not one of this format: not read"]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot be read .cut off while downloading"):
        read(src)
    file.unlink()
    with pytest.raises(UserError, match=r"holds no \.parquet"):
        read(src)
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "none")


def test_text_that_is_not_utf8_spoils_its_row_only(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row(), row("u3", "u4"), row("u5", "u6")], schema=SCHEMA)
    spoilt = pa.array([b"a red fox", b"a red \xe9", b"a red fox"]).view(pa.binary()).cast(pa.string(), safe=False)
    file = tmp_path / "train-0.parquet"
    pq.write_table(table.set_column(2, "caption", spoilt), file)
    log = ReadLog()
    [group] = groups(file, log)
    assert len(group.candidates) == 4
    assert [bad.line for bad in log.bad] == [2] and "not UTF-8" in log.bad[0].reason


def test_a_column_of_images_at_a_time_gives_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [row(f"a{n}", f"b{n}", n % 3 / 2, user_id=n) for n in range(7)]
    pairs[3] |= {"jpg_1": None}
    table = pa.Table.from_pylist(pairs, schema=SCHEMA)
    captions = pa.array([b"a red fox", b"\xe9", *[b"a red fox"] * 5], pa.binary()).cast(pa.string(), safe=False)
    table = table.set_column(2, "caption", captions)
    structs = [{"bytes": pair["jpg_0"], "path": None if n == 4 else f"{n}.jpg"} for n, pair in enumerate(pairs)]
    for name, made in (("bytes", table), ("structs", table.set_column(9, "jpg_0", pa.array(structs)))):
        pq.write_table(made, tmp_path / f"{name}.parquet", row_group_size=3)
    for name in ("bytes", "structs"):
        for drop in ([], ["image_0_uid"]):
            file = tmp_path / f"{name}{len(drop)}.parquet"
            pq.write_table(pq.read_table(tmp_path / f"{name}.parquet").drop_columns(drop), file, row_group_size=3)
            found = []
            for large in (1 << 24, 0):
                monkeypatch.setattr(image_columns, "LARGE", large)
                log = ReadLog()
                said = list(PickaPicFormat().read(file, PickaPicOptions(), log))
                assert [bad.line for bad in log.bad] == [2, 4] and log.rows == 7 and len(said) == 5
                found.append(said)
            assert found[0] == found[1]


MEASURE = """
import sys
from pathlib import Path
import pyarrow.parquet
from rewardkit.data.reading.format import ReadLog
from rewardkit.data.formats.pickapic import PickaPicFormat, PickaPicOptions

def peak():
    # Not ru_maxrss, which a process takes over from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))

before = peak()
count = sum(1 for _ in PickaPicFormat().read(Path(sys.argv[1]), PickaPicOptions(), ReadLog()))
print(count, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """20 000 rows of two 8 kB images, 320 MB in all; and 300 rows of two 512 kB images, in row groups of 100."""
    for name, rows, size, limit in (("small", 20_000, 1 << 13, 100), ("large", 300, 1 << 19, 250)):
        pair = row()
        noise = random.Random(0).randbytes(size + rows)
        file = tmp_path / f"{name}.parquet"
        with pq.ParquetWriter(file, SCHEMA, compression="none") as writer:
            for start in range(0, rows, 100):
                made = []
                for n in range(start, min(rows, start + 100)):
                    image = noise[n : n + size]
                    made.append(pair | {"image_0_uid": f"{n}a", "image_1_uid": f"{n}b", "jpg_0": image, "jpg_1": image})
                writer.write_table(pa.Table.from_pylist(made, schema=SCHEMA))
        done = subprocess.run([sys.executable, "-c", MEASURE, file], capture_output=True, text=True, check=True)
        count, megabytes = map(int, done.stdout.split())
        assert count == rows and megabytes < limit
