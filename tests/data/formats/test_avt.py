"""AVT-AI: every single rating becomes an answer; the derived votes have the counted totals."""

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats.avt import COLUMNS, AvtFormat, AvtOptions
from rewardkit.data.grouping import read_groups
from rewardkit.data.reading.format import ReadLog, TooManyBadRows
from rewardkit.errors import UserError

SHARED = os.environ.get("REWARDKIT_SHARED")


def read(src, pooled=True, log=None):
    return [made.group for made in read_groups(AvtFormat(), src, AvtOptions(pooled), log)]


@pytest.fixture
def small(tmp_path):
    prompt = {"id": "avt_p01", "prompt": "a car", "category": "Drawbench", "images": ["images/a.jpg", "images/b.jpg"]}
    (tmp_path / "groups.jsonl").write_text(json.dumps(prompt | {"models": ["glide", "own"]}) + "\n")
    rows = [
        COLUMNS,
        ["t1", "t1_u1", "p01", "glide", "images/a.jpg", "appeal", "4"],
        ["t1", "t1_u1", "p01", "own", "images/b.jpg", "appeal", "2"],
        ["t2", "t2_u1", "p01", "glide", "images/a.jpg", "appeal", "1"],
        ["t2", "t2_u1", "p01", "own", "images/b.jpg", "appeal", "1"],
        ["t1", "t1_u1", "p01", "midjourney", "", "appeal", "5"],
    ]
    (tmp_path / "ratings.csv").write_text("\n".join(",".join(row) for row in rows))
    return tmp_path


def test_appeal_is_pooled_unless_asked_otherwise(small):
    [group] = read(small)
    assert [c.votes for c in comparisons_of(group, "appeal")] == [(1, 1, 0)]
    assert group.tags == {"category": "Drawbench"}
    assert [c.generator for c in group.candidates] == ["glide", "own"]
    [apart] = read(small, pooled=False)
    assert apart.dimensions == ("appeal_t1", "appeal_t2")
    assert [c.votes for c in comparisons_of(apart, "appeal_t2")] == [(0, 1, 0)]


def test_ratings_of_the_missing_image_are_counted(small):
    log = ReadLog()
    read(small, log=log)
    assert not log.bad and log.notes == {"ratings without an image file (midjourney, p01)": 1}


def test_every_image_is_a_candidate_in_the_order_of_groups_jsonl(small):
    line = {"id": "avt_p02", "prompt": "a hen", "category": "x", "images": ["c", "a", "b"], "models": ["m", "n", "o"]}
    with (small / "groups.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    (small / "ratings.csv").write_text(",".join(COLUMNS) + "\nt1,u,p02,o,b,appeal,3\n")
    car, hen = read(small)
    assert [c.file for c in car.candidates] == ["images/a.jpg", "images/b.jpg"] and not car.answers
    assert [(c.file, c.generator) for c in hen.candidates] == [("c", "m"), ("a", "n"), ("b", "o")]
    assert [(a.candidate, a.value) for a in hen.answers] == [(2, 3)]
    assert (car.id, hen.id) == ("avt_p01", "avt_p02")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("p01,glide", "p99,glide", "ratings.csv:2: prompt_id 'p99' is not in groups.jsonl"),
        ("images/a.jpg,appeal,4", "images/x.jpg,appeal,4", "ratings.csv:2: image 'images/x.jpg' is not among"),
        (
            "glide,images/a.jpg",
            "own,images/a.jpg",
            "ratings.csv:2: image 'images/a.jpg' is said to come from",
        ),
        ("appeal,4", "appeal,6", "ratings.csv:2: rating is '6'; it must lie between 1 and 5"),
        ("appeal,4", "appeal,", "ratings.csv:2: the field 'rating' is missing or empty"),
        ("appeal,4", "appeal", "ratings.csv:2: the row has 6 cells, the header has 7"),
        ("appeal,4", "app\udce9al,4", "ratings.csv:2: the text is not UTF-8"),
    ],
)
def test_broken_rows_are_named(small, old, new, message):
    file = small / "ratings.csv"
    file.write_text(file.read_text().replace(old, new, 1), errors="surrogateescape")
    log = ReadLog()
    [group] = read(small, log=log)
    [bad] = log.bad
    assert str(bad).startswith(message)
    assert len(group.answers) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": ["images/a.jpg", "images/a.jpg"]}, "groups.jsonl:1: images names the image 'images/a.jpg' twice"),
        ({"models": ["glide"]}, "groups.jsonl:1: models has 1 entries; it must have 2"),
        ({"models": [1, 2]}, "groups.jsonl:1: models is [1, 2]"),
        ({"category": None}, "groups.jsonl:1: the field 'category' is missing"),
    ],
)
def test_a_broken_line_of_prompts_is_named_and_its_ratings_with_it(small, change, message):
    file = small / "groups.jsonl"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(TooManyBadRows) as caught:
        read(small)
    assert [row.file for row in caught.value.bad] == ["groups.jsonl"] + ["ratings.csv"] * 5
    assert str(caught.value.bad[0]).startswith(message)


