"""Equal and near-equal prompts and images are found, and different ones of one prompt or template are not."""

import csv
import io
import json
import os
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from rewardkit.data.group import Candidate, Comparison, Group
from rewardkit.data.index_build import build_index
from rewardkit.data.leaks import find_leaks
from rewardkit.data.leaks_found import Match
from rewardkit.data.leaks_images import Looks, NearImages
from rewardkit.data.leaks_out import match_writer
from rewardkit.data.leaks_prompts import NearPrompts, fold, fold_commas, says_the_same
from rewardkit.data.leaks_sides import PromptList, ShardSide, open_side
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.errors import UserError

SHARED = os.environ.get("REWARDKIT_SHARED")


def scene(seed, size=(320, 240)):
    """A picture of its own: a few coloured shapes on a gradient."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(rng.integers(0, 255, 3), rng.integers(0, 255, 3), size[1])
    picture = Image.fromarray(np.repeat(ramp[:, None].astype(np.uint8), size[0], axis=1))
    draw = ImageDraw.Draw(picture)
    for _ in range(8):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        draw.ellipse((x - 30, y - 20, x + 30, y + 20), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return picture


def encode(picture, kind="JPEG", **how):
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def shards(folder, prompts, images, ids=None):
    """A shard set of one group for each prompt; ``images`` has a list of bytes for each."""
    with ShardWriter(folder, folder.name) as writer:
        for n, (prompt, pictures) in enumerate(zip(prompts, images, strict=True)):
            id_ = ids[n] if ids else f"{folder.name}{n}"
            candidates = tuple(Candidate(f"{k}.jpg") for k in range(len(pictures)))
            vote = (Comparison("overall", 0, 1, (1.0, 0.0, 0.0)),) if len(pictures) > 1 else ()
            writer.write(Group(id_, prompt, candidates, vote), pictures)
    return ShardSide(build_index(folder))


def prompts(*texts):
    return PromptList([(str(n), text) for n, text in enumerate(texts)], has_ids=False)


def counts(found):
    return {kind: (shared.in_a, shared.in_b) for kind, shared in found.shared.items() if shared.in_b}


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("A  Cat,\tsitting!", "a cat sitting"),
        ("Ｆｕｌｌ ｗｉｄｔｈ ﬁsh", "full width fish"),
        ("it's a cat’s life", "its a cats life"),
        ("snake_case-and/slash", "snake case and slash"),
        ("Straße", "strasse"),
        ("नमस्ते दुनिया!", "नमस्ते दुनिया"),
        ("a 🐱.", "a 🐱"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_folding(text, folded):
    assert fold(text) == folded


def test_commas_fold_apart_from_other_punctuation():
    assert fold_commas(" A cat,  red,") == fold_commas("a cat red") == "a cat red"
    assert fold_commas("a cat.") != fold_commas("a cat")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("a cat on a mat", "a cat on the mat", True),
        ("a cat on a mat", "a cat on a mat artstation 8k", True),
        ("red cat and blue dog", "blue dog and red cat", True),
        ("an astronaut on mars", "an astronuat on mars", True),
        ("two red cats", "two red cat", True),
        ("high detail", "highdetail", True),
        ("two red cats in snow", "two red cars in snow", False),
        ("one boat on the sea", "four boats on the sea", False),
        ("prompt 1", "prompt 12", False),
        ("a dog asleep", "a cat asleep", False),
    ],
)
def test_an_edit_is_told_from_a_swapped_word(a, b, same):
    assert says_the_same(a, b) is same
    assert says_the_same(b, a) is same


def test_each_kind_of_prompt_is_counted_and_includes_the_stricter():
    a = prompts("a red fox", "A Red Fox, running", "a grey wolf at night", "the old mill by the river", "no match here")
    b = prompts(
        "  a red fox ", "a red fox running", "A grey wolf at night!", "an old mill by the river", "four blue boats", ""
    )
    assert counts(find_leaks(a, b)) == {
        "prompt": (1, 1),
        "commas": (2, 2),
        "folded": (3, 3),
        "edited": (4, 4),
        "similar": (4, 4),
    }
    assert "edited" not in find_leaks(a, b, prompts="exact").shared
    assert not find_leaks(a, b, prompts="none")


def test_prompts_of_a_template_are_shown_but_are_no_leak():
    a = prompts("three red balloons on the sea, watercolour", "prompt 1")
    b = prompts("three blue balloons on the sea, watercolour", "prompt 12")
    found = find_leaks(a, b)
    assert counts(found) == {"similar": (2, 2)}
    assert not found


def test_similarity_is_a_threshold():
    a, b = prompts("a lighthouse on a cliff"), prompts("a lighthouse on a cliff in a storm")
    assert not find_leaks(a, b)
    assert counts(find_leaks(a, b, similarity=0.7)) == {"edited": (1, 1), "similar": (1, 1)}


def test_no_near_prompt_is_missed_and_sides_do_not_matter():
    """Against every pair by rapidfuzz: random prompts of few words, and edits of them."""
    from rapidfuzz import fuzz, process

    rng = random.Random(3)
    words = [f"{a}{b}{c}" for a in ("ba", "cro", "fli") for b in ("n", "st", "m") for c in ("a", "er", "old", "ing")]

    def draw():
        return " ".join(rng.choices(words, k=rng.randint(3, 16)))

    a = list(dict.fromkeys(draw() for _ in range(600)))
    b = []
    for text in a[:200]:
        said = text.split()
        said[rng.randrange(len(said))] = rng.choice(words)
        b.append(" ".join(said))
    b = list(dict.fromkeys(b + [draw() for _ in range(200)]))
    ratios = np.maximum(
        process.cdist(a, b, scorer=fuzz.ratio),
        process.cdist([" ".join(sorted(t.split())) for t in a], [" ".join(sorted(t.split())) for t in b]),
    )
    expected = {(int(i), int(j)) for i, j in np.argwhere(ratios >= 85)}
    assert len(expected) > 100
    for held, asked, flip in ((b, a, False), (a, b, True)):
        found = set()
        for mine, theirs, _ in NearPrompts(held, 0.85).find(asked):
            found |= set(zip(*((theirs, mine) if flip else (mine, theirs)), strict=True))
        assert {(int(i), int(j)) for i, j in found} == expected
    one, other = find_leaks(prompts(*a), prompts(*b)), find_leaks(prompts(*b), prompts(*a))
    assert counts(one) == {kind: pair[::-1] for kind, pair in counts(other).items()}


def test_images_of_another_size_quality_or_format_are_found(tmp_path):
    pictures = [scene(n) for n in range(8)]
    a = shards(tmp_path / "a", [f"of a {n}" for n in range(4)], [[encode(p, quality=95)] for p in pictures[:4]])
    copies = [
        [encode(pictures[0], quality=95)],
        [encode(pictures[1], quality=30)],
        [encode(pictures[2].resize((160, 120)), quality=80)],
        [encode(pictures[3], "WEBP")],
        [encode(pictures[4])],
    ]
    b = shards(tmp_path / "b", list("vwxyz"), copies)
    found = find_leaks(a, b)
    assert counts(found) == {"image": (1, 1), "near_image": (4, 4)}
    assert {(m.a_id, m.b_id) for m in found.shared["near_image"].examples} == {("a1", "b1"), ("a2", "b2"), ("a3", "b3")}
    assert counts(find_leaks(b, a)) == counts(found)
    assert counts(find_leaks(a, b, images="exact")) == {"image": (1, 1)}
    assert not find_leaks(a, b, images="none")


def test_different_images_of_one_prompt_are_not_equal(tmp_path):
    a = shards(tmp_path / "a", ["a pond"], [[encode(scene(n)) for n in range(4)]])
    b = shards(tmp_path / "b", ["a pond"], [[encode(scene(n)) for n in range(4, 8)]])
    # One drawing in two colours has one grey layout.
    recoloured = [encode(Image.merge("RGB", scene(9).split()[::order])) for order in (1, -1)]
    c = shards(tmp_path / "c", ["x"], [recoloured[:1]])
    d = shards(tmp_path / "d", ["y"], [recoloured[1:]])
    assert {kind for kind in counts(find_leaks(a, b)) if "image" in kind} == set()
    assert not find_leaks(c, d, distance=16)


@pytest.mark.parametrize("distance", [0, 4, 9])
def test_no_near_hash_is_missed(distance):
    """Hashes with up to eleven bits flipped, against every pair."""
    rng = np.random.default_rng(distance)
    held = rng.integers(0, 2**64, 60, dtype=np.uint64)
    flips = [np.bitwise_or.reduce(np.uint64(1) << rng.permutation(64)[: n % 12].astype(np.uint64)) for n in range(600)]
    asked = np.repeat(held, 10) ^ np.array(flips, np.uint64)
    seen = [Looks(np.arange(len(h)), h, np.zeros((len(h), 192), np.uint8)) for h in (held, asked)]
    found = {}
    for rows, owners, distances in NearImages(seen[:1], distance).find(seen[1]):
        found |= dict(zip(zip(rows.tolist(), owners.tolist(), strict=True), distances.tolist(), strict=True))
    bits = np.bitwise_count(asked[:, None] ^ held[None, :])
    assert found == {(int(i), int(j)): int(bits[i, j]) for i, j in np.argwhere(bits <= distance)}
    assert len(found) >= 50 * (distance + 1)


def test_flat_and_broken_images_are_counted_not_compared(tmp_path):
    flat = [encode(Image.new("RGB", (40, 40), (200, n, 0)), "PNG") for n in range(2)]
    a = shards(tmp_path / "a", ["x", "v"], [flat[:1], [b"\xff\xd8 no image"]])
    b = shards(tmp_path / "b", ["y"], [flat[1:]])
    found = find_leaks(a, b)
    assert not found
    assert (found.looks.flat, found.looks.unreadable) == (2, 1)


def test_equal_ids_are_found_whatever_the_prompts(tmp_path):
    picture = [[encode(scene(n))] for n in range(4)]
    a = shards(tmp_path / "a", ["one thing", "another"], picture[:2], ids=["007-1", "007-2"])
    b = shards(tmp_path / "b", ["quite different", "words"], picture[2:], ids=["007-2", "009"])
    found = find_leaks(a, b)
    assert counts(found) == {"id": (1, 1)}
    assert found.shared["id"].examples == [Match("id", "007-2", "007-2", "another", "quite different")]


def test_an_unreadable_record_is_counted(tmp_path):
    a = shards(tmp_path / "a", ["one", "two"], [[encode(scene(0))], [encode(scene(1))]])
    path = a.index.path(0)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"prompt": "one"', b'"prompt": 12345'))
    found = find_leaks(a, prompts("one", "two"))
    assert found.unreadable == 1
    assert counts(found)["prompt"] == (1, 1)


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("a.txt", "a cat\n\na dog\r\n", ["1", "2"]),
        ("a.json", '["a cat", "a dog"]', ["1", "2"]),
        ("a.json", '\ufeff[{"id": 7, "prompt": "a cat"}, {"id": "x", "prompt": "a dog", "ranking": [1]}]', ["7", "x"]),
        ("a.jsonl", '{"id": "7", "prompt": "a cat"}\n"a dog"\n', ["1", "2"]),
    ],
)
def test_lists_of_prompts(tmp_path, name, content, ids):
    (tmp_path / name).write_text(content, encoding="utf-8")
    side = open_side(tmp_path / name)
    assert list(side.texts()) == list(zip(ids, ["a cat", "a dog"], strict=True))
    assert side.has_ids == (ids[0] == "7")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "does not exist"),
        ("a.csv", b"prompt\n", r"\.json, \.jsonl, \.txt"),
        ("a.txt", b"  \n", "holds no prompt"),
        ("a.txt", b"ok\n\xff", "not UTF-8: byte 3 is 0xff"),
        ("a.json", b'["a", ', "not valid JSON"),
        ("a.json", b'{"prompt": "a"}', "an object, not a list"),
        ("a.json", b'["a", 3]', "entry 2 is a number"),
        ("a.jsonl", b'{"text": "a"}', r"a\.jsonl:1 is an object with text"),
    ],
)
def test_lists_that_are_none(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_side(tmp_path / name)


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.parquet"])
def test_every_match_is_written_once_under_its_strictest_kind(tmp_path, name):
    a = prompts("a cat", "a cat", "A cat.", "a very old stone bridge")
    b = prompts("a cat", "a very old stone bridges", "a bird")
    with match_writer(tmp_path / name) as sink:
        find_leaks(a, b, sink=sink)
    rows = {
        "m.csv": lambda path: list(csv.DictReader(path.open(encoding="utf-8"))),
        "m.jsonl": lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()],
        "m.parquet": lambda path: pq.read_table(path).to_pylist(),
    }[name](tmp_path / name)
    assert sorted((row["kind"], row["a_id"], row["b_id"]) for row in rows) == [
        ("edited", "3", "1"),
        ("folded", "2", "0"),
        ("prompt", "0", "0"),
        ("prompt", "1", "0"),
    ]
    assert [float(row["similarity"]) for row in rows if row["kind"] == "edited"] == [pytest.approx(46 / 47, abs=1e-4)]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_where_matches_cannot_be_written(tmp_path):
    for name, message in (("m.txt", "must end in"), ("none/m.csv", "does not exist")):
        with pytest.raises(UserError, match=message), match_writer(tmp_path / name):
            pass


@pytest.mark.skipif(not SHARED, reason="REWARDKIT_SHARED is not set")
def test_the_published_imagereward_files_overlap():
    """Of 100 benchmark prompts 74 ids are in the test file, 34 texts, 38 but for commas."""
    folder = Path(str(SHARED)) / "data" / "imagereward_test"
    found = find_leaks(open_side(folder / "test.json"), open_side(folder / "benchmark-prompts.json"))
    assert [found.shared[kind].in_b for kind in ("id", "prompt", "commas", "folded")] == [74, 34, 38, 41]
    assert found.shared["edited"].in_b >= 50


@pytest.mark.skipif(not SHARED, reason="REWARDKIT_SHARED is not set")
def test_no_two_real_images_are_called_equal():
    """145 pictures of 27 prompts by five generators and cameras."""
    from rewardkit.data.leaks_images import _as_looks, look

    files = sorted((Path(str(SHARED)) / "data" / "avt_ai" / "images").glob("*.jpg"))
    seen = _as_looks(list(range(len(files))), [look(file.read_bytes()) for file in files])
    pairs = {(a, b) for mine, theirs, _ in NearImages([seen], 4).find(seen) for a, b in zip(mine, theirs, strict=True)}
    assert len(files) == 145
    assert pairs == {(n, n) for n in range(145)}
