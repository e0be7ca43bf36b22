"""HPD v2 in exactly the published layout, and the one real test group where shared data is at hand."""

import json
import os
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.formats.hpdv2 import Hpdv2Format, Hpdv2Options
from rewardkit.data.group import AGGREGATE
from rewardkit.errors import UserError

SHARED = os.environ.get("REWARDKIT_SHARED")


def read(src, split=None, notes=None):
    return list(Hpdv2Format().read(src, Hpdv2Options(split), Counter() if notes is None else notes))


def draw(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(names):
        Image.new("RGB", (8, 8), (n, 0, 0)).save(folder / name)


@pytest.fixture
def published(tmp_path):
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


def test_train_pairs_of_one_prompt_are_one_group(published):
    groups = read(published, "train")
    assert [(g.id, g.prompt, len(g.candidates)) for g, _ in groups] == [
        ("train-000000", "prompt 0", 4),
        ("train-000001", "prompt 4", 4),
    ]
    for group, images in groups:
        comparisons = comparisons_of(group, "overall")
        assert len(comparisons) == 6
        for c in comparisons:
            # By construction the greater file name is the preferred one.
            first_is_better = group.candidates[c.first].file > group.candidates[c.second].file
            assert c.votes == ((1, 0, 0) if first_is_better else (0, 0, 1))
        assert all(image.is_file() and image.parent.name == "train" for image in images)
        assert {candidate.generator for candidate in group.candidates} == {None}


def test_test_keeps_every_annotator_and_the_average(published):
    [(group, images)] = read(published, "test")
    assert [(r.by, r.ranks) for r in group.rankings] == [
        ("u1", (1, 2, 3)),
        ("u2", (1, 3, 2)),
        (AGGREGATE, (1, 3, 2)),
    ]
    assert [c.votes for c in comparisons_of(group, "overall")] == [(2, 0, 0), (2, 0, 0), (1, 0, 1)]
    assert all(image.parent.name == "test" for image in images)


def test_which_split_is_never_guessed(published):
    with pytest.raises(UserError, match="say split=train or split=test"):
        read(published)
    assert len(read(published, "train,test")) == 3
    with pytest.raises(UserError, match="has the splits train and test"):
        read(published, "val")
    (published / "train.json").unlink()
    assert len(read(published)) == 1
    with pytest.raises(UserError, match=r"train.json does not exist"):
        read(published, "train")


def test_preferences_for_both_or_nobody(published):
    row = {"prompt": "p", "file_path": ["00000000.jpg", "00000001.jpg"]}
    rows = [row | {"human_preference": value} for value in ([1, 1], [0, 0], [0, 1])]
    (published / "train.json").write_text(json.dumps(rows))
    notes = Counter()
    [(group, _)] = read(published, "train", notes)
    assert group.comparisons[0].votes == (0, 1, 1)
    assert sorted(notes.values()) == [1, 1]


def test_a_folder_inside_the_path_is_the_generator(published):
    draw(published / "test" / "sdxl", ["a.jpg"])
    draw(published / "test" / "glide", ["a.jpg"])
    row = {"prompt": "p", "image_path": ["sdxl/a.jpg", "glide/a.jpg"], "rank": [1, 2]}
    (published / "test.json").write_text(json.dumps([row]))
    [(group, _)] = read(published, "test")
    assert [c.generator for c in group.candidates] == ["sdxl", "glide"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": [1, 2]}, r"test.json, record 0: rank is \[1, 2\]; it must be a list of 3"),
        ({"rank": [1, 2, "x"]}, "not a number"),
        ({"image_path": ["a.jpg", "a.jpg", "b.jpg"]}, "names an image twice"),
        ({"image_path": ["x.jpg", "y.jpg", "z.jpg"]}, r"'x.jpg', and is neither in .*test nor in .*HPD; unpack"),
        ({"prompt": None}, "prompt is None"),
        ({"raw_annotations": [[1, 2, 3]]}, "list of objects"),
    ],
)
def test_broken_records_are_named(published, change, message):
    [row] = json.loads((published / "test.json").read_text())
    (published / "test.json").write_text(json.dumps([row | change]))
    with pytest.raises(UserError, match=message):
        read(published, "test")


def test_a_file_cut_off_is_said(published):
    text = (published / "train.json").read_text()
    (published / "train.json").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"not valid JSON .cut off while downloading"):
        read(published, "train")


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
def test_the_real_group():
    [(group, images)] = read(Path(SHARED) / "data" / "hpdv2_real_sample")
    assert len(group.candidates) == 9
    assert len(group.rankings) == 11
    assert all(image.is_file() for image in images)
    comparisons = comparisons_of(group, "overall")
    assert len(comparisons) == 36
    assert {sum(c.votes) for c in comparisons} == {10}
    # Mean agreement of two annotators on a pair, 77.8 % as counted from the published file.
    agreement = [sum(v * (v - 1) for v in c.votes) / 90 for c in comparisons]
    assert sum(agreement) / 36 == pytest.approx(0.778, abs=5e-4)
