"""HPD v1: the chosen image is preferred to each other one of its record, and nothing is said of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats import looks_like
from rewardkit.data.formats.hpdv1 import Hpdv1Format, Hpdv1Options
from rewardkit.data.group import Group
from rewardkit.data.grouping import Grouped, read_groups
from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import DataError, UserError


def read(src: Path, log: ReadLog | None = None, **options: Any) -> list[Grouped]:
    return read_groups(Hpdv1Format(), src, Hpdv1Options(**options), log)


def groups(src: Path, log: ReadLog | None = None, **options: Any) -> list[Group]:
    return [made.group for made in read(src, log, **options)]


def record(chosen: Any, images: int = 4, instance: int = 7, **more: Any) -> dict[str, Any]:
    return {
        "human_preference": chosen,
        "prompt": "a red fox",
        "id": instance,
        "file_path": [f"{instance}_{n}.jpg" for n in range(images)],
        "user_hash": "ann",
        "contain_name": False,
    } | more


def write(folder: Path, *records: Any, name: str = "preference_train.json") -> Path:
    (folder / name).write_text(json.dumps(list(records)))
    (folder / "preference_images").mkdir(exist_ok=True)
    return folder


def beats(group: Group) -> set[tuple[str, str]]:
    """Winner and loser of each compared pair."""
    files = [candidate.file for candidate in group.candidates]
    pairs = set()
    for c in comparisons_of(group, "overall"):
        assert sorted(c.votes) == [0, 0, 1]
        pairs.add((files[c.first], files[c.second]) if c.votes[0] else (files[c.second], files[c.first]))
    return pairs


@pytest.mark.parametrize("chosen", range(4))
def test_the_chosen_image_beats_each_other(tmp_path: Path, chosen: int) -> None:
    log = ReadLog()
    [made] = read(write(tmp_path, record(chosen)), log)
    files = [f"7_{n}.jpg" for n in range(4)]
    assert beats(made.group) == {(files[chosen], other) for other in files if other != files[chosen]}
    # The order of the images is the file's, whichever was chosen.
    assert [candidate.file for candidate in made.group.candidates] == files
    assert {ranking.by for ranking in made.group.rankings} == {"ann"}
    assert made.group.tags == {"contain_name": "no"}
    assert {image.folder for image in made.images} == {"preference_images"}
    assert not log.notes and not log.bad


def test_several_people_on_one_prompt(tmp_path: Path) -> None:
    src = write(
        tmp_path,
        record(0, 2),
        record(1, 2, user_hash="bo"),
        record(1, 2, instance=8, user_hash="bo"),
        record(0, 2, user_hash=None),
    )
    [group] = groups(src)
    assert [c.file for c in group.candidates] == ["7_0.jpg", "7_1.jpg", "8_0.jpg", "8_1.jpg"]
    # One choice has no name: the choices are added up as votes.
    assert {(c.first, c.second): c.votes for c in group.comparisons} == {(0, 1): (2, 0, 1), (2, 3): (0, 0, 1)}
    [group] = groups(write(tmp_path, record(0, 2), record(1, 2, user_hash="bo")))
    assert [(r.by, r.ranks) for r in group.rankings] == [("ann", (1, 2)), ("bo", (2, 1))]


def test_splits_and_the_other_name_of_the_label(tmp_path: Path) -> None:
    write(tmp_path, record(0))
    changed = record(None, pap_pref=2)
    del changed["human_preference"]
    write(tmp_path, changed, name="preference_test.json")
    with pytest.raises(UserError, match="say split=train or split=test"):
        read(tmp_path)
    [group] = groups(tmp_path, split="test")
    assert ("7_2.jpg", "7_0.jpg") in beats(group)
    both = groups(tmp_path, split="train,test")
    assert [(g.prompt, g.provenance["file"]) for g in both] == [
        ("a red fox", "preference_train.json"),
        ("a red fox", "preference_test.json"),
    ]
    assert both[0].id != both[1].id
    assert len(groups(tmp_path / "preference_test.json")) == 1
    with pytest.raises(UserError, match="split=val is not a split of format=hpdv1"):
        read(tmp_path, split="val")
    (tmp_path / "preference_test.json").unlink()
    with pytest.raises(UserError, match=r"has no preference_test\.json"):
        read(tmp_path, split="test")


def test_where_the_images_are(tmp_path: Path) -> None:
    src = write(tmp_path, record(0, file_path=["preference_images/a.jpg", "preference_images/b.jpg"]))
    assert {image.folder for image in read(src)[0].images} == {""}
    (tmp_path / "preference_images").rmdir()
    src = tmp_path / "preference_train.json"
    src.write_text(json.dumps([record(0)]))
    assert {image.folder for image in read(src)[0].images} == {""}
    assert {image.folder for image in read(src, images="pictures")[0].images} == {"pictures"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (record(4), "human_preference is 4; it must be the place of one of 4 images, from 0"),
        (record(-1), "human_preference is -1"),
        (record(True), "human_preference is True"),
        (record(None), "human_preference is None"),
        (record([1, 0, 0, 0]), "A list is HPD v2's"),
        (record(0, 1), "a choice needs two"),
        (record(0, file_path=["a.jpg", "a.jpg"]), "names the image 'a.jpg' twice"),
        (record(0, prompt=""), "prompt is empty"),
        (record(0, contain_name="no"), "contain_name is 'no'"),
        (7, "not an object"),
    ],
)
def test_bad_records_are_left_out_and_named(tmp_path: Path, bad: Any, message: str) -> None:
    log = ReadLog()
    [group] = groups(write(tmp_path, record(0), bad, record(1, instance=9)), log)
    assert len(group.candidates) == 8
    assert [row.line for row in log.bad] == [2] and message in log.bad[0].reason
    with pytest.raises(DataError, match=r"preference_train\.json:1"):
        read(write(tmp_path, bad))


def test_files_of_another_kind(tmp_path: Path) -> None:
    src = write(tmp_path, *[record(0, seed=3)] * 3)
    log = ReadLog()
    groups(src, log)
    assert list(log.notes) == ["column 'seed' of preference_train.json is not one of this format: not read"]
    assert Hpdv1Format().matches(src) and "hpdv1" in looks_like(src) and "hpdv2" not in looks_like(src)
    write(tmp_path, {"prompt": "p", "file_path": ["a", "b"]})
    with pytest.raises(UserError, match="neither human_preference nor pap_pref"):
        read(src)
    assert not Hpdv1Format().matches(src)
    write(tmp_path, {"prompt": "p", "generations": ["a", "b"]})
    with pytest.raises(UserError, match="column 'file_path' is missing"):
        read(src)
    (src / "preference_train.json").write_text(json.dumps([record(0)] * 3)[:-40])
    with pytest.raises(UserError, match="cut off while downloading"):
        read(src)
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "none")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path, peak_megabytes: Any) -> None:
    src = write(tmp_path, *[record(n % 2, 2, instance=n) for n in range(20_000)])
    count, peak = peak_megabytes(Hpdv1Format(), src)
    assert count == 20_000 and peak < 8
