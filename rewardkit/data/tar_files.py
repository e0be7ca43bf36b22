"""Tar archives: read whole or by range, without ever trusting or extracting them, and written plainly.

Python's ``tarfile`` opens an archive as a whole, follows what its headers say and takes an archive that ends between
two files for complete; samples are read by range, thousands a second, and a cut-off shard must be noticed. It also
takes longer over a header than over the bytes of an image.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rewardkit.errors import BadSample

BLOCK = tarfile.BLOCKSIZE
"""Headers are one block, and files are padded to whole blocks."""

WRITE_BYTES = 2**20
"""An archive is written in pieces of about this size: fewer calls than file by file, and nothing is copied for it."""

WRITE_PIECES = 512
"""Most buffers that are handed over in one call; systems take 1 024 (``IOV_MAX``)."""

_PLAIN = re.compile(
    rb"""
    (?:[0-7]{7}\0){3} ([0-7]{11})\0 [0-7]{11}\0   # mode, owner, group; size; time
    ([0-7]{6})\0\x20                              # checksum
    0.{100}                                       # a regular file; what a link leads to
    ustar(?:\x0000|\x20{2}\x00) .{64}             # POSIX or GNU; names of owner and group
    (?:[0-7]{7}\0|\0{8}){2} \0                    # device numbers; nothing stands before the name
    """,
    re.DOTALL | re.VERBOSE,
)
"""What stands behind the name in the header of a plain file, as nearly every program writes it."""

_NAME = slice(0, 100)
_CHECKSUM = slice(148, 156)


def tar_header(block: bytes) -> tuple[str, int, bytes]:
    """What a header says: name, size of the file in bytes, type.

    Raises:
        tarfile.HeaderError: It is none, or it is damaged.
    """
    plain = _PLAIN.match(block, _NAME.stop)
    if plain is not None and len(block) == BLOCK:
        # The sum of all bytes, where those of the sum itself count as eight spaces.
        total = sum(block.translate(None, b"\0")) - sum(block[_CHECKSUM]) + 8 * ord(" ")
        if total == int(plain[2], 8):
            name = block[_NAME].partition(b"\0")[0].decode("utf-8", "surrogateescape")
            return name, int(plain[1], 8), tarfile.REGTYPE
    info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    return info.name, info.size, info.type


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
            name, length, kind = tar_header(header)
        except tarfile.HeaderError as error:
            raise BadSample(f"damaged tar header at byte {position}: {error}") from error
        padding = -length % BLOCK
        if length < 0 or position + BLOCK + length > size:
            raise BadSample(f"the shard is cut off inside {name!r}, at byte {size}")
        data = stream.read(length)
        stream.read(padding)
        position += BLOCK + length + padding
        if kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            long_name = _pax_path(data) or long_name or ""
        elif kind == tarfile.GNUTYPE_LONGNAME:
            long_name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif kind in (tarfile.REGTYPE, tarfile.AREGTYPE):
            yield long_name or name, begin, data, position
            long_name = None
        elif kind in (tarfile.DIRTYPE, tarfile.XGLTYPE):
            long_name = None
        else:
            raise BadSample(f"{name!r} is a link, a device or the like; shards hold plain files only")


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


class TarFileWriter:
    """Writes plain files to a new tar archive, byte for byte as ``tarfile`` does it in the USTAR form.

    Owner and time are zero, so that the same files give the same bytes.

    Args:
        path: Of the archive.
    """

    def __init__(self, path: str | Path) -> None:
        self.offset = 0
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115  (closed by finish or close)
        self._waiting: list[bytes] = []
        self._written = 0

    def add(self, name: str, data: bytes) -> None:
        """Adds a file.

        Args:
            name: ASCII, at most 100 bytes.
            data: Less than 8 GiB.

        Raises:
            OSError: The archive cannot be written.
        """
        padding = -len(data) % BLOCK
        self._waiting += (_header(name, len(data)), data, _ZEROS[:padding])
        self.offset += BLOCK + len(data) + padding
        if self.offset - self._written >= WRITE_BYTES or len(self._waiting) > WRITE_PIECES - 3:
            self._flush()

    def finish(self) -> None:
        """Writes the end mark and closes the archive."""
        end = 2 * BLOCK
        self._waiting.append(bytes(end + -(self.offset + end) % tarfile.RECORDSIZE))
        self._flush()
        self.close()

    def _flush(self) -> None:
        waiting: list[bytes | memoryview] = list(self._waiting)
        self._waiting.clear()
        while waiting:
            done = os.writev(self._file.fileno(), waiting)
            self._written += done
            # All of it, but where the disk is full or a limit reached: then the next call says so.
            while waiting and done >= len(waiting[0]):
                done -= len(waiting.pop(0))
            if waiting:
                waiting[0] = memoryview(waiting[0])[done:]

    def close(self) -> None:
        """Closes the archive as it is."""
        self._file.close()


def _header(name: str, size: int) -> bytes:
    """A header block; ``_EMPTY`` with what differs from file to file."""
    encoded, digits = name.encode("ascii"), b"%011o" % size
    if len(encoded) > _NAME.stop or not 0 <= size < 8**11:
        raise ValueError(f"{name!r} with {size} bytes does not go into a shard")
    block = bytearray(_EMPTY)
    block[: len(encoded)] = encoded
    block[_SIZE] = digits
    block[_CHECKSUM] = b"%06o\0 " % (_EMPTY_SUM + sum(encoded) + sum(digits))
    return bytes(block)


_ZEROS = bytes(BLOCK)
_EMPTY = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
_SIZE = slice(124, 135)
_EMPTY_SUM = sum(_EMPTY) - sum(_EMPTY[_SIZE]) - sum(_EMPTY[_CHECKSUM]) + 8 * ord(" ")
"""Of all bytes but the name and the size, where those of the sum itself count as spaces."""
