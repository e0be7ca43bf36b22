"""RichHF-18K: TFRecord files written by other code are read, damaged ones are told, scores become answers."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c as crc_of_tensorboard

from rewardkit.data.formats.richhf import RichHfFormat, RichHfOptions
from rewardkit.data.group import Group
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog
from rewardkit.data.reading.tfrecord import examples, masked_crc32c
from rewardkit.errors import DataError, UserError

FOX, HEN = "train/1140cc3a-b190-40de-a9ab-777011e782dd.png", "train/0944891a-e309-40d9-be77-ed1c18f804f8.png"


def example_class() -> Any:
    """``tf.train.Example``, declared again for protobuf."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tf", syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    lists = {"BytesList": types.TYPE_BYTES, "FloatList": types.TYPE_FLOAT, "Int64List": types.TYPE_INT64}
    for name, kind in lists.items():
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=types.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(lists, start=1):
        feature.field.add(
            name=name.lower(), number=number, type=types.TYPE_MESSAGE, type_name=f".tf.{name}", oneof_index=0, label=1
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=types.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=types.TYPE_MESSAGE, type_name=".tf.Feature", label=1)
    features.field.add(
        name="feature", number=1, type=types.TYPE_MESSAGE, type_name=".tf.Features.FeatureEntry", label=3
    )
    whole = file.message_type.add(name="Example")
    whole.field.add(name="features", number=1, type=types.TYPE_MESSAGE, type_name=".tf.Features", label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tf.Example"))


Example = example_class()


def framed(values: dict[str, Any]) -> bytes:
    """A record as TensorFlow writes it."""
    made = Example()
    for name, value in values.items():
        feature = made.features.feature[name]
        for item in value if isinstance(value, list) else [value]:
            kind = "floatlist" if isinstance(item, float) else "int64list" if isinstance(item, int) else "byteslist"
            getattr(feature, kind).value.append(item.encode() if isinstance(item, str) else item)
    data = made.SerializeToString()
    length = struct.pack("<Q", len(data))
    crc = [struct.pack("<I", crc_of_tensorboard(part)) for part in (length, data)]
    return length + crc[0] + data + crc[1]


def record(filename: str = FOX, **more: Any) -> dict[str, Any]:
    return {
        "filename": filename,
        "aesthetics_score": 0.75,
        "artifact_score": 0.5,
        "misalignment_score": 0.25,
        "overall_score": 1.0,
        "artifact_map": b"\x89PNG" * 50,
        "misalignment_map": b"\x89PNG" * 50,
        "prompt_misalignment_label": "1 1 0",
    } | more


def write(folder: Path, *records: dict[str, Any], name: str = "train.tfrecord") -> Path:
    (folder / name).write_bytes(b"".join(map(framed, records)))
    return folder / name


def prompts(folder: Path) -> list[str]:
    (folder / "prompts.csv").write_text(f'filename,prompt\n{FOX},a red fox\n{Path(HEN).stem},"a hen, running"\n')
    return ["prompts.csv"]


def groups(src: Path, log: ReadLog | None = None, **options: Any) -> list[Group]:
    return [made.group for made in read_groups(RichHfFormat(), src, RichHfOptions(**options), log) if made.group]


def test_scores_become_answers_and_token_labels_stay(tmp_path: Path) -> None:
    file = write(tmp_path, record(), record(HEN))
    log = ReadLog()
    fox, hen = groups(tmp_path, log, prompts=prompts(tmp_path), images="pictures")
    assert not log.bad and not log.notes and log.rows == 2
    assert (fox.prompt, hen.prompt) == ("a red fox", "a hen, running")
    assert [(a.dimension, a.by, a.value, a.rationale) for a in fox.answers] == [
        ("aesthetics", "mos", 0.75, None),
        ("plausibility", "mos", 0.5, None),
        ("alignment", "mos", 0.25, "1 1 0"),
        ("overall", "mos", 1.0, None),
    ]
    assert fox.slots == {"tokens": ["a", "red", "fox"]} and hen.slots == {"tokens": ["a", "hen", "running"]}
    assert fox.tags == {"split": "train"} and fox.candidates[0].file == FOX
    assert fox.provenance["file"] == file.name
    [place] = read_groups(RichHfFormat(), tmp_path, RichHfOptions(prompts=["prompts.csv"], images="pictures"))[0].images
    assert (place.folder, place.name) == ("pictures", FOX)


def test_splits_are_told_apart(tmp_path: Path) -> None:
    for name in ("test", "dev", "train"):
        write(tmp_path, record(f"{name}/{Path(FOX).stem}.png"), name=f"{name}.tfrecord")
    (tmp_path / "p.csv").write_text(f"filename,caption\n{Path(FOX).stem},a red fox\n")
    assert [g.tags["split"] for g in groups(tmp_path, prompts=["p.csv"])] == ["train", "dev", "test"]
    assert [g.tags["split"] for g in groups(tmp_path, prompts=["p.csv"], split="dev")] == ["dev"]
    with pytest.raises(UserError, match=r"split=valid: .* holds no valid.tfrecord"):
        groups(tmp_path, prompts=["p.csv"], split="valid")


def test_the_same_fields_as_parquet_with_prompt_and_image(tmp_path: Path) -> None:
    rows = [record() | {"caption": "a red fox", "image": b"bytes"}, record(HEN) | {"caption": "a hen", "image": None}]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "train-00000-of-00001.parquet")
    log = ReadLog()
    made = read_groups(RichHfFormat(), tmp_path, None, log)
    assert [(g.group.prompt, g.group.tags) for g in made if g.group] == [
        ("a red fox", {"split": "train"}),
        ("a hen", {"split": "train"}),
    ]
    assert [g.images[0].offset for g in made] == [0, None]
    assert list(log.notes.values()) == [1] and "another number of labels" in next(iter(log.notes))
    assert RichHfFormat().matches(tmp_path)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (record(overall_score=1.5), "overall_score is 1.5; it must lie between 0 and 1"),
        (record(prompt_misalignment_label="1 2 0"), "prompt_misalignment_label is '1 2 0'; it must be 0 or 1"),
        (record("train/unknown.png"), "there is no prompt for 'train/unknown.png' in prompts.csv"),
        ({name: value for name, value in record().items() if name != "filename"}, "filename is None"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, broken: dict[str, Any], message: str) -> None:
    log = ReadLog()
    read = groups(write(tmp_path, record(HEN), broken), log, prompts=prompts(tmp_path))
    assert [g.prompt for g in read] == ["a hen, running"]
    assert (log.bad[0].file, log.bad[0].line) == ("train.tfrecord", 2) and message in log.bad[0].reason


