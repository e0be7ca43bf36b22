"""Which groups a folder of images and a file of prompts make, and what is told where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from rewardkit.annotate.inputs import FolderGroups, open_groups
from rewardkit.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one/x.png", "one/y.jpg", "gen-a/two.png", "gen-b/two.webp", "three.png", "stray.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (len(name), 0, 0)).save(path)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def prompts(folder: Path, *rows: dict[str, object]) -> str:
    file = folder.parent / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def opened(folder: Path, *rows: dict[str, object]) -> FolderGroups:
    found = open_groups(str(folder), prompts(folder, *rows))
    assert isinstance(found, FolderGroups)
    return found


def test_images_are_found_by_id_and_by_name(folder: Path) -> None:
    groups = opened(
        folder,
        {"id": "one", "prompt": "p1"},
        {"id": "two", "prompt": "p2", "raw_prompt": "raw", "tags": {"style": "photo"}},
        {"id": "three", "prompt": "p3"},
        {"id": "four", "prompt": "p4", "images": ["three.png", "one/x.png"], "generators": ["g", "h"]},
        {"id": "five", "prompt": "p5"},
        {"id": "six", "prompt": "p6", "dropped": "unsafe"},
    )
    found = {group.id: group for group in map(groups.record, range(len(groups)))}
    assert {id: [c.file for c in group.candidates] for id, group in found.items()} == {
        "one": ["one/x.png", "one/y.jpg"],
        "two": ["gen-a/two.png", "gen-b/two.webp"],
        "three": ["three.png"],
        "four": ["three.png", "one/x.png"],
    }
    assert [c.generator for c in found["two"].candidates] == ["gen-a", "gen-b"]
    assert [c.generator for c in found["four"].candidates] == ["g", "h"]
    assert found["two"].slots == {"raw_prompt": "raw"} and found["two"].tags == {"style": "photo"}
    assert all(len(str(c.sha256)) == 64 for group in found.values() for c in group.candidates)
    told = "\n".join(groups.notes)
    assert "1 prompts have no image" in told and "five" in told and "stray.png" in told and "dropped" in told


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"id": "one"}, "row 1: prompt is None"),
        ({"id": "one", "prompt": " "}, "row 1: prompt is ' '"),
        ({"prompt": "p", "images": ["nowhere.png"]}, "nowhere.png is no file"),
        ({"prompt": "p", "images": ["../prompts.jsonl"]}, "no file inside"),
        ({"prompt": "p", "images": ["three.png"], "generators": ["a", "b"]}, "1 images and 2 generators"),
        ({"prompt": "p", "images": [3]}, "must be a list of texts"),
        ({"id": "nine", "prompt": "p"}, "no row has an image"),
        ({"id": "one", "prompt": "p", "tags": "red"}, "tags"),
    ],
)
def test_rows_that_do_not_fit_are_told_with_their_number(folder: Path, row: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        opened(folder, row)


def test_an_id_stands_once_and_a_folder_needs_prompts(folder: Path) -> None:
    with pytest.raises(UserError, match="row 2: the id 'one' stands in it twice"):
        opened(folder, {"id": "one", "prompt": "p"}, {"id": "one", "prompt": "q"})
    with pytest.raises(UserError, match="prompts=FILE"):
        open_groups(str(folder), None)
    with pytest.raises(UserError, match="no such folder"):
        open_groups(str(folder / "nowhere"), None)


def test_a_csv_holds_lists_as_json(folder: Path) -> None:
    file = folder.parent / "prompts.csv"
    file.write_text('id,prompt,images,tags\na,p,"[""three.png""]","{""style"": ""x""}"\nb,q,one/x.png,\n')
    groups = open_groups(str(folder), str(file))
    assert [[c.file for c in groups.record(n).candidates] for n in range(2)] == [["three.png"], ["one/x.png"]]
    assert groups.record(0).tags == {"style": "x"}
