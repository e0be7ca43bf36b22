"""Tar headers read and written without ``tarfile``: the same as with it, on every kind of header and of damage."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest

from rewardkit.data.tar_files import BLOCK, TarFileWriter, tar_files, tar_header
from rewardkit.errors import BadSample

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def with_tarfile(block: bytes) -> tuple[str, int, bytes] | str:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        return type(error).__name__
    return info.name, info.size, info.type


def ours(block: bytes) -> tuple[str, int, bytes] | str:
    try:
        return tar_header(block)
    except tarfile.HeaderError as error:
        return type(error).__name__


def headers() -> list[bytes]:
    made = []
    for format in FORMATS:
        for name in ("a.json", "k" * 99 + "j", "dir/" * 20 + "a.0.jpg", "ä.png", "\udcff.png", "", "folder/"):
            for kind in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.CONTTYPE):
                for size in (0, 1, 512, 8**11 - 1):
                    info = tarfile.TarInfo(name)
                    info.type, info.size, info.uname, info.mtime = kind, size, "somebody", 1.7e9
                    made.append(info.tobuf(format, "utf-8", "surrogateescape")[-BLOCK:])
    return made


def test_headers_say_what_tarfile_reads() -> None:
    quick = 0
    for block in headers():
        assert ours(block) == with_tarfile(block)
        quick += isinstance(ours(block), tuple)
    assert quick > 300  # most are read at all
    for block in (b"", bytes(BLOCK), b"\0" * 100, headers()[0][:-1], headers()[0] + b"\0"):
        assert ours(block) == with_tarfile(block)


def test_any_damage_is_found_where_tarfile_finds_it() -> None:
    draw = random.Random(0)
    blocks = headers()
    for _ in range(5000):
        block = bytearray(draw.choice(blocks))
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            block[draw.randrange(BLOCK)] = draw.choice((0, 32, 47, 48, 55, 56, 255, draw.randrange(256)))
        assert ours(bytes(block)) == with_tarfile(bytes(block))
        # The same with a right checksum: a strange header, not a damaged one.
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        assert ours(bytes(block)) == with_tarfile(bytes(block))


@pytest.mark.parametrize("count", [0, 1, 20, 40])
def test_written_as_tarfile_writes(tmp_path: Path, count: int) -> None:
    draw = random.Random(count)
    files = [(f"{'k' * draw.randrange(1, 90)}.{n}.jpg", draw.randbytes(draw.randrange(3000))) for n in range(count)]
    files += [("empty.json", b""), ("block.json", bytes(BLOCK))]
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    writer = TarFileWriter(tmp_path / "a.tar")
    for name, data in files:
        writer.add(name, data)
    end = writer.offset
    writer.finish()
    written = (tmp_path / "a.tar").read_bytes()
    assert written == expected.getvalue()
    found = list(tar_files(io.BytesIO(written), len(written), whole=True))
    assert [(name, data) for name, _, data, _ in found] == files and found[-1][3] == end


def test_files_that_a_shard_cannot_hold(tmp_path: Path) -> None:
    writer = TarFileWriter(tmp_path / "a.tar")
    with pytest.raises(ValueError, match="does not go into a shard"):
        writer.add("k" * 101, b"")
    writer.close()


def test_a_range_may_end_inside_the_padding() -> None:
    info = tarfile.TarInfo("a.json")
    info.size = 3
    data = info.tobuf(tarfile.USTAR_FORMAT) + b"{} "
    assert [name for name, *_ in tar_files(io.BytesIO(data), len(data), whole=False)] == ["a.json"]
    with pytest.raises(BadSample, match=r"cut off inside 'a\.json'"):
        list(tar_files(io.BytesIO(data[:-1]), len(data) - 1, whole=False))
