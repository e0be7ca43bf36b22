"""Images of a source by name: in folders and archives, and never outside."""

import io
import os
import tarfile
import zipfile

import pytest

from rewardkit.data.source_folder import SourceFolder, refused_entries
from rewardkit.errors import BadSample, DataError


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").write_bytes(b"inside")
    (tmp_path / "secret.jpg").write_bytes(b"outside")
    return folder


def pack(path, entries):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
        return
    with tarfile.open(path, "w") as archive:
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def test_a_file_by_folder_and_name(root):
    assert SourceFolder(root).read("images/a.jpg") == SourceFolder(root).read("a.jpg", "images") == b"inside"
    with pytest.raises(BadSample, match=r"there is no file .*b\.jpg"):
        SourceFolder(root).read("b.jpg", "images")
    with pytest.raises(BadSample, match="is a folder"):
        SourceFolder(root).read("images")


@pytest.mark.parametrize("name", ["../secret.jpg", "images/../../secret.jpg", "/etc/hostname"])
def test_names_that_lead_out_are_refused_unless_allowed(root, name):
    with pytest.raises(BadSample, match=r"leads out of the source's folder; give outside=allow"):
        SourceFolder(root).read(name)
    assert SourceFolder(root, outside=True).read(name)


def test_links_are_followed_inside_and_refused_outside(root, tmp_path):
    (root / "inner.jpg").symlink_to(root / "images" / "a.jpg")
    (root / "outer.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    (root / "dangling.jpg").symlink_to(root / "none.jpg")
    source = SourceFolder(root)
    assert source.read("inner.jpg") == b"inside"
    for name in ("outer.jpg", "elsewhere/secret.jpg"):
        with pytest.raises(BadSample, match="symbolic link that leads out"):
            source.read(name)
        assert SourceFolder(root, outside=True).read(name) == b"outside"
    with pytest.raises(BadSample, match="not a file name"):
        source.read("loop.jpg")
    with pytest.raises(BadSample, match="there is no file"):
        source.read("dangling.jpg")


def test_a_source_behind_a_link_is_read(root, tmp_path):
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert SourceFolder(tmp_path / "link").read("images/a.jpg") == b"inside"


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_archives_beside_are_read_in_place(root, suffix):
    pack(root / f"train{suffix}", {"bare.jpg": b"1", "train/named.jpg": b"2"})
    (root / "images" / "x").mkdir()
    pack(root / "images" / f"part{suffix}", {"images/part/whole.jpg": b"3"})
    source = SourceFolder(root)
    assert source.read("bare.jpg", "train") == b"1"
    assert source.read("train/named.jpg") == b"2"
    assert source.read("images/part/whole.jpg") == b"3"
    with pytest.raises(BadSample, match=f"train{suffix} does not hold it either"):
        source.read("train/none.jpg")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_entries_that_lead_out_are_never_read_and_named(root, suffix):
    pack(root / f"train{suffix}", {"../escape.jpg": b"x", "/absolute.jpg": b"y", "good.jpg": b"z"})
    if suffix == ".tar":
        with tarfile.open(root / "train.tar", "a") as archive:
            link = tarfile.TarInfo("link.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
            archive.addfile(link)
    refused = refused_entries(root)
    names = {entry for _, entry, _ in refused}
    assert {"../escape.jpg", "/absolute.jpg"} <= names and "good.jpg" not in names
    assert ("link.jpg" in names) == (suffix == ".tar")
    source = SourceFolder(root, outside=True)
    assert source.read("good.jpg", "train") == b"z"
    for name in ("../escape.jpg", "link.jpg"):
        with pytest.raises(BadSample):
            source.read(name, "train")


def test_damaged_and_compressed_archives(root):
    (root / "train.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match=r"train.zip cannot be read \(cut off"):
        SourceFolder(root).read("a.jpg", "train")
    (root / "train.zip").unlink()
    (root / "train.tar.gz").write_bytes(b"")
    with pytest.raises(BadSample, match=r"unpack train.tar.gz"):
        SourceFolder(root).read("a.jpg", "train")


def test_a_damaged_entry_is_a_bad_sample(root):
    pack(root / "train.zip", {"a.jpg": os.urandom(4000)})
    data = bytearray((root / "train.zip").read_bytes())
    data[2000] ^= 255
    (root / "train.zip").write_bytes(data)
    with pytest.raises(BadSample, match="cannot be unpacked"):
        SourceFolder(root).read("a.jpg", "train")


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a\0.jpg"])
def test_names_that_no_file_can_have_are_bad_samples(root, name):
    with pytest.raises(BadSample, match="not a file name"):
        SourceFolder(root).read(name)


def test_pipes_and_devices_are_no_images(root):
    with pytest.raises(BadSample, match="not a plain file"):
        SourceFolder(root, outside=True).read("/dev/null")
    os.mkfifo(root / "pipe.jpg")
    with pytest.raises(BadSample, match="not a plain file"):
        SourceFolder(root).read("pipe.jpg")