def test_a_missing_score_is_missing(tmp_path: Path) -> None:
    file = write(tmp_path, {"filename": FOX, "overall_score": 0.0})
    [group] = groups(file, prompts=prompts(tmp_path))
    assert [(a.dimension, a.value) for a in group.answers] == [("overall", 0.0)]


def test_damage_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, record(), record(HEN), record(HEN))
    whole, options = file.read_bytes(), {"prompts": prompts(tmp_path)}
    third = len(framed(record())) + len(framed(record(HEN)))
    log = ReadLog()
    file.write_bytes(whole[:40] + b"?" + whole[41:])
    assert len(groups(file, log, **options)) == 1
    assert log.bad[0].line == 1 and "checksum is wrong" in log.bad[0].reason
    for data, message in (
        (whole[:-7], "cut off behind record 2"),
        (whole[: third + 5], "damaged or cut off behind record 2"),
        (whole[:third] + b"\xff" + whole[third + 1 :], "damaged or cut off behind record 2"),
        (b"filename,prompt\na,b\n", "is no TFRecord file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (b"", "is empty"),
    ):
        file.write_bytes(data)
        with pytest.raises(UserError, match=message):
            groups(file, **options)


def test_what_is_needed_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must hold train.tfrecord, dev.tfrecord or test.tfrecord"):
        groups(tmp_path)
    file = write(tmp_path, record())
    with pytest.raises(UserError, match=r"does not hold the prompts.* by prompts=FILE"):
        groups(file)
    with pytest.raises(UserError, match=r"prompts=none.csv: there is no such file"):
        groups(file, prompts=["none.csv"])
    (tmp_path / "bad.csv").write_text("name,prompt\n")
    with pytest.raises(UserError, match="the column 'filename' is missing"):
        groups(file, prompts=["bad.csv"])
    (tmp_path / "other.csv").write_text(f"filename,prompt\n{FOX},a\n")
    with pytest.raises(UserError, match="the field 'aesthetics_score' is missing"):
        groups(tmp_path / "other.csv")
    assert RichHfFormat().matches(file) and not RichHfFormat().matches(tmp_path / "other.csv")


def test_other_examples(tmp_path: Path) -> None:
    file = write(tmp_path, {"whole": [1, -2, 1 << 40], "floats": [0.5, -0.25], "texts": ["a", "b"]})
    log = ReadLog()
    assert list(examples(file, log, "x")) == [
        (1, {"whole": [1, -2, 1 << 40], "floats": [0.5, -0.25], "texts": [b"a", b"b"]})
    ]
    body = b"\x0a\xff"  # a message that is longer than its record
    length = struct.pack("<Q", len(body))
    crc = [struct.pack("<I", crc_of_tensorboard(part)) for part in (length, body)]
    file.write_bytes(length + crc[0] + body + crc[1])
    assert list(examples(file, log, "x")) == [] and "not a tf.train.Example" in log.bad[0].reason


def test_checksums_are_those_of_the_standard() -> None:
    # RFC 3720, B.4: 32 bytes of zeros give 8a9136aa.
    unmasked = (masked_crc32c(bytes(32)) - 0xA282EAD8) & 0xFFFFFFFF
    assert ((unmasked << 15) | (unmasked >> 17)) & 0xFFFFFFFF == 0x8A9136AA


def test_too_many_bad_records_end_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be used"):
        groups(write(tmp_path, record("a.png"), record("b.png")), prompts=prompts(tmp_path))
