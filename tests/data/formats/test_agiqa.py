"""Tables of mean opinion scores: each is one answer, with its deviation beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats.agiqa import AgiqaFormat, AgiqaOptions
from rewardkit.data.group import Group
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import UserError

HEADER = "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align"
FOX = '"a fox, warm color, baroque style",warm color,,baroque style'


def groups(src: Path, log: ReadLog | None = None, **options: Any) -> list[Group]:
    made = read_groups(AgiqaFormat(), src, AgiqaOptions(**options), log)
    return [grouped.group for grouped in made if grouped.group]


def table(folder: Path, *lines: str) -> Path:
    (folder / "data.csv").write_text("\n".join(lines))
    return folder / "data.csv"


def test_images_of_a_prompt_become_one_group(tmp_path: Path) -> None:
    table(
        tmp_path,
        HEADER,
        f"AttnGAN_normal_000.jpg,{FOX},0.965602553,0.223270101,0.40889324,0.615607722",
        "AttnGAN_normal_001.jpg,a tray of sushi,,,,1.361853219,0.645422466,0.428796637,0.667071153",
        f"sd1.5_lowstep_000.jpg,{FOX},2.5,0.5,3,",
        f"xl2.2_normal_000.jpg,{FOX},3.5,0.25,,",
    )
    log = ReadLog()
    fox, sushi = groups(tmp_path, log)
    assert not log.notes and not log.bad
    assert fox.prompt == "a fox, warm color, baroque style"
    assert [(c.file, c.generator) for c in fox.candidates] == [
        ("AttnGAN_normal_000.jpg", "AttnGAN"),
        ("sd1.5_lowstep_000.jpg", "sd1.5_lowstep"),
        ("xl2.2_normal_000.jpg", "xl2.2"),
    ]
    assert [(a.dimension, a.candidate, a.by, a.value, a.rationale) for a in fox.answers] == [
        ("quality", 0, "mos", 0.965602553, "std 0.223270101"),
        ("align", 0, "mos", 0.40889324, "std 0.615607722"),
        ("quality", 1, "mos", 2.5, "std 0.5"),
        ("align", 1, "mos", 3.0, None),
        ("quality", 2, "mos", 3.5, "std 0.25"),
    ]
    assert (fox.tags, fox.slots) == ({"style": "baroque style"}, {"adjectives": ["warm color"]})
    assert (sushi.tags, sushi.slots) == ({}, {})
    assert [c.votes for c in comparisons_of(fox, "quality")] == [(0, 0, 1)] * 3
    assert [c.votes for c in comparisons_of(fox, "align")] == [(0, 0, 1)]


def test_tags_that_differ_within_a_prompt_are_left_out(tmp_path: Path) -> None:
    file = table(tmp_path, "name,prompt,style,mos", "a.png,p,anime,1", "b.png,p,photo,2", "c.png,q,photo,3")
    log = ReadLog()
    first, second = groups(file, log)
    assert first.tags == {} and len(first.candidates) == 2 and second.tags == {"style": "photo"}
    assert log.notes == {"rows whose tags differ from those of other rows of their prompt: no tag": 2}
    assert [c.generator for c in first.candidates] == [None, None]
    assert first.dimensions == ("overall",)


def test_another_table_through_options(tmp_path: Path) -> None:
    file = table(tmp_path, "Image,Prompt,Model,MOS,note", "a.png,p,sdxl,71.5,x", "b.png,p,sd15,12,y")
    log = ReadLog()
    [group] = groups(
        file,
        log,
        image_column="Image",
        prompt_column="Prompt",
        generator_column="Model",
        scores={"MOS": "appeal"},
        high=100.0,
    )
    assert [(a.dimension, a.value) for a in group.answers] == [("appeal", 71.5), ("appeal", 12)]
    assert [c.generator for c in group.candidates] == ["sdxl", "sd15"]
    assert list(log.notes) == ["column 'note' of data.csv is not one of this format: not read"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"a.png,{FOX},5.5,0.1,1,0.1", "mos_quality is 5.5; the scale goes from 0 to 5. Another one is given by low="),
        (f"a.png,{FOX},-0.5,0.1,1,0.1", "mos_quality is -0.5; the scale goes"),
        (f"a.png,{FOX},good,0.1,1,0.1", "mos_quality is 'good'; it must be a number"),
        (f"a.png,{FOX},nan,0.1,1,0.1", "mos_quality is 'nan'; it must be a number"),
        (f"a.png,{FOX},1,-0.1,1,0.1", "std_quality is '-0.1'; it must lie between 0"),
        ("a.png,,,,,1,0.1,1,0.1", "prompt is empty"),
        (f",{FOX},1,0.1,1,0.1", "name is ''; it must be the path of an image"),
        ("a.png,a fox, in snow,,,,1,0.1,1,0.1", "the row has 10 cells, the header has 9"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    log = ReadLog()
    assert [g.prompt for g in groups(table(tmp_path, HEADER, line, "b.png,a hen,,,,1,1,1,1"), log)] == ["a hen"]
    assert (log.bad[0].file, log.bad[0].line) == ("data.csv", 2) and message in log.bad[0].reason


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the column 'prompt' is missing"):
        groups(table(tmp_path, "name,mos_quality", "a.png,1"))
    with pytest.raises(UserError, match="there is no column mos_NAME"):
        groups(table(tmp_path, "name,prompt", "a.png,p"))
    with pytest.raises(UserError, match="the column 'MOS' is missing"):
        groups(table(tmp_path, "name,prompt,mos", "a.png,p,1"), scores={"MOS": "overall"})
    with pytest.raises(UserError, match="low=5 must be below high=5"):
        groups(table(tmp_path, "name,prompt,mos", "a.png,p,1"), low=5.0)
    assert AgiqaFormat().matches(table(tmp_path, HEADER)) and not AgiqaFormat().matches(tmp_path / "none")
    assert not AgiqaFormat().matches(table(tmp_path, "prompt,image,rating"))
