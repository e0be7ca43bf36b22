"""Conversion keeps bytes and labels, names what it leaves out, and writes nothing where it fails."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.convert import ERRORS_FILE, convert
from rewardkit.data.formats.avt import AvtOptions
from rewardkit.data.index import ShardIndex
from rewardkit.data.shards import open_sample, scan_shard, shard_paths
from rewardkit.errors import DataError, UserError

SHARED = os.environ.get("REWARDKIT_SHARED")


def samples(folder):
    return [open_sample(stored) for path in shard_paths(folder) for stored in scan_shard(path)]


@pytest.fixture
def source(tmp_path):
    """Thirty prompts with two images each, and one line per comparison."""
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = []
    for n in range(30):
        for side in "ab":
            Image.new("RGB", (20 + n, 10), (8 * n, 0, 0)).save(folder / f"{n}{side}.jpg")
        lines.append({"prompt": f"prompt {n}", "images": [f"{n}a.jpg", f"{n}b.jpg"], "better": n % 2})
    (folder / "prefs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_bytes_labels_sizes_and_places_are_kept(source, tmp_path):
    done = convert("jsonl", source, tmp_path / "out", shard_groups=7, source="ours")
    assert (done.read, done.written, done.candidates, done.bad) == (30, 30, 60, [])
    assert [path.name for path in shard_paths(tmp_path / "out")] == [f"out-{n:06d}.tar" for n in range(5)]
    for n, sample in enumerate(samples(tmp_path / "out")):
        assert sample.group.prompt == f"prompt {n}"
        assert sample.group.comparisons[0].votes == ((1, 0, 0) if n % 2 == 0 else (0, 0, 1))
        for image, candidate, side in zip(sample.images, sample.group.candidates, "ab", strict=True):
            assert image == (source / f"{n}{side}.jpg").read_bytes()
            assert (candidate.width, candidate.height) == (20 + n, 10)
            assert candidate.sha256 == hashlib.sha256(image).hexdigest()
        assert sample.group.provenance["files"] == [f"{n}a.jpg", f"{n}b.jpg"]
        assert sample.group.provenance["source"] == "ours"
        assert sample.group.provenance["line"] == n + 1
    assert len(ShardIndex.open(tmp_path / "out")) == 30


def test_the_same_source_gives_the_same_bytes_with_any_number_of_threads(source, tmp_path):
    for workers in (1, 4):
        convert("jsonl", source, tmp_path / str(workers), name="x", workers=workers)
    one, four = ((tmp_path / name / "x-000000.tar").read_bytes() for name in "14")
    assert one == four


def test_unreadable_images_are_left_out_and_named(source, tmp_path):
    (source / "3b.jpg").write_bytes(b"")
    (source / "5a.jpg").unlink()
    Image.effect_noise((80, 80), 90).save(source / "7a.jpg")
    (source / "7a.jpg").write_bytes((source / "7a.jpg").read_bytes()[:-500])
    done = convert("jsonl", source, tmp_path / "out")
    assert (done.read, done.written) == (30, 27)
    errors = [json.loads(line) for line in (tmp_path / "out" / ERRORS_FILE).read_text().splitlines()]
    assert [(e["image"], e["provenance"]["line"]) for e in errors] == [("3b.jpg", 4), ("5a.jpg", 6), ("7a.jpg", 8)]
    assert "0 bytes" in errors[0]["reason"]
    assert "there is no file" in errors[1]["reason"]
    assert "cannot be decoded" in errors[2]["reason"]
    # A look at the headers alone does not see the file that was cut off.
    assert convert("jsonl", source, tmp_path / "quick", decode=False).written == 28


def test_too_many_unreadable_images_fail_and_are_all_listed(source, tmp_path):
    for n in range(12):
        (source / f"{n}a.jpg").unlink()
    with pytest.raises(DataError, match=r"12 of 30 groups have an image that cannot be read; nothing was written"):
        convert("jsonl", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    listing = tmp_path / f"out.{ERRORS_FILE}"
    assert len(listing.read_text().splitlines()) == 12
    assert not list(tmp_path.glob(".out*"))
    assert convert("jsonl", source, tmp_path / "out", max_bad_fraction=0.5).written == 18


def test_a_small_source_of_which_most_is_unreadable_fails(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    lines = [{"prompt": str(n), "images": ["a.png", f"none{n}.png"], "better": 0} for n in range(3)]
    (tmp_path / "prefs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match=r"3 of 3 groups[\s\S]*none0.png: there is no file .*prefs.jsonl line 1"):
        convert("jsonl", tmp_path, tmp_path / "out")


def test_a_wrong_image_folder_stops_early(tmp_path):
    lines = [{"prompt": str(n), "images": ["a.png", "b.png"], "better": 0} for n in range(300)]
    (tmp_path / "prefs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="100 of 100 groups read so far"):
        convert("jsonl", tmp_path, tmp_path / "out")


def test_an_existing_folder_is_refused_and_left_alone(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        convert("jsonl", source, tmp_path / "out")
    assert (tmp_path / "out" / "precious").read_text() == "x"


def test_equal_ids_name_both_places(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    line = json.dumps({"id": "g", "prompt": "p", "candidates": [{"file": "a.png"}], "provenance": {"row": 1}})
    (tmp_path / "prefs.jsonl").write_text(line + "\n" + line.replace('"row": 1', '"row": 2'))
    with pytest.raises(DataError, match="two groups have the id 'g': row 1, and row 2"):
        convert("jsonl", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_large_group_is_split_and_other_kinds_become_png(tmp_path):
    for n in range(20):
        Image.new("RGB", (4, 4), (n, 0, 0)).save(tmp_path / f"{n}.bmp")
    line = {"prompt": "p", "images": [f"{n}.bmp" for n in range(20)], "ranks": list(range(1, 21)), "rater": "ann"}
    (tmp_path / "prefs.jsonl").write_text(json.dumps(line))
    done = convert("jsonl", tmp_path, tmp_path / "out", max_candidates=8)
    assert done.read == 1
    assert done.notes["images of other kinds written as PNG"] == 20
    pairs = []
    for sample in samples(tmp_path / "out"):
        assert len(sample.images) <= 8
        files = sample.group.provenance["files"]
        pairs += [(files[c.first], files[c.second]) for c in comparisons_of(sample.group, "overall")]
        assert all(image.startswith(b"\x89PNG") for image in sample.images)
    assert len(pairs) == len(set(pairs)) == 190


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
def test_the_real_ratings_reach_the_shards(tmp_path):
    src = Path(SHARED) / "data" / "avt_ai"
    done = convert("avt", src, tmp_path / "avt", options=AvtOptions(pooled=False))
    assert (done.read, done.written, done.candidates, done.bad) == (27, 27, 145, [])
    groups = [sample.group for sample in samples(tmp_path / "avt")]
    decided = sum(
        c.votes[0] + c.votes[2] for group in groups for d in group.dimensions for c in comparisons_of(group, d)
    )
    assert decided == 25_782


@pytest.mark.skipif(SHARED is None, reason="REWARDKIT_SHARED is not set")
def test_the_real_hpd_group_reaches_the_shards(tmp_path):
    done = convert("hpdv2", Path(SHARED) / "data" / "hpdv2_real_sample", tmp_path / "out")
    assert (done.written, done.candidates) == (1, 9)
    [sample] = samples(tmp_path / "out")
    assert len(sample.group.rankings) == 11


def test_a_folder_name_that_shards_cannot_have(source, tmp_path):
    convert("jsonl", source, tmp_path / "my data v1.2")
    [path] = shard_paths(tmp_path / "my data v1.2")
    assert path.name == "my-data-v1-2-000000.tar"
    assert ShardIndex.open(path.parent).sources == {"my data v1.2": 30}


def test_an_interruption_leaves_nothing_behind(source, tmp_path):
    def interrupt(groups):
        if groups == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert("jsonl", source, tmp_path / "out", progress=interrupt, shard_groups=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
