"""Conversion keeps bytes and labels, names what it leaves out, goes on after a kill, and gives the same bytes."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.convert import ERRORS_FILE, convert
from rewardkit.data.formats.avt import AvtOptions
from rewardkit.data.index import ARRAYS, ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.merge import merge_shards
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
    assert "is cut off" in errors[2]["reason"]
    assert convert("jsonl", source, tmp_path / "slow", decode=True).written == 27


def test_too_many_unreadable_images_fail_and_are_all_listed(source, tmp_path):
    for n in range(12):
        (source / f"{n}a.jpg").unlink()
    with pytest.raises(DataError, match=r"12 of 30 groups have an image that cannot be read; nothing was written"):
        convert("jsonl", source, tmp_path / "out", shard_groups=6, workers=1)
    assert not (tmp_path / "out").exists()
    listing = tmp_path / f"out.{ERRORS_FILE}"
    assert len(listing.read_text().splitlines()) == 12
    # What is done is kept, but for the shards in which something was left out: it may have been mended since.
    for n in range(12):
        Image.new("RGB", (20 + n, 10), (8 * n, 0, 0)).save(source / f"{n}a.jpg")
    done = convert("jsonl", source, tmp_path / "out", shard_groups=6, workers=1)
    assert (done.written, done.taken_up) == (30, 3)
    assert not list(tmp_path.glob(".out*"))


def test_a_small_source_of_which_most_is_unreadable_fails(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    lines = [{"prompt": str(n), "images": ["a.png", f"none{n}.png"], "better": 0} for n in range(3)]
    (tmp_path / "prefs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match=r"3 of 3 groups[\s\S]*prefs.jsonl:1: none0.png: there is no file"):
        convert("jsonl", tmp_path, tmp_path / "out")


def test_a_wrong_image_folder_stops_early(tmp_path):
    lines = [{"prompt": str(n), "images": ["a.png", "b.png"], "better": 0} for n in range(300)]
    (tmp_path / "prefs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="100 of 100 groups read so far"):
        convert("jsonl", tmp_path, tmp_path / "out", shard_groups=50, workers=1)


def test_an_existing_folder_is_refused_and_left_alone(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        convert("jsonl", source, tmp_path / "out")
    assert (tmp_path / "out" / "precious").read_text() == "x"


def test_an_id_that_is_there_already_is_left_out_and_named(tmp_path):
    for n in range(4):
        Image.new("RGB", (4, 4), (n, 0, 0)).save(tmp_path / f"{n}.png")
    lines = [json.dumps({"id": f"g{n % 3}", "prompt": "p", "candidates": [{"file": f"{n}.png"}]}) for n in range(4)]
    (tmp_path / "prefs.jsonl").write_text("\n".join(lines))
    done = convert("jsonl", tmp_path, tmp_path / "out")
    assert done.written == 3
    [bad] = done.bad_rows
    assert (bad.file, bad.line) == ("prefs.jsonl", 4) and "'g0' stands already" in bad.reason


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


def shard_bytes(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupted(folder, out, after, **options):
    """A conversion that is interrupted in the main process once so many groups are done."""

    def interrupt(stage, done, total):
        if stage == "groups" and done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert("jsonl", folder, out, progress=interrupt, shard_groups=3, workers=1, **options)


def test_an_interrupted_conversion_goes_on_and_gives_the_same_bytes(source, tmp_path):
    (source / "3b.jpg").write_bytes(b"")
    convert("jsonl", source, tmp_path / "whole", name="x", source="x", shard_groups=3, workers=1)
    interrupted(source, tmp_path / "out", 10, name="x", source="x")
    assert not (tmp_path / "out").exists()
    work = tmp_path / ".out.converting"
    times = {path.name: path.stat().st_mtime_ns for path in (work / "units").iterdir()}
    assert len(times) == 3
    (work / "units" / ".000007.part-1").mkdir()  # as a kill in the middle of a shard leaves one
    done = convert("jsonl", source, tmp_path / "out", name="x", source="x", shard_groups=3, workers=1)
    assert (done.read, done.written, done.taken_up) == (30, 29, 3)
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")
    assert not work.exists()


def test_other_options_do_not_go_on_with_an_unfinished_conversion(source, tmp_path):
    interrupted(source, tmp_path / "out", 10)
    with pytest.raises(UserError, match=r"unfinished conversion .* differs in groups \(3 then, 4 now\).*remove that"):
        convert("jsonl", source, tmp_path / "out", shard_groups=4)
    # Who does the work is no difference.
    assert convert("jsonl", source, tmp_path / "out", shard_groups=3, workers=2, max_bad_fraction=0.2).taken_up == 3


def test_a_conversion_that_failed_makes_room_for_another(source, tmp_path):
    for n in range(12):
        (source / f"{n}a.jpg").unlink()
    with pytest.raises(DataError):
        convert("jsonl", source, tmp_path / "out")
    assert convert("jsonl", source, tmp_path / "out", shard_groups=4, max_bad_fraction=0.5, workers=1).written == 18


def test_a_source_that_has_changed_is_read_again(source, tmp_path):
    interrupted(source, tmp_path / "out", 10)
    lines = (source / "prefs.jsonl").read_text().splitlines()
    (source / "prefs.jsonl").write_text("\n".join(lines[5:]))
    done = convert("jsonl", source, tmp_path / "out", shard_groups=3, workers=1)
    assert (done.written, done.taken_up) == (25, 0)


def test_a_second_conversion_into_the_same_folder_is_refused(source, tmp_path):
    from rewardkit.data.convert_work import locked, work_folder

    with (
        locked(work_folder(tmp_path / "out")),
        pytest.raises(UserError, match="another conversion is writing"),
    ):
        convert("jsonl", source, tmp_path / "out")


def test_parts_hold_each_group_once_and_merge_without_reading(source, tmp_path):
    whole = convert("jsonl", source, tmp_path / "whole")
    folders = []
    for k in range(3):
        folders.append(tmp_path / f"part{k}")
        convert("jsonl", source, folders[-1], part=(k, 3), source="mine", shard_groups=4, workers=1)
    indexes = [ShardIndex.open(folder) for folder in folders]
    assert all(len(index) for index in indexes) and sum(map(len, indexes)) == whole.written
    merged = merge_shards(indexes, tmp_path / "merged")
    prompts = [sample.group.prompt for sample in samples(tmp_path / "merged")]
    assert sorted(prompts) == sorted(f"prompt {n}" for n in range(30)) and len(merged) == 30
    assert all(path.stat().st_nlink == 2 for path in shard_paths(tmp_path / "merged"))
    assert merged.sources == {"mine": 30}
    # The joined index is the one that reading the shards makes.
    read = build_index(tmp_path / "merged", made=merged.made)
    assert read.digest == merged.digest
    for name in ARRAYS:
        assert np.array_equal(getattr(read, name), getattr(merged, name)), name
    assert convert(
        "jsonl", source, tmp_path / "again", part=(1, 3), source="mine", name="part1", shard_groups=4, workers=1
    ).read
    assert (tmp_path / "again" / "part1-000000.tar").read_bytes() == (folders[1] / "part1-000000.tar").read_bytes()


def test_the_index_beside_the_shards_is_the_one_that_reading_them_makes(source, tmp_path):
    convert("jsonl", source, tmp_path / "out", shard_groups=7, workers=1)
    made = ShardIndex.open(tmp_path / "out")
    arrays = {name: np.array(getattr(made, name)) for name in ARRAYS}
    read = build_index(tmp_path / "out", made=made.made)
    assert (read.digest, read.shard_digests, read.scales) == (made.digest, made.shard_digests, made.scales)
    for name in ARRAYS:
        assert np.array_equal(arrays[name], getattr(read, name)), name
    assert made.made["summary"]["written"] == 30 and made.made["files"]["prefs.jsonl"] > 0


def test_a_shard_is_closed_when_it_has_grown(source, tmp_path):
    convert("jsonl", source, tmp_path / "out", shard_bytes=20_000)
    assert len(shard_paths(tmp_path / "out")) > 2
    assert len(ShardIndex.open(tmp_path / "out")) == 30


def test_one_bad_row_never_ends_a_conversion(source, tmp_path):
    with open(source / "prefs.jsonl", "ab") as file:
        file.write(b'\n{"prompt": "x", "images": ["1a.jpg", "1a.jpg"], "better": 0}')
        file.write(b'\n{"prompt": "\xff", "images": ["1a.jpg", "1b.jpg"], "better": 0}')
        file.write(b'\n{"prompt": "last", "images": ["1a.jpg", "1b.jpg"], "better": 0}')
    done = convert("jsonl", source, tmp_path / "out")
    assert (done.rows, done.written, [bad.line for bad in done.bad_rows]) == (33, 31, [31, 32])
    errors = [json.loads(line) for line in (tmp_path / "out" / ERRORS_FILE).read_text().splitlines()]
    assert [(e["file"], e["line"]) for e in errors] == [("prefs.jsonl", 31), ("prefs.jsonl", 32)]


def test_too_many_bad_rows_fail_and_are_all_listed(source, tmp_path):
    with open(source / "prefs.jsonl", "a") as file:
        file.write('\n{"prompt": "x"}' * 12)
    with pytest.raises(DataError, match=r"12 of 42 rows cannot be used.*\(all are listed in .*\)") as error:
        convert("jsonl", source, tmp_path / "out")
    assert "prefs.jsonl:31" in str(error.value)
    assert len((tmp_path / f"out.{ERRORS_FILE}").read_text().splitlines()) == 12
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    assert convert("jsonl", source, tmp_path / "out", max_bad_fraction=0.4).written == 30


def test_images_outside_the_source_are_refused_unless_allowed(source, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.jpg")
    with open(source / "prefs.jsonl", "a") as file:
        file.write("\n" + json.dumps({"prompt": "x", "images": ["../outside.jpg", "1a.jpg"], "better": 0}))
    done = convert("jsonl", source, tmp_path / "out")
    assert [bad.image for bad in done.bad] == ["../outside.jpg"] and "outside=allow" in done.bad[0].reason
    assert convert("jsonl", source, tmp_path / "all", outside=True).written == 31


def test_a_source_of_another_format_is_told(source, tmp_path):
    with pytest.raises(UserError, match="looks like format=jsonl, not like format=avt"):
        convert("avt", source, tmp_path / "out")
    with pytest.raises(UserError, match="does not exist"):
        convert("jsonl", tmp_path / "none", tmp_path / "out")


def test_resizing_is_deterministic(source, tmp_path):
    for n, workers in enumerate((1, 3)):
        done = convert("jsonl", source, tmp_path / str(n), name="x", max_side=16, quality=60, workers=workers)
        assert done.notes["images made smaller, longer side 16"] == 60
    assert (tmp_path / "0" / "x-000000.tar").read_bytes() == (tmp_path / "1" / "x-000000.tar").read_bytes()


def test_rows_that_contradict_each_other_count_as_bad_rows_and_are_listed(source, tmp_path):
    with open(source / "prefs.jsonl", "a") as file:
        for n in range(12):
            line = {
                "prompt": f"prompt {n}",
                "images": [f"{n}a.jpg", f"{n}b.jpg"],
                "better": 0,
                "generators": ["x", "y"],
            }
            file.write("\n" + json.dumps(line) + "\n" + json.dumps({**line, "generators": ["z", "y"]}))
    with pytest.raises(DataError, match=r"12 of 54 rows cannot be used.*all are listed in .*out.convert_errors.jsonl"):
        convert("jsonl", source, tmp_path / "out")
    assert convert("jsonl", source, tmp_path / "out", max_bad_fraction=0.3).written == 30


def test_the_same_conversion_again_is_done_already_and_another_is_refused(source, tmp_path):
    """As after a kill in the moment between the last step and the end of the process."""
    first = convert("jsonl", source, tmp_path / "out")
    (tmp_path / ".out.converting" / "units").mkdir(parents=True)  # what a kill while it is removed leaves
    before = shard_bytes(tmp_path / "out")
    again = convert("jsonl", source, tmp_path / "out")
    assert (again.rows, again.written, again.taken_up) == (first.rows, first.written, first.shards)
    assert shard_bytes(tmp_path / "out") == before and not (tmp_path / ".out.converting").exists()
    with pytest.raises(UserError, match="exists already"):
        convert("jsonl", source, tmp_path / "out", max_candidates=8)
    with open(source / "prefs.jsonl", "a") as file:
        file.write("\n")
    with pytest.raises(UserError, match="exists already"):
        convert("jsonl", source, tmp_path / "out")
