"""HPD v2 in exactly the published layout, and the one real test group where shared data is at hand."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats import find_format, looks_like
from rewardkit.data.formats.hpdv2 import Hpdv2Format, Hpdv2Options
from rewardkit.data.group import AGGREGATE, Group
from rewardkit.data.grouping import Grouped, read_groups
from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import DataError, UserError

SHARED = os.environ.get("REWARDKIT_SHARED")


def read(src: Path, split: str | None = None, log: ReadLog | None = None) -> list[Grouped]:
    return read_groups(Hpdv2Format(), src, Hpdv2Options(split), log)


def groups(src: Path, split: str | None = None, log: ReadLog | None = None) -> list[Group]:
    return [made.group for made in read(src, split, log)]


def draw(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(names):
        Image.new("RGB", (8, 8), (n, 0, 0)).save(folder / name)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """HPD/{train,test}/ID.jpg with train.json and test.json; pairs of two prompts stand mixed."""
    src = tmp_path / "HPD"
    names = [f"{n:08d}.jpg" for n in range(8)]
    draw(src / "train", names)
    draw(src / "test", names[:3])
    worth = {name: n for n, name in enumerate(names)}
    rows = []
    for (i, j), prompt_of in [(pair, base) for pair in combinations(range(4), 2) for base in (0, 4)]:
        a, b = names[prompt_of + j], names[prompt_of + i]
        rows.append(
            {
                "human_preference": [1, 0] if worth[a] > worth[b] else [0, 1],
                "prompt": f"prompt {prompt_of}",
                "file_path": [a, b],
            }
        )
    (src / "train.json").write_text(json.dumps(rows))
    test = {
        "prompt": "t",
        "image_path": names[:3],
        "rank": [1, 3, 2],
        "raw_annotations": [{"rank": [1, 2, 3], "user_hash": "u1"}, {"rank": [1, 3, 2], "user_hash": "u2"}],
    }
    (src / "test.json").write_text(json.dumps([test]))
    return src


def change_test(src: Path, *changes: dict[str, Any]) -> None:
    """Writes the record of test.json once for each change."""
    [row] = json.loads((src / "test.json").read_text())
    (src / "test.json").write_text(json.dumps([row | change for change in changes]))


def test_train_pairs_of_one_prompt_are_one_group(published: Path) -> None:
    found = read(published, "train")
    assert [(g.group.id, g.group.prompt, len(g.group.candidates)) for g in found] == [
        ("train-000000", "prompt 0", 4),
        ("train-000001", "prompt 4", 4),
    ]
    for made in found:
        comparisons = comparisons_of(made.group, "overall")
        assert len(comparisons) == 6
        for c in comparisons:
            # By construction the greater file name is the preferred one.
            first_is_better = made.group.candidates[c.first].file > made.group.candidates[c.second].file
            assert c.votes == ((1, 0, 0) if first_is_better else (0, 0, 1))
        assert all((published / image.folder / image.name).is_file() for image in made.images)
        assert {image.folder for image in made.images} == {"train"}
        assert {candidate.generator for candidate in made.group.candidates} == {None}


def test_the_id_is_the_number_of_the_first_record_of_the_prompt(published: Path) -> None:
    pairs = [("p", "a", "b"), ("p", "a", "c"), ("q", "d", "e"), ("p", "b", "c")]
    rows = [{"prompt": p, "file_path": [f"{a}.jpg", f"{b}.jpg"], "human_preference": [0, 1]} for p, a, b in pairs]
    (published / "train.json").write_text(json.dumps(rows))
    assert [g.id for g in groups(published, "train")] == ["train-000000", "train-000002"]


def test_choices_of_named_people_keep_the_names(published: Path) -> None:
    row = {"prompt": "p", "file_path": ["0.jpg", "1.jpg"]}
    rows = [row | {"human_preference": [0, 1], "user_hash": by} for by in ("ann", "bo")]
    (published / "train.json").write_text(json.dumps(rows))
    [group] = groups(published, "train")
    assert [(r.by, r.ranks) for r in group.rankings] == [("ann", (2, 1)), ("bo", (2, 1))]
    assert comparisons_of(group, "overall")[0].votes == (0, 0, 2)


def test_test_keeps_every_annotator_and_the_average(published: Path) -> None:
    [made] = read(published, "test")
    assert [(r.by, r.ranks) for r in made.group.rankings] == [
        ("u1", (1, 2, 3)),
        ("u2", (1, 3, 2)),
        (AGGREGATE, (1, 3, 2)),
    ]
    assert [c.votes for c in comparisons_of(made.group, "overall")] == [(2, 0, 0), (2, 0, 0), (1, 0, 1)]
    assert {image.folder for image in made.images} == {"test"}


def test_annotators_of_one_name_are_kept_apart(published: Path) -> None:
    raw = [{"rank": ranks, "user_hash": "u1"} for ranks in ([1, 2, 3], [2, 1, 3], [1, 3, 2])]
    change_test(published, {"raw_annotations": raw})
    log = ReadLog()
    [group] = groups(published, "test", log)
    assert [r.by for r in group.rankings] == ["u1", "u1#2", "u1#3", AGGREGATE]
    assert comparisons_of(group, "overall")[0].votes == (2, 0, 1)
    assert sum(log.notes.values()) == 2


def test_records_of_one_prompt_in_test_stay_apart(published: Path) -> None:
    change_test(published, {}, {"image_path": ["00000002.jpg", "00000001.jpg", "00000000.jpg"]})
    assert [g.id for g in groups(published, "test")] == ["test-000000", "test-000001"]
    assert len(groups(published, "train,test")) == 4


def test_the_name_of_the_field_in_the_readme(published: Path) -> None:
    [row] = json.loads((published / "test.json").read_text())
    row["raw_annotation"] = row.pop("raw_annotations")
    (published / "test.json").write_text(json.dumps([row]))
    log = ReadLog()
    assert len(groups(published, "test", log)[0].rankings) == 3
    assert not log.notes


def test_which_split_is_never_guessed(published: Path) -> None:
    with pytest.raises(UserError, match="say split=train or split=test"):
        read(published)
    assert len(read(published, "train,test")) == 3
    with pytest.raises(UserError, match="has the splits train and test"):
        read(published, "val")
    (published / "train.json").unlink()
    assert len(read(published)) == 1
    with pytest.raises(UserError, match=r"train.json does not exist"):
        read(published, "train")


def test_the_file_itself_can_be_given(published: Path) -> None:
    assert len(read(published / "train.json")) == 2
    assert read(published / "test.json")[0].images[0].folder == "test"
    with pytest.raises(UserError, match="is of split=train"):
        read(published / "train.json", "test")
    (published / "other.json").write_text('[{"prompt": "p"}]')
    with pytest.raises(UserError, match=r"neither train.json nor test.json"):
        read(published / "other.json")


def test_preferences_for_both_or_nobody_and_shares(published: Path) -> None:
    row: dict[str, Any] = {"prompt": "p", "file_path": ["00000000.jpg", "00000001.jpg"]}
    rows = [row | {"human_preference": value} for value in ([1, 1], [0, 0], [0, 1])]
    (published / "train.json").write_text(json.dumps(rows))
    log = ReadLog()
    [group] = groups(published, "train", log)
    assert group.comparisons[0].votes == (0, 1, 1)
    assert sorted(log.notes.values()) == [1, 1]
    rows = [{**row, "human_preference": value} for value in ([0.75, 0.25], [0.5, 0.5])]
    (published / "train.json").write_text(json.dumps(rows))
    assert groups(published, "train")[0].comparisons[0].votes == (0.75, 1, 0.25)


def test_a_folder_inside_the_path_is_the_generator(published: Path) -> None:
    change_test(published, {"image_path": ["sdxl/a.jpg", "glide/a.jpg"], "rank": [1, 2], "raw_annotations": None})
    [group] = groups(published, "test")
    assert [c.generator for c in group.candidates] == ["sdxl", "glide"]


def test_paths_that_begin_with_the_split(published: Path) -> None:
    change_test(published, {"image_path": [f"test/{n:08d}.jpg" for n in range(3)]})
    [made] = read(published, "test")
    assert all((published / image.folder / image.name).is_file() for image in made.images)
    assert {c.generator for c in made.group.candidates} == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": [1, 2]}, r"test.json:1: rank is \[1, 2\]; it must be a list of 3"),
        ({"rank": [1, 2, "x"]}, "rank is 'x'; it must be a number"),
        ({"rank": [1, 2, 4]}, "rank is 4; it must lie between 1 and 3"),
        ({"rank": [0, 1, 2]}, "rank is 0; it must lie between 1"),
        ({"image_path": ["a.jpg", "a.jpg", "b.jpg"]}, "names the image 'a.jpg' twice"),
        ({"prompt": None}, "the field 'prompt' is missing"),
        ({"prompt": " "}, "prompt is empty"),
        ({"raw_annotations": [[1, 2, 3]]}, "list of objects"),
        ({"raw_annotations": [{"rank": [1, 2], "user_hash": "u"}]}, "a list of 3 numbers"),
        ({"raw_annotations": [{"rank": [1, 2, 3], "user_hash": "aggregate"}]}, "the name of averaged orders"),
        ({"raw_annotations": [], "rank": None}, "neither rank nor raw_annotations"),
    ],
)
def test_broken_records_are_left_out_and_named(published: Path, change: dict[str, Any], message: str) -> None:
    change_test(published, change)
    with pytest.raises(DataError, match=message):
        read(published, "test")
    [row] = json.loads((published / "test.json").read_text())
    (published / "test.json").write_text(json.dumps([{**row, **GOOD}, row, {**row, **GOOD}]))
    log = ReadLog()
    assert [g.id for g in groups(published, "test", log)] == ["test-000000", "test-000002"]
    assert len(log.bad) == 1 and log.bad[0].line == 2


GOOD = {"prompt": "t", "image_path": ["a.jpg", "b.jpg", "c.jpg"], "rank": [1, 2, 3], "raw_annotations": []}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 0, 0], "must be two numbers"),
        ([2, 0], "human_preference is 2; it must lie between 0 and 1"),
        ([0.7, 0.7], "two shares whose sum is 1"),
        (1, "must be two numbers"),
        ([True, False], "must be a number"),
        (None, "must be two numbers"),
    ],
)
def test_labels_that_make_no_sense(published: Path, value: Any, message: str) -> None:
    rows = json.loads((published / "train.json").read_text())
    rows[3]["human_preference"] = value
    (published / "train.json").write_text(json.dumps(rows))
    log = ReadLog()
    found = groups(published, "train", log)
    assert sorted(len(g.comparisons) for g in found) == [5, 6]
    assert [bad.line for bad in log.bad] == [4] and message in log.bad[0].reason


def test_other_fields_other_files_and_text(published: Path) -> None:
    rows = json.loads((published / "train.json").read_text())
    (published / "train.json").write_text(json.dumps([row | {"seed": 1} for row in rows]))
    log = ReadLog()
    assert len(groups(published, "train", log)) == 2
    assert list(log.notes) == ["column 'seed' of train.json is not one of this format: not read"]
    (published / "train.json").write_text(json.dumps([{"prompt": "p", "file_path": ["a.jpg", "b.jpg"]}]))
    with pytest.raises(UserError, match="column 'human_preference' is missing"):
        read(published, "train")
    (published / "train.json").write_bytes(
        json.dumps(rows).replace("prompt 4", "pr?mpt").encode().replace(b"?", b"\xff")
    )
    log = ReadLog()
    assert len(groups(published, "train", log)) == 1
    assert len(log.bad) == 6 and all("not UTF-8" in bad.reason for bad in log.bad)
    assert not Hpdv2Format().matches(published.parent)
    assert Hpdv2Format().matches(published) and Hpdv2Format().matches(published / "test.json")
    assert "hpdv2" in looks_like(published) and find_format("hpdv2", published).name == "hpdv2"


def test_a_file_cut_off_is_said(published: Path) -> None:
    text = (published / "train.json").read_text()
    (published / "train.json").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"not valid JSON .*cut off while downloading"):
        read(published, "train")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path, peak_megabytes: Any) -> None:
    row = {"human_preference": [0, 1]}
    rows = [row | {"prompt": f"p{n // 6}", "file_path": [f"{n}a.jpg", f"{n}b.jpg"]} for n in range(20_000)]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    count, peak = peak_megabytes(Hpdv2Format(), tmp_path)
    assert count == 20_000 and peak < 8


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """HPD/benchmark with two styles and DrawBench; one model lacks an image, one a style, and files stand about."""
    src = tmp_path / "HPD"
    folder = src / "benchmark"
    three = [f"{n:05d}.jpg" for n in range(3)]
    draw(folder / "benchmark_imgs" / "sdxl" / "anime", three)
    draw(folder / "benchmark_imgs" / "sdxl" / "photo", three[:2])
    draw(folder / "benchmark_imgs" / "glide" / "anime", [three[0], three[2]])
    draw(folder / "drawbench" / "sdxl", three[:1])
    (folder / "benchmark_imgs" / ".DS_Store").write_text("x")
    (folder / "benchmark_imgs" / "readme.txt").write_text("x")
    (folder / "benchmark_imgs" / "sdxl" / "anime" / "list.txt").write_text("x")
    for style, count in (("anime", 3), ("photo", 2), ("drawbench", 1)):
        (folder / f"{style}.json").write_text(json.dumps([f"{style} {n}" for n in range(count)]))
    return src


def test_the_benchmark_has_a_group_per_prompt(benchmark: Path) -> None:
    log = ReadLog()
    found = read(benchmark, log=log)
    assert [(m.group.id, m.group.prompt, [c.generator for c in m.group.candidates]) for m in found] == [
        ("benchmark-anime-00000", "anime 0", ["glide", "sdxl"]),
        ("benchmark-anime-00001", "anime 1", ["sdxl"]),
        ("benchmark-anime-00002", "anime 2", ["glide", "sdxl"]),
        ("benchmark-photo-00000", "photo 0", ["sdxl"]),
        ("benchmark-photo-00001", "photo 1", ["sdxl"]),
        ("benchmark-drawbench-00000", "drawbench 0", ["sdxl"]),
    ]
    assert [m.group.tags["style"] for m in found] == ["anime"] * 3 + ["photo"] * 2 + ["drawbench"]
    assert all((benchmark / image.folder / image.name).is_file() for m in found for image in m.images)
    assert found[1].images[0].name == "sdxl/anime/00001.jpg"
    assert not any(m.group.dimensions for m in found)
    assert dict(log.notes) == {
        "images of anime that the model glide lacks (00001)": 1,
        "models without any image of photo: glide": 1,
    }
    assert len(read(benchmark / "benchmark")) == 6


def test_models_of_the_benchmark_in_archives(benchmark: Path) -> None:
    images = benchmark / "benchmark" / "benchmark_imgs"
    with zipfile.ZipFile(images / "own.zip", "w") as archive:
        for name in ("own/anime/00001.jpg", "own/anime/notes.txt"):
            archive.writestr(name, b"x")
    (images / "packed.tar.gz").write_bytes(b"x")
    log = ReadLog()
    found = read(benchmark, log=log)
    assert [c.generator for c in found[1].group.candidates] == ["own", "sdxl"]
    assert found[1].images[0].name == "own/anime/00001.jpg"
    assert log.notes["packed.tar.gz of benchmark_imgs is compressed: not read, unpack it"] == 2
    (images / "own.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"own.zip cannot be read"):
        read(benchmark)


def test_a_benchmark_without_models_and_with_bad_prompts(benchmark: Path, published: Path) -> None:
    with pytest.raises(UserError, match="say split=train or split=test or split=benchmark"):
        read(benchmark)
    (benchmark / "benchmark" / "anime.json").write_text(json.dumps(["a", "", 3, "d"]))
    log = ReadLog()
    assert len(read(benchmark, "benchmark", log)) == 4
    assert [(bad.file, bad.line) for bad in log.bad] == [("benchmark/anime.json", 2), ("benchmark/anime.json", 3)]
    assert log.notes["prompts of anime.json of which no model has an image: left out"] == 1
    for folder in ("benchmark_imgs", "drawbench"):
        (benchmark / "benchmark" / folder).rename(benchmark / folder)
    log = ReadLog()
    assert read(benchmark, "benchmark", log) == []
    assert log.notes["prompts of photo.json of which no model has an image: left out"] == 2


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
def test_the_real_group() -> None:
    src = Path(str(SHARED)) / "data" / "hpdv2_real_sample"
    [made] = read(src)
    group = made.group
    assert len(group.candidates) == 9
    assert len(group.rankings) == 11
    assert all((src / image.folder / image.name).is_file() for image in made.images)
    comparisons = comparisons_of(group, "overall")
    assert len(comparisons) == 36
    assert {sum(c.votes) for c in comparisons} == {10}
    # Mean agreement of two annotators on a pair, 77.8 % as counted from the published file.
    agreement = [sum(v * (v - 1) for v in c.votes) / 90 for c in comparisons]
    assert sum(agreement) / 36 == pytest.approx(0.778, abs=5e-4)
