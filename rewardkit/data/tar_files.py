"""Reading tar archives, whole or by range, without ever trusting or extracting them.

Python's ``tarfile`` opens an archive as a whole, follows what its headers say and takes an archive that ends between
two files for complete; samples are read by range, thousands a second, and a cut-off shard must be noticed.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from rewardkit.errors import BadSample

BLOCK = tarfile.BLOCKSIZE
"""Headers are one block, and files are padded to whole blocks."""


def tar_files(stream: BinaryIO, size: int, *, whole: bool) -> Iterator[tuple[str, int, bytes, int]]:
    """Every regular file of a tar stream.

    Args:
        stream: At its beginning.
        size: Its bytes.
        whole: The stream is a whole archive, whose end mark must be there; else a range of one.

    Yields:
        Name, first byte of its (first) header, data, first byte behind its padding.

    Raises:
        BadSample: The stream is cut off, a header is damaged, or there is a link, a device or the like.
    """
    position = 0
    long_name: str | None = None
    begin = 0
    while True:
        header = stream.read(BLOCK)
        if long_name is None:
            begin = position
        if not header.strip(b"\0"):
            if (whole and len(header) < BLOCK) or long_name is not None:
                raise BadSample("the shard is cut off: its end mark is missing" if size else "the shard is empty")
            return
        if len(header) < BLOCK:
            raise BadSample(f"the shard is cut off in a file's header, at byte {position}")
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BadSample(f"damaged tar header at byte {position}: {error}") from error
        padded = -(-info.size // BLOCK) * BLOCK
        if info.size < 0 or position + BLOCK + info.size > size:
            raise BadSample(f"the shard is cut off inside {info.name!r}, at byte {size}")
        data = stream.read(padded)[: info.size]
        position += BLOCK + padded
        if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            long_name = _pax_path(data) or long_name or ""
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            long_name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            yield long_name or info.name, begin, data, position
            long_name = None
        elif info.isdir() or info.type == tarfile.XGLTYPE:
            long_name = None
        else:
            raise BadSample(f"{info.name!r} is a link, a device or the like; shards hold plain files only")


def _pax_path(data: bytes) -> str | None:
    r"""The long name in a pax header, whose records read ``LENGTH path=NAME\n``."""
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(data):
            raise BadSample("damaged extended tar header")
        name, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if name == b"path":
            return value.decode("utf-8", "surrogateescape")
        if name == b"size":
            raise BadSample("files of more than 8 GB do not belong in a shard")
        data = data[int(length) :]
    return None
