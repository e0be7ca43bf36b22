"""Prompts are read from published lists and tables of one's own; what cannot be used is told, with its place."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rewardkit.benchmark.prompts import MOST_VALUES
from rewardkit.benchmark.published_prompts import read_prompts
from rewardkit.data.questions import read_questions
from rewardkit.errors import UserError

SHARED = os.environ.get("REWARDKIT_SHARED")


def test_published_lists_are_told_by_their_names(hpsv2: tuple[Path, Path]) -> None:
    found = read_prompts([str(hpsv2[0])])
    assert (found.name, found.kind, found.main_tag) == ("hpsv2", "hpsv2", "style")
    assert [prompt.key for prompt in found.prompts[:4]] == [
        "anime/00000", "anime/00001", "anime/00002", "concept-art/00000",
    ]  # fmt: skip
    assert found.prompts[4].stems == ("concept-art/00001",) and found.prompts[4].place == 1
    assert [(part.tag, part.value, part.prompts) for part, _ in found.parts()][:2] == [
        ("", "", 12),
        ("style", "anime", 3),
    ]


def test_a_named_set_is_found_beside_its_images(hpsv2: tuple[Path, Path]) -> None:
    prompts, images = hpsv2
    (prompts / "drawbench.json").write_text(json.dumps(["a cube"]))
    for file in prompts.iterdir():
        file.rename(images.parent / file.name)
    assert len(read_prompts(["hpsv2"], [images / "sd"]).prompts) == 12
    assert read_prompts(["drawbench"], [images]).prompts[0].stems == ("drawbench/00000", "00000")
    with pytest.raises(UserError, match="evalalign: its files lie neither beside the images"):
        read_prompts(["evalalign"], [images])


def test_drawbench_beside_the_styles_is_counted_apart(hpsv2: tuple[Path, Path]) -> None:
    (hpsv2[0] / "drawbench.json").write_text(json.dumps(["a cube", "a ball"]))
    found = read_prompts([str(hpsv2[0])])
    parts = {part.value: part for part, _ in found.parts()}
    assert len(found.prompts) == 14 and parts[""].prompts == 12
    assert not parts["drawbench"].of_all and parts["photo"].of_all
    assert len(found.without("drawbench").prompts) == 12


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a fox", "id": "x/1", "tags": {"style": "photo", "season": "winter"}, "slots": {"Object": "fox"}},
        {"prompt": "a cat", "style": "drawing"},
        *({"prompt": f"{n}", "tags": {"number": str(n)}} for n in range(MOST_VALUES + 1)),
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_prompts([str(file)])
    assert (found.name, found.kind, found.main_tag) == ("mine", "prompts", "style")
    assert found.prompts[0].stems == ("photo/x/1", "x/1") and found.prompts[1].key == "00001"
    tags = {part.tag for part, _ in found.parts()}
    assert tags == {"", "style", "season"} and "tag number has more than" in found.notes[0]
    asked = found.prompts[0].asked(read_questions("evalalign"))
    assert asked == ["body", "Hand", "face", "object", "common", "Object"]


def test_drawbench_as_its_authors_publish_it(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("Prompts,Category\nA red colored car.,Colors\nA blue cup.,Colors\n")
    found = read_prompts([str(tmp_path / "data.csv")])
    assert found.prompts[1].text == "A blue cup." and found.prompts[1].tags == {"category": "Colors"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a", "id": "1"}\n{"prompt": "b", "id": "1"}\n', "two prompts have the id '1'"),
        ('{"prompt": "a", "id": "../x"}\n', "cannot name an image file"),
        ('{"prompt": "a"}\n{"prompt": "  "}\n', "prompt 2: the prompt is '  '"),
        ('{"prompt": "a", "tags": 3}\n', "tags is 3"),
        ('{"text": "a"}\n', "no column 'prompt'"),
        ("", "there are no prompts"),
    ],
)
def test_what_cannot_be_used_is_told(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts([str(tmp_path / "p.jsonl")])


def test_a_folder_or_name_without_prompts_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no list of prompts: neither HPS v2's \(anime"):
        read_prompts([str(tmp_path)])
    with pytest.raises(UserError, match="no such file or folder, and it is none of hpsv2"):
        read_prompts(["hpsv3"])


@pytest.mark.skipif(SHARED is None, reason="needs REWARDKIT_SHARED")
def test_evalaligns_files() -> None:
    found = read_prompts([f"{SHARED}/data/evalalign"])
    assert (found.kind, found.main_tag, len(found.prompts)) == ("evalalign", "aspect", 220)
    assert "5 ids stand in both" in found.notes[0]
    shared = [prompt for prompt in found.prompts if len(prompt.stems) == 1]
    assert {prompt.key for prompt in shared} >= {"alignment/1144", "faithfulness/1144"} and len(shared) == 10
    questions = read_questions("evalalign")
    asked = [key for prompt in found.prompts for key in prompt.asked(questions)]
    assert (asked.count("Object"), asked.count("Style"), asked.count("body")) == (118, 25, 100)
    assert len(asked) == 417 + 5 * 100
