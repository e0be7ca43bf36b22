"""Writing shards, reading them by range, and shards that are cut off, damaged or hostile."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
import webdataset

from rewardkit.data import sources
from rewardkit.data.group import Candidate, Group
from rewardkit.data.shard_writer import ShardWriter, key_of
from rewardkit.data.shards import key_at, open_sample, read_record, read_sample, scan_shard, shard_paths
from rewardkit.errors import BadSample, DataError, UserError


def write(folder, groups, **options):
    with ShardWriter(folder, "set", **options) as writer:
        for group, images in groups:
            writer.write(group, images)
    return sorted(folder.glob("*.tar"))


def tar_of(path, members, *, format=tarfile.USTAR_FORMAT):
    """A tar file of (name or TarInfo, bytes)."""
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


RECORD = b'{"id": "a", "prompt": "p", "candidates": [{"file": "x.jpg"}, {"file": "y.jpg"}]}'


def test_written_and_read_back(tmp_path, group_of):
    groups = [group_of(n) for n in range(8)]
    paths = write(tmp_path, groups, max_groups=3)
    assert [path.name for path in paths] == ["set-000000.tar", "set-000001.tar", "set-000002.tar"]
    stored = [(path, s) for path in paths for s in scan_shard(path)]
    assert [s.key for _, s in stored] == [group.id for group, _ in groups]
    for (path, s), (group, images) in zip(stored, groups, strict=True):
        sample = read_sample(path, s.offset, s.length)
        assert sample.images == images and sample.key == group.id
        assert sample.group.comparisons == group.comparisons and sample.group.slots == group.slots
        assert [c.file for c in sample.group.candidates] == [f"{group.id}.{n}.png" for n in range(len(images))]
        assert all(len(c.sha256) == 64 for c in sample.group.candidates)
        assert read_record(path, s.offset, s.length) == sample.group
        assert key_at(path, s.offset) == group.id
        assert open_sample(s).images == images


def test_the_same_groups_give_the_same_bytes(tmp_path, group_of):
    first = write(tmp_path / "a", [group_of(n) for n in range(4)])
    second = write(tmp_path / "b", [group_of(n) for n in range(4)])
    assert first[0].read_bytes() == second[0].read_bytes()


def test_plain_webdataset_reads_our_shards(tmp_path, group_of):
    groups = [group_of(n) for n in range(6)]
    paths = write(tmp_path, groups, max_groups=4)
    samples = list(webdataset.WebDataset([str(path) for path in paths], shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [group.id for group, _ in groups]
    for sample, (_, images) in zip(samples, groups, strict=True):
        assert [sample[f"{n}.png"] for n in range(len(images))] == images and b'"prompt"' in sample["json"]


def test_shards_of_a_plain_webdataset_writer_are_read(tmp_path, group_of):
    _, images = group_of(3)
    with webdataset.TarWriter(str(tmp_path / "x.tar")) as writer:
        for key in ("some/where/0001", "some/where/" + "long" * 40):
            writer.write(
                {"__key__": key, "json": RECORD.decode(), "0.jpg": images[0], "1.JPG": images[1], "txt": "more"}
            )
    stored = list(scan_shard(tmp_path / "x.tar"))
    assert [s.key for s in stored] == ["some/where/0001", "some/where/" + "long" * 40]
    for s in stored:
        assert read_sample(tmp_path / "x.tar", s.offset, s.length).images == images[:2]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_any_order_of_files(tmp_path, format):
    key = "k" * 150
    members = [(f"{key}.1.png", b"one"), (f"{key}.0.webp", b"zero"), (f"{key}.json", RECORD), ("b.json", RECORD)]
    path = tar_of(tmp_path / "x.tar", members, format=format)
    stored = list(scan_shard(path))
    assert [s.key for s in stored] == [key, "b"]
    assert read_sample(path, stored[0].offset, stored[0].length).images == [b"zero", b"one"]
    assert read_record(path, stored[0].offset, stored[0].length).id == "a"


def test_keys_are_safe_and_stay_different():
    assert key_of("fine-Id_9") == "fine-Id_9"
    keys = [key_of(name) for name in ("a.b", "a/b", "../../etc/passwd", "ä", "ö", "x" * 81, "x" * 82, "a b", "\ud800")]
    assert len(set(keys)) == len(keys)
    assert all("." not in key and "/" not in key and len(key) <= 80 for key in keys)


def test_mistakes_in_writing(tmp_path, group_of):
    group, images = group_of(3)
    with ShardWriter(tmp_path, "set", max_groups=1) as writer:
        writer.write(group, images)
        with pytest.raises(DataError, match=r"'g00003' is there twice: in set-000000.tar, sample 0, and .*000001"):
            writer.write(group, images)
        with pytest.raises(DataError, match="4 candidates but 3 images"):
            writer.write(group_of(7)[0], images[:3])
        odd = Group("odd", "p", (Candidate("x.bmp"),))
        with pytest.raises(DataError, match=r"'x\.bmp' is not JPEG, PNG or WebP"):
            writer.write(odd, [b"BM...."])
        assert writer.groups == 1
    with pytest.raises(UserError, match="already holds shards named set"):
        ShardWriter(tmp_path, "set")
    with pytest.raises(UserError, match="letters, digits"):
        ShardWriter(tmp_path, "a/b")


def test_nothing_is_left_of_a_shard_that_was_not_finished(tmp_path, group_of):
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, "set", max_groups=2) as writer:
        for n in range(3):
            writer.write(*group_of(n))
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["set-000000.tar"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("groups", [1, 40])  # told at the end, and before
def test_a_full_disk_is_told(tmp_path, group_of, monkeypatch, groups):
    (tmp_path / "part").symlink_to("/dev/full")
    large = b"\xff\xd8\xff" + bytes(100_000)
    written = 0
    with (
        pytest.raises(DataError, match=r"set-000000.tar cannot be written: No space left on device"),
        ShardWriter(tmp_path, "set") as writer,
    ):
        monkeypatch.setattr(writer, "_part", lambda: tmp_path / "part")
        for n in range(groups):
            group, images = group_of(n)
            writer.write(group, [large] * len(images))
            written += 1
    assert written < 40 and not list(tmp_path.iterdir())


def test_folders_without_shards(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        shard_paths(tmp_path / "none")
    with pytest.raises(UserError, match="data convert"):
        shard_paths(tmp_path)


def test_a_shard_cut_off_anywhere_is_noticed(tmp_path, group_of):
    path = write(tmp_path, [group_of(n) for n in range(3)])[0]
    whole = path.read_bytes()
    stored = list(scan_shard(path))
    end = stored[-1].offset + stored[-1].length
    for size in [0, 1, 511, 512, 700, 1024, *range(1024, end, 997), end - 1, end]:
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"set-000000\.tar: (after sample 'g|in its first sample)"):
            list(scan_shard(path))
        for s in stored:
            if s.offset + s.length > size:
                with pytest.raises(BadSample, match="cut off"):
                    read_sample(path, s.offset, s.length)
                with pytest.raises(BadSample):
                    read_record(path, s.offset, min(s.length, 600))
            else:
                assert read_sample(path, s.offset, s.length).key == s.key


def test_links_and_devices_are_refused(tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE):
        info = tarfile.TarInfo("a.0.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        path = tar_of(tmp_path / "x.tar", [("a.json", RECORD), (info, b"")])
        with pytest.raises(DataError, match="link, a device"):
            list(scan_shard(path))


def test_folders_inside_a_tar_count_for_nothing(tmp_path):
    info = tarfile.TarInfo("dir")
    info.type = tarfile.DIRTYPE
    path = tar_of(
        tmp_path / "x.tar", [(info, b""), ("dir/a.json", RECORD), ("dir/a.0.jpg", b"0"), ("dir/a.1.jpg", b"")]
    )
    assert [s.key for s in scan_shard(path)] == ["dir/a"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([("a.0.jpg", b"0"), ("a.1.jpg", b"1")], "no a.json"),
        ([("a.json", RECORD), ("a.0.jpg", b"0")], r"2 candidates, but the images are \[0\]"),
        ([("a.json", RECORD), ("a.0.jpg", b"0"), ("a.2.jpg", b"0")], r"images are \[0, 2\]"),
        ([("a.json", b"{garbage")], "not valid JSON"),
        ([("a.json", b"\xff\xfe")], "not valid JSON"),
        ([("a.json", b"[" * 100_000)], "not valid JSON"),
        ([("a.json", b"[]")], "not an object"),
        ([("a.json", b'{"id": "a", "candidates": []}')], "'prompt' is missing"),
        ([("a.json", b'{"id": "a", "prompt": "p", "candidates": 7}')], "wrong type"),
    ],
)
def test_samples_that_contradict_themselves(tmp_path, files, reason):
    path = tar_of(tmp_path / "x.tar", files)
    (stored,) = scan_shard(path)
    with pytest.raises(BadSample, match=reason):
        read_sample(path, stored.offset, stored.length)


def test_one_file_twice_in_a_sample(tmp_path):
    path = tar_of(tmp_path / "x.tar", [("a.json", RECORD), ("a.0.jpg", b"0"), ("a.0.png", b"1")])
    with pytest.raises(DataError, match=r"'a' has 'a\.0\.png' twice"):
        list(scan_shard(path))


def test_damaged_headers(tmp_path, group_of):
    path = write(tmp_path, [group_of(n) for n in range(3)])[0]
    whole = path.read_bytes()
    stored = list(scan_shard(path))
    for at in range(0, 512, 7):
        broken = bytearray(whole)
        broken[stored[1].offset + at] ^= 0x55
        path.write_bytes(broken)
        with pytest.raises(DataError):
            for s in scan_shard(path):
                open_sample(s)
    # A size that no file has, with a right checksum
    info = tarfile.TarInfo("a.json")
    info.size = 2**60
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(DataError, match=r"cut off inside 'a\.json'"):
        list(scan_shard(path))


def test_a_wrong_place_in_the_index(tmp_path, group_of):
    path = write(tmp_path, [group_of(n) for n in range(3)])[0]
    first, second, _ = scan_shard(path)
    with pytest.raises(BadSample, match="2 samples lie where"):
        read_sample(path, first.offset, first.length + second.length)
    with pytest.raises(BadSample):
        read_sample(path, first.offset + 512, first.length)


def test_reading_is_tried_again(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"0123456789")
    tries = []

    def unlucky(path, offset, length):
        tries.append(path)
        if len(tries) < 3:
            raise OSError(5, "Input/output error")
        return read(path, offset, length)

    read = sources._read
    monkeypatch.setattr(sources, "_read", unlucky)
    monkeypatch.setattr(sources.time, "sleep", lambda seconds: None)
    assert sources.read_range(tmp_path / "x", 3, 4) == b"3456"
    assert len(tries) == 3
    monkeypatch.setattr(sources, "_read", lambda *a: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(DataError, match=r"cannot be read \(3 attempts\): Input/output error"):
        sources.read_range(tmp_path / "x", 3, 4)
    assert not isinstance(DataError("x"), BadSample)
