"""A JSON file that holds one list of records, read record by record: a file of gigabytes takes memory for one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewardkit.errors import UserError

CHUNK = 1 << 20
"""Characters read at a time."""

MAX_RECORD = 1 << 26
"""Characters of the longest record; a longer one is no record of a group."""

_SPACE = " \t\r\n"


def json_list(file: Path) -> Iterator[tuple[int, Any]]:
    """Record number (from 1) and value of each entry of the list.

    Bytes that are not UTF-8 become lone surrogates in their record's texts.

    Raises:
        UserError: The file is not a list, is empty, or is not valid JSON (cut off); says behind which record.
    """
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    number = 0
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as text:
        buffer = _Buffer(text)
        start = buffer.skip(_SPACE)
        if start != "[":
            what = "an object" if start == "{" else "empty" if not start else f"something that begins with {start!r}"
            raise UserError(f"{file} must hold a list of records [{{…}}, …], and is {what}")
        buffer.take(1)
        if buffer.skip(_SPACE) == "]":
            raise UserError(f"{file} is an empty list")
        while True:
            try:
                value = buffer.value(decoder)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{file} is not valid JSON behind record {number} (cut off while downloading?): {error}"
                ) from None
            number += 1
            yield number, value
            mark = buffer.skip(_SPACE)
            if mark == "]":
                return
            if mark != ",":
                found = f"{mark!r} stands" if mark else "the file ends"
                raise UserError(f"{file} is not valid JSON: {found} behind record {number}, where , or ] must be")
            buffer.take(1)
            buffer.skip(_SPACE)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that can be used")


class _Buffer:
    """A window on a text file that moves forward."""

    def __init__(self, text: Any) -> None:
        self._file = text
        self._text = ""
        self._at = 0
        self._ended = False

    def _more(self) -> bool:
        read = self._file.read(max(CHUNK, len(self._text) - self._at))
        self._text = self._text[self._at :] + read
        self._at = 0
        self._ended = not read
        return bool(read)

    def skip(self, letters: str) -> str:
        """Moves over the letters; the letter that follows them, "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in letters:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, count: int) -> None:
        self._at += count

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The JSON value that begins here.

        Raises:
            ValueError: There is none, though the file was read to its end or the record is too long.
        """
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except ValueError as error:
                if self._ended or len(self._text) - self._at > MAX_RECORD or not self._more():
                    raise ValueError(str(error)) from None
                continue
            # A number at the window's end may go on in the next one: 1 | .5, 1.5e- | 7.
            if len(self._text) - end < 3 and not self._ended:
                self._more()
                continue
            self._at = end
            return value
