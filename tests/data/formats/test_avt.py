"""AVT-AI: every single rating becomes an answer; the derived votes have the counted totals."""

import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats.avt import COLUMNS, AvtFormat, AvtOptions
from rewardkit.errors import UserError

SHARED = os.environ.get("REWARDKIT_SHARED")


def read(src, pooled=True, notes=None):
    return [group for group, _ in AvtFormat().read(src, AvtOptions(pooled), Counter() if notes is None else notes)]


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
    notes = Counter()
    read(small, notes=notes)
    assert notes == {"ratings without an image file (midjourney, p01)": 1}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("p01,glide", "p99,glide", "ratings.csv:2: prompt_id 'p99' is not in groups.jsonl"),
        ("images/a.jpg,appeal,4", "images/x.jpg,appeal,4", "ratings.csv:2: image 'images/x.jpg' is not among"),
        ("appeal,4", "appeal,6", "ratings.csv:2: rating is 6; AVT-AI's scales go from 1 to 5"),
        ("appeal,4", "appeal,", "ratings.csv:2: rating is ''"),
        ("dimension,rating", "dim,rating", "ratings.csv:1: the columns are"),
    ],
)
def test_broken_rows_are_named(small, old, new, message):
    file = small / "ratings.csv"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        read(small)


def test_a_missing_file_is_said(small):
    (small / "groups.jsonl").unlink()
    with pytest.raises(UserError, match=r"groups.jsonl does not exist; format=avt takes the folder"):
        read(small)


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
def test_totals_of_the_real_ratings():
    src = Path(SHARED) / "data" / "avt_ai"
    notes = Counter()
    groups = read(src, pooled=False, notes=notes)
    assert sum(notes.values()) == 122
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