def test_an_id_that_stands_twice(small):
    text = (small / "groups.jsonl").read_text()
    (small / "groups.jsonl").write_text(text + text)
    log = ReadLog()
    assert len(read(small, log=log)) == 1
    assert [str(bad) for bad in log.bad] == ["groups.jsonl:2: the id 'avt_p01' stands already in line 1"]


def test_a_missing_column_is_said(small):
    file = small / "ratings.csv"
    file.write_text(file.read_text().replace("dimension,rating", "dim,rating", 1))
    with pytest.raises(UserError, match=r"ratings.csv: the column 'dimension' is missing; there are test, rater"):
        read(small)
    assert not AvtFormat().matches(small)


def test_a_column_that_is_not_the_formats_is_noted(small):
    file = small / "ratings.csv"
    head, *rows = file.read_text().splitlines()
    file.write_text("\n".join([head + ",device", *[row + ",phone" for row in rows]]))
    log = ReadLog()
    assert len(read(small, log=log)[0].answers) == 4
    assert "column 'device' of ratings.csv is not one of this format: not read" in log.notes
    assert AvtFormat().matches(small)


def test_a_missing_file_is_said(small):
    (small / "groups.jsonl").unlink()
    with pytest.raises(UserError, match=r"groups.jsonl does not exist; format=avt takes the folder"):
        read(small)


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
def test_totals_of_the_real_ratings():
    src = Path(SHARED) / "data" / "avt_ai"
    log = ReadLog()
    groups = read(src, pooled=False, log=log)
    assert sum(log.notes.values()) == 122 and not log.bad
    assert [group.id for group in groups[:2]] == ["avt_p01", "avt_p02"] and len(groups) == 27
    assert sorted(len(group.candidates) for group in groups) == [5] * 17 + [6] * 10
    assert sum(len(group.answers) for group in groups) == 17_494 - 122
    decided: dict[str, float] = defaultdict(float)
    ties: dict[str, float] = defaultdict(float)
    for group in groups:
        for dimension in group.dimensions:
            for c in comparisons_of(group, dimension):
                decided[dimension] += c.votes[0] + c.votes[2]
                ties[dimension] += c.votes[1]
    # Counted independently from the published pairs.
    assert decided == {
        "appeal_t1": 5242,
        "appeal_t2": 5088,
        "realism": 5274,
        "prompt_matching": 4399,
        "quality": 5779,
    }
    share = {dimension: round(ties[dimension] / (ties[dimension] + decided[dimension]), 2) for dimension in decided}
    assert share == {
        "appeal_t1": 0.27,
        "appeal_t2": 0.36,
        "realism": 0.26,
        "prompt_matching": 0.39,
        "quality": 0.28,
    }


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
def test_derived_votes_equal_the_published_pairs():
    src = Path(SHARED) / "data" / "avt_ai"
    groups = {group.id: group for group in read(src, pooled=False)}
    names = {("appeal", "t1"): "appeal_t1", ("appeal", "t2"): "appeal_t2"}
    checked = 0
    for line in (src / "pairs.jsonl").read_text().splitlines():
        pair = json.loads(line)
        group = groups[pair["id"]]
        dimension = names.get((pair["dimension"], pair["test"]), pair["dimension"])
        files = [candidate.file for candidate in group.candidates]
        votes = {(files[c.first], files[c.second]): c.votes for c in comparisons_of(group, dimension)}
        expected = (pair["votes_a"], pair["ties"], pair["votes_b"])
        found = votes.get((pair["image_a"], pair["image_b"])) or votes[pair["image_b"], pair["image_a"]][::-1]
        assert found == expected
        checked += 1
    assert checked == 1600
