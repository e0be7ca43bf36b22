"""The size of a plain JPEG from its header, without Pillow: conversion measures every image of a set.

Pillow takes longer to open a JPEG of half a megapixel than a disk takes to copy it. What is out of the ordinary is left
to Pillow, so that both always say the same.
"""

from __future__ import annotations

_SOI, _SOS, _DQT, _APP0, _APP14 = 0xD8, 0xDA, 0xDB, 0xE0, 0xEE
_FRAMES = (0xC0, 0xC1, 0xC2)
"""Start of a frame: baseline, extended, progressive."""
_SILENT = (0xC4, 0xDD, 0xFE)
"""Huffman tables, restart interval, comment: nothing that the size depends on."""
_SHORTEST = {_APP0: 16, _APP14: 14}
"""JFIF's and Adobe's segments hold so many bytes at least."""


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG of 8-bit grey or colour without EXIF and the like (ITU T.81, annex B).

    Args:
        data: The file's bytes.

    Returns:
        None where it is another kind of file, something is unusual, or the header is damaged or cut off.
    """
    if data[:2] != b"\xff\xd8":
        return None
    size: tuple[int, int] | None = None
    at, end = 2, len(data)
    while at + 4 <= end:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if data[at] != 0xFF or length < 2 or at + 2 + length > end:
            return None
        begin, at = at + 4, at + 2 + length
        if marker == _SOS:
            return size
        if marker in _FRAMES:
            if size is not None or length < 8:
                return None
            size = _frame(data[begin:at])
            if size is None:
                return None
        elif marker == _DQT:
            if not _are_tables(data[begin:at]):
                return None
        elif marker not in _SILENT and length < _SHORTEST.get(marker, end):
            return None
    return None


def _frame(segment: bytes) -> tuple[int, int] | None:
    """Width and height of a frame of one or three layers of 8 bits."""
    height, width = segment[1] << 8 | segment[2], segment[3] << 8 | segment[4]
    layers = segment[5]
    if segment[0] != 8 or layers not in (1, 3) or len(segment) != 6 + 3 * layers or not (width and height):
        return None
    return width, height


def _are_tables(segment: bytes) -> bool:
    """Whether a segment holds whole quantisation tables."""
    at = 0
    while at < len(segment):
        at += 65 if segment[at] < 16 else 129
    return at == len(segment)
