"""VisionPrefer: scores in every place where a record may hold them, and no value that is doubtful."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats.visionprefer import VisionPreferFormat, VisionPreferOptions
from rewardkit.data.group import Group
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog
from rewardkit.data.reading.statements import RAW_PROMPT
from rewardkit.errors import UserError

ASPECTS = ("prompt_following", "aesthetic", "fidelity", "harmlessness")
ORACLE = [[3, 4, 3, 5], [3, 4, 3, 5], [4, 3, 3, 5], [2, 2, 3, 5]]


def groups(src: Path, log: ReadLog | None = None, **options: Any) -> list[Group]:
    made = read_groups(VisionPreferFormat(), src, VisionPreferOptions(**options), log)
    return [grouped.group for grouped in made if grouped.group]


def jsonl(folder: Path, *records: Any) -> Path:
    file = folder / "visionprefer.jsonl"
    file.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return file


def record(scores: list[list[int | None]] = ORACLE, **more: Any) -> dict[str, Any]:
    images = [
        {
            "image_id": f"{n}",
            "path": f"images/{n}.png",
            "model": f"model{n}",
            "guidance": 5.0 + n,
            "scores": dict(zip(ASPECTS, row, strict=True)),
            "rationales": {"fidelity": f"because {n}"},
        }
        for n, row in enumerate(scores)
    ]
    return {"prompt_id": "p1", "prompt": "a fox", "images": images, **more}


def values(group: Group) -> dict[tuple[str, int], float | str]:
    return {(answer.dimension, answer.candidate): answer.value for answer in group.answers}


ORACLE_VALUES = {(ASPECTS[d], n): ORACLE[n][d] for n in range(4) for d in range(4)}


def test_the_oracle_of_ties_per_aspect(tmp_path: Path) -> None:
    [group] = groups(jsonl(tmp_path, record()))
    assert (group.id, group.prompt) == ("p1", "a fox")
    assert [(c.file, c.generator) for c in group.candidates] == [(f"images/{n}.png", f"model{n}") for n in range(4)]
    assert values(group) == ORACLE_VALUES and {a.by for a in group.answers} == {"gpt-4v"}
    assert {a.candidate: a.rationale for a in group.answers if a.dimension == "fidelity"} == {
        n: f"because {n}" for n in range(4)
    }
    assert group.slots["guidance"]["images/3.png"] == 8.0
    counted = {}
    for dimension in ASPECTS:
        votes = [c.votes for c in comparisons_of(group, dimension)]
        counted[dimension] = (sum(v == (0, 1, 0) for v in votes), sum(v[1] == 0 for v in votes))
    assert counted == {
        "prompt_following": (1, 5),
        "aesthetic": (1, 5),
        "fidelity": (6, 0),
        "harmlessness": (6, 0),
    }


def columns(form: str) -> dict[str, Any]:
    """The oracle with its scores somewhere else."""
    by_aspect = {ASPECTS[d]: [row[d] for row in ORACLE] for d in range(4)}
    base: dict[str, Any] = {"prompt_id": "p1", "prompt": "a fox", "images": [f"images/{n}.png" for n in range(4)]}
    if form == "lists at the record":
        return base | by_aspect
    if form == "lists under scores, other names":
        names = ("Prompt-Following", "Aesthetics", "Fidelity_score", "harmlessness")
        return base | {"scores": dict(zip(names, by_aspect.values(), strict=True))}
    if form == "scores and rationales per aspect":
        return base | {name: {"scores": each, "rationales": ["r"] * 4} for name, each in by_aspect.items()}
    if form == "by image id":
        images = [{"image_id": f"i{n}", "path": f"images/{n}.png"} for n in range(4)]
        each = {name: {f"i{n}": {"score": v} for n, v in enumerate(row)} for name, row in by_aspect.items()}
        return base | {"images": images, "annotations": each}
    if form == "objects per image":
        return base | {name: [{"Rating": str(n), "Rationale": "r"} for n in each] for name, each in by_aspect.items()}
    images = [
        {"image_id": f"images/{n}.png", **{a: {"score": v} for a, v in zip(ASPECTS, row, strict=True)}}
        for n, row in enumerate(ORACLE)
    ]
    return base | {"images": images}


@pytest.mark.parametrize(
    "form",
    [
        "lists at the record",
        "lists under scores, other names",
        "scores and rationales per aspect",
        "objects per image",
        "by image id",
        "aspects in the image",
    ],
)
def test_places_where_scores_may_stand(tmp_path: Path, form: str) -> None:
    log = ReadLog()
    [group] = groups(jsonl(tmp_path, columns(form)), log)
    assert values(group) == ORACLE_VALUES and not log.notes
    assert [c.file for c in group.candidates] == [f"images/{n}.png" for n in range(4)]


def test_missing_scores_are_missing_and_never_zero(tmp_path: Path) -> None:
    scores: list[list[int | None]] = [[None, 4, 3, 5], [3, None, 3, 5], [4, 3, 3, 5], [2, 2, 3, 5]]
    nothing = {"prompt_id": "p2", "prompt": "a hen", "images": ["a.png", "b.png"], "fidelity": None}
    first, second = groups(jsonl(tmp_path, record(scores), nothing))
    assert len(first.answers) == 14 and ("prompt_following", 0) not in values(first)
    assert len(comparisons_of(first, "prompt_following")) == 3
    assert len(second.candidates) == 2 and not second.answers


def test_the_raw_prompt_and_the_annotator_are_kept(tmp_path: Path) -> None:
    first, second = groups(
        jsonl(
            tmp_path,
            record(raw_prompt="a fox, artstation", annotator="gpt-4v-0409"),
            record(prompt="a hen, 8k", prompt_id="p2") | {"polished_prompt": "a hen"},
        )
    )
    assert (first.prompt, first.slots[RAW_PROMPT]) == ("a fox", "a fox, artstation")
    assert {a.by for a in first.answers} == {"gpt-4v-0409"}
    assert (second.prompt, second.slots[RAW_PROMPT]) == ("a hen", "a hen, 8k")


def test_a_ranking_is_read_only_where_its_direction_is_said(tmp_path: Path) -> None:
    file = jsonl(tmp_path, record(ranking=[1, 1, 3, 4]))
    log = ReadLog()
    [group] = groups(file, log)
    assert not group.rankings and sum("ranking" in note for note in log.notes) == 1
    [group] = groups(file, ranking="ranks")
    assert [(r.dimension, r.by, r.ranks) for r in group.rankings] == [("overall", "gpt-4v", (1, 1, 3, 4))]
    log = ReadLog()
    groups(jsonl(tmp_path, record(ranking=[1, 2]), record(prompt_id="p2")), log, ranking="ranks")
    assert log.bad[0].reason == "ranking is [1, 2]; it must be a list of 4 numbers, one per image"


def test_rows_on_one_image_and_aspect(tmp_path: Path) -> None:
    row = {"prompt": "a fox", "image": "a.png", "dimension": "fidelity", "annotator": "m", "mode": "joint"}
    log = ReadLog()
    [group] = groups(
        jsonl(
            tmp_path,
            row | {"score": 4, "rationale": "good paws", "outcome": "ok"},
            row | {"image": "b.png", "score": None, "outcome": "refused"},
            row | {"dimension": "fidelty", "score": 4},
        ),
        log,
    )
    assert [(c.file) for c in group.candidates] == ["a.png", "b.png"]
    assert [(a.candidate, a.value, a.by, a.rationale) for a in group.answers] == [(0, 4, "m", "good paws")]
    assert log.notes["rows with the outcome 'refused': no score"] == 1
    assert log.notes["field 'mode' of a record is not one of this format: not read"] == 2
    assert log.bad[0].reason == "'fidelty' is not an aspect of VisionPrefer. Did you mean 'fidelity'?"


def test_ids_with_a_folder_and_an_ending(tmp_path: Path) -> None:
    images = [{"image_id": f"{n}", "fidelity": n} for n in (1, 2)]
    made = read_groups(
        VisionPreferFormat(),
        jsonl(tmp_path, {"prompt_id": "p", "prompt": "a", "images": images}),
        VisionPreferOptions(images="pictures", ending=".png"),
    )
    assert [(place.folder, place.name) for place in made[0].images] == [("pictures", "1.png"), ("pictures", "2.png")]


def test_an_id_alone_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("1.png", "2.webp", "3.png", "3.jpg"):
        (tmp_path / "images" / name).write_bytes(b"x")
    images = [{"image_id": n, "fidelity": 3, "fidelity_rationale": f"why {n}"} for n in ("1", "2")]
    file = jsonl(
        tmp_path,
        {"prompt": "a", "images": images},
        {"prompt": "b", "images": [{"image_id": "3", "fidelity": 3}]},
        {"prompt": "c", "images": [{"image_id": "4", "fidelity": 3}]},
        {"prompt": "d", "images": images},
    )
    log = ReadLog()
    first, _ = groups(file, log, images="images")
    assert [c.file for c in first.candidates] == ["1.png", "2.webp"]
    assert [a.rationale for a in first.answers] == ["why 1", "why 2"] and not log.notes
    assert [
        "'3' has no path, and 2 files" in log.bad[0].reason,
        "'4' has no path, and 0 files" in log.bad[1].reason,
    ] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (record([[0, 4, 3, 5], *ORACLE[1:]]), "prompt_following is 0; it must be a whole number from 1 to 5, or null"),
        (record([[6, 4, 3, 5], *ORACLE[1:]]), "prompt_following is 6; it must be"),
        (columns("lists at the record") | {"fidelity": [1, 2, 3.5, 4]}, "fidelity is 3.5; it must be a whole number"),
        (columns("lists at the record") | {"fidelity": [1, 2, True, 4]}, "fidelity is True; it must be"),
        (columns("lists at the record") | {"fidelity": [1, 2, "N/A", 4]}, "fidelity is 'N/A'; it must be"),
        (columns("lists at the record") | {"fidelity": [1, 2, 3]}, "fidelity has 3 entries; it must have 4"),
        (columns("lists at the record") | {"images": ["a.png", "b.png", "c.png", "a.png"]}, "'a.png' twice"),
        (columns("lists at the record") | {"prompt": " "}, "the prompt is missing or empty"),
        (columns("lists at the record") | {"models": ["a"]}, "models has 1 entries; it must have 4"),
        (record(fidelity=[1, 2, 3, 4]), "image 1 has 2 scores for fidelity"),
        (
            columns("lists at the record") | {"scores": {"beauty": [1, 2, 3, 4]}},
            "'beauty' is not an aspect of VisionPrefer",
        ),
        (
            columns("by image id") | {"aspects": {"fidelity": {"i9": 3}}, "annotations": None},
            "an entry for 'i9', which",
        ),
        ({"prompt": "a", "images": ["a.png", "b.png"]}, "the record has no score on any aspect"),
        ({"prompt": "a", "images": [{"model": "x", "fidelity": 3}]}, "neither a path nor an image_id"),
        ('{"prompt": "a", "images": [', "not a line of JSON"),
    ],
)
def test_bad_rows_are_named_among_good_ones(tmp_path: Path, broken: Any, message: str) -> None:
    log = ReadLog()
    good = record(prompt_id="good")
    read = groups(jsonl(tmp_path, good, broken, record(prompt_id="good too")), log)
    assert [g.id for g in read] == ["good", "good too"]
    assert [(bad.file, bad.line) for bad in log.bad] == [("visionprefer.jsonl", 2)]
    assert message in log.bad[0].reason


def test_a_line_that_is_not_utf8(tmp_path: Path) -> None:
    file = jsonl(tmp_path, record(), record(prompt="caf\u00e9", prompt_id="p2"))
    file.write_bytes(file.read_bytes().replace(b"caf\\u00e9", b"caf\xe9"))
    log = ReadLog()
    assert len(groups(file, log)) == 1 and "UTF-8" in log.bad[0].reason


def test_parquet_with_images_inside(tmp_path: Path) -> None:
    def png(shade: int) -> bytes:
        out = io.BytesIO()
        Image.new("L", (4, 4), shade).save(out, "PNG")
        return out.getvalue()

    images = [{"bytes": png(n), "path": None} for n in range(4)]
    data = {"prompt_id": ["p1"], "prompt": ["a fox"], "images": [images], "fidelity": [[1, 2, None, 4]]}
    pq.write_table(pa.table(data), tmp_path / "train-00000-of-00001.parquet")
    made = read_groups(VisionPreferFormat(), tmp_path, None)
    assert made[0].group is not None
    assert values(made[0].group) == {("fidelity", 0): 1, ("fidelity", 1): 2, ("fidelity", 3): 4}
    assert all(place.offset is not None for place in made[0].images)
    (tmp_path / "train-00000-of-00001.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(UserError, match="cut off"):
        groups(tmp_path)


def test_it_looks_like_itself(tmp_path: Path) -> None:
    format = VisionPreferFormat()
    assert format.matches(jsonl(tmp_path, record()))
    assert format.matches(tmp_path)
    assert not format.matches(jsonl(tmp_path, {"prompt": "a", "images": ["a.png", "b.png"], "better": 0}))
    assert not format.matches(tmp_path / "none")
