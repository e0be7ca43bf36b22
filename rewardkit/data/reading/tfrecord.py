"""TFRecord files of ``tf.train.Example``, read strictly and without TensorFlow.

A record is framed as length (uint64), masked CRC-32C of the length, data, masked CRC-32C of the data, little-endian.
The data is a protocol buffer: ``Example { Features features = 1 }``, ``Features { map<string, Feature> feature = 1 }``,
``Feature { oneof: BytesList = 1, FloatList = 2, Int64List = 3 }``, each list with its values in field 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeAlias

from rewardkit.data.reading.format import ReadLog
from rewardkit.errors import UserError

Feature: TypeAlias = list[bytes] | list[float] | list[int]

MAX_RECORD = 1 << 28
"""Bytes of the longest record that is read."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def examples(file: Path, log: ReadLog, name: str) -> Iterator[tuple[int, dict[str, Feature]]]:
    """Number (from 1) and features of each record; one whose checksum or content is wrong is left out and named.

    Raises:
        UserError: The file is cut off, or is no TFRecord file.
    """
    with file.open("rb") as stream:
        number = 0
        while (data := _record(stream, file, number)) is not None:
            number += 1
            log.rows += 1
            body, checksum = data
            if masked_crc32c(body) != checksum:
                log.leave_out(name, number, "the record's checksum is wrong; the file was damaged")
                continue
            try:
                found = _example(body)
            except (ValueError, IndexError, struct.error) as error:
                log.leave_out(name, number, f"it is not a tf.train.Example: {error}")
                continue
            yield number, found


def _record(stream: BinaryIO, file: Path, number: int) -> tuple[bytes, int] | None:
    """Data and checksum of the next record, None at the end."""
    head = stream.read(12)
    if not head:
        return None
    if number == 0 and head == b"version http":
        raise UserError(f"{file} is a pointer of Git LFS and not the data; `git lfs pull` fetches it")
    length, checksum = struct.unpack("<QI", head) if len(head) == 12 else (0, None)
    if checksum is None or masked_crc32c(head[:8]) != checksum or length > MAX_RECORD:
        where = f"damaged or cut off behind record {number}" if number else "no TFRecord file"
        raise UserError(f"{file} is {where}")
    data = stream.read(length + 4)
    if len(data) < length + 4:
        raise UserError(f"{file} is cut off behind record {number} (while downloading?)")
    return data[:-4], struct.unpack("<I", data[-4:])[0]


def masked_crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of the data, rotated and shifted as TFRecord stores it."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    made = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        made.append(byte)
    return tuple(made)


def _example(data: bytes) -> dict[str, Feature]:
    """Features by name.

    Raises:
        ValueError: The bytes are no such message.
    """
    found: dict[str, Feature] = {}
    for features in _inside(data, 1):
        for entry in _inside(features, 1):
            fields = dict(_fields(entry))
            name, value = fields.get(1, b""), fields.get(2, b"")
            if not isinstance(name, bytes) or not isinstance(value, bytes):
                raise ValueError("a feature has no name and value")
            found[name.decode("utf-8")] = _feature(value)
    return found


def _feature(data: bytes) -> Feature:
    for kind, values in _fields(data):
        if not isinstance(values, bytes):
            break
        if kind == 1:
            return list(_inside(values, 1))
        if kind == 2:
            return _floats(values)
        if kind == 3:
            return _integers(values)
    return []


def _floats(data: bytes) -> list[float]:
    """Values packed in one field, or one by one."""
    found: list[float] = []
    for field, value in _fields(data):
        if field == 1:
            packed = value if isinstance(value, bytes) else struct.pack("<I", value)
            found += struct.unpack(f"<{len(packed) // 4}f", packed)
    return found


def _integers(data: bytes) -> list[int]:
    found: list[int] = []
    for field, value in _fields(data):
        if field == 1 and isinstance(value, int):
            found.append(_signed(value))
        elif field == 1 and isinstance(value, bytes):
            at = 0
            while at < len(value):
                number, at = _varint(value, at)
                found.append(_signed(number))
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _inside(data: bytes, number: int) -> Iterator[bytes]:
    """The messages or texts in one field."""
    for field, value in _fields(data):
        if field == number:
            if not isinstance(value, bytes):
                raise ValueError(f"field {number} is a number where a message must be")
            yield value


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield field, value
            continue
        if wire not in (_BYTES, _FIXED32, _FIXED64):
            raise ValueError(f"field {field} has the unknown wire type {wire}")
        length = 4 if wire == _FIXED32 else 8
        if wire == _BYTES:
            length, at = _varint(data, at)
        if at + length > len(data):
            raise ValueError(f"field {field} is longer than its message")
        inside = data[at : at + length]
        at += length
        yield field, inside if wire == _BYTES else int.from_bytes(inside, "little")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
