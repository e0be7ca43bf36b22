"""Statements on disk while a source is read, brought together by group: millions of rows in constant memory.

A source's rows come in any order, and a group is whole only behind the last of them. They are kept in a SQLite file,
images that come as bytes in one file beside it; neither is part of a shard set, and both go when it is written.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from rewardkit.data.gathered import Gathered, ImagePlace, Stored, gathered
from rewardkit.data.packed_statements import pack
from rewardkit.data.reading.statements import Said, Statement, WholeRecord
from rewardkit.errors import DataError, UserError

RECENT = 100_000
"""Groups whose numbers are remembered in memory; rows of a group mostly stand near each other."""

RECENT_CHARACTERS = 1 << 25
"""Characters of the prompts of these groups together, at most."""

WAITING_CHARACTERS = 1 << 24
"""Characters of the statements that are written together; those of one group among them become one row."""

TOGETHER = 256
"""Statements of one group that are turned into text together, at most."""


_Names: TypeAlias = tuple[str] | tuple[str | None, str]
_Known: TypeAlias = tuple[int | None, str | None]
"""A group's number, None where it is of another part, and its id."""


class Spool:
    """A source's statements by group. Written once, then read from any process.

    Args:
        folder: Where ``spool.sqlite`` and ``spool.bytes`` lie.
        part: ``(k, n)`` keeps only the groups of the k-th of n parts, from 0, by a hash of the group.
        said: Called with the number of each group that something is said of.
    """

    def __init__(
        self, folder: Path, part: tuple[int, int] | None = None, said: Callable[[int], None] = lambda number: None
    ) -> None:
        self.folder = folder
        self.count = 0
        self._part = part
        self._hear = said
        self._first_in_memory = 0
        self._known: dict[_Names, _Known] = {}
        self._known_characters = 0
        self._latest = -1
        self._said: list[Said] = []
        self._waiting: dict[int, list[str]] = {}
        self._waiting_characters = 0
        self._end = 0
        self._bytes: Any = None
        self._base = sqlite3.connect(folder / "spool.sqlite", isolation_level=None)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bytes is not None:
            self._bytes.close()
        self._base.close()

    def start(self) -> None:
        """Empties it and makes it ready for ``add``."""
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-65536"):
            self._base.execute(f"PRAGMA {pragma}")
        for table in ("groups", "said", "ids", "bytes"):
            self._base.execute(f"DROP TABLE IF EXISTS {table}")
        self._base.execute(
            "CREATE TABLE groups (number INTEGER PRIMARY KEY, key BLOB UNIQUE, prompt TEXT, name TEXT, id TEXT)"
        )
        self._base.execute("CREATE TABLE said (number INTEGER, payload TEXT)")
        self._base.execute("CREATE TABLE ids (id TEXT PRIMARY KEY, place TEXT) WITHOUT ROWID")
        self._base.execute(
            "CREATE TABLE bytes (number INTEGER, name TEXT, digest BLOB, offset INTEGER, length INTEGER, "
            "PRIMARY KEY (number, name)) WITHOUT ROWID"
        )
        self._base.execute("BEGIN")
        self._bytes = open(self.folder / "spool.bytes", "wb")  # noqa: SIM115  (closed by __exit__)

    def add(self, said: Said) -> bool:
        """Takes one statement into its group.

        Returns:
            Whether it is of this part.

        Raises:
            ValueError: It does not go with what was said before: an id of another group, another image of one name.
        """
        if isinstance(said, Statement) and len(said.data) > 1:
            _check_data(said)
        number = self._number(said)
        if number is None:
            return False
        if isinstance(said, Statement) and said.data:
            for name, data in zip(said.images, said.data, strict=True):
                if data is not None:
                    self._add_bytes(number, name, data)
        if number != self._latest or len(self._said) >= TOGETHER:
            self._encode()
            self._latest = number
        self._said.append(said)
        return True

    def _encode(self) -> None:
        """Turns the latest group's statements into text: one by one, that takes three times as long."""
        if self._said:
            payload = pack(self._said)
            self._hear(self._latest)
            # As text, since objects that stay for long cost the garbage collector more than writing them.
            self._waiting.setdefault(self._latest, []).append(payload)
            self._waiting_characters += len(payload)
            self._said = []
        if self._waiting_characters >= WAITING_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        rows = ((number, f"[{','.join(packed)}]") for number, packed in self._waiting.items())
        self._base.executemany("INSERT INTO said VALUES (?, ?)", rows)
        self._waiting.clear()
        self._waiting_characters = 0
        self._first_in_memory = self.count

    def finish(self) -> int:
        """Ends adding; the number of groups."""
        self._encode()
        self._flush()
        self._base.execute("CREATE INDEX said_by_group ON said (number)")
        self._base.execute("COMMIT")
        self._bytes.close()
        self._bytes = None
        return self.count

    def in_memory(self, start: int, stop: int) -> list[Stored] | None:
        """Groups ``start`` to ``stop - 1`` as they stand so far, for ``gathered`` in another process.

        Returns:
            None where something of them is on disk already, or images came as bytes.
        """
        self._encode()
        if start < self._first_in_memory or self._end:
            return None
        rows = self._base.execute(
            "SELECT number, prompt, name, id FROM groups WHERE number >= ? AND number < ? ORDER BY number",
            (start, stop),
        )
        waiting = self._waiting
        return [(*row, f"[{','.join(waiting[row[0]])}]") for row in rows if row[0] in waiting]

    def groups(self, start: int, stop: int) -> Iterator[Gathered]:
        """Groups ``start`` to ``stop - 1``, each with all that was said of it.

        Raises:
            DataError: The file is damaged.
        """
        try:
            with_bytes = self._base.execute("SELECT EXISTS (SELECT 1 FROM bytes)").fetchone()[0]
            found = self._base.execute(
                "SELECT number, prompt, name, id, payload FROM groups JOIN said USING (number) "
                "WHERE number >= ? AND number < ? ORDER BY number, said.rowid",
                (start, stop),
            )
            for group in gathered(found):
                yield replace(group, bytes_of=self._bytes_of(group.number)) if with_bytes else group
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
            raise DataError(f"{self.folder / 'spool.sqlite'} is damaged: {error}; remove {self.folder}") from None

    def _bytes_of(self, number: int) -> dict[str, ImagePlace]:
        stored = self._base.execute("SELECT name, offset, length FROM bytes WHERE number = ?", (number,))
        return {image: ImagePlace(image, "", offset, length) for image, offset, length in stored}

    def read(self, place: ImagePlace) -> bytes:
        """An image that came as bytes."""
        assert place.offset is not None, "the image lies in a file of the source"
        if self._bytes is None:
            self._bytes = open(self.folder / "spool.bytes", "rb")  # noqa: SIM115  (closed by __exit__)
        self._bytes.seek(place.offset)
        data: bytes = self._bytes.read(place.length)
        return data

    def _number(self, said: Said) -> int | None:
        """The group's number, a new one for a new group; None for a group of another part."""
        names = _names(said)
        known = self._known.get(names)
        if known is None or isinstance(said, WholeRecord):
            known = self._find(names, said)
            if len(self._known) >= RECENT or self._known_characters >= RECENT_CHARACTERS:
                self._known.clear()
                self._known_characters = 0
            self._known_characters += len(names[-1])
        elif known[0] is None or said.id is None or said.id == known[1]:
            return known[0]
        if isinstance(said, Statement) and known[0] is not None and said.id not in (None, known[1]):
            known = self._late_id(known[0], known[1], said)
        self._known[names] = known
        return known[0]

    def _find(self, names: _Names, said: Said) -> _Known:
        """Looks a group up, or enters it."""
        key = hashlib.blake2b(json.dumps(names).encode(), digest_size=16).digest()
        if self._part is not None and int.from_bytes(key[:8], "little") % self._part[1] != self._part[0]:
            return (None, None)
        known: _Known | None = self._base.execute("SELECT number, id FROM groups WHERE key = ?", (key,)).fetchone()
        if isinstance(said, WholeRecord):
            if known is not None:
                raise ValueError(
                    f"a group with the id {said.record.id!r} stands already in this source; ids must differ"
                )
            return self._new(key, said.record.id, said, "", None)
        return known or self._new(key, said.id, said, said.prompt, said.group)

    def _new(self, key: bytes, id: str | None, said: Said, prompt: str, name: str | None) -> _Known:
        if id is not None:
            self._take_id(id, said)
        self._base.execute("INSERT INTO groups VALUES (?, ?, ?, ?, ?)", (self.count, key, prompt, name, id))
        self.count += 1
        return self.count - 1, id

    def _late_id(self, number: int, id: str | None, said: Statement) -> _Known:
        """Gives a group the id that only a later row of it has."""
        assert said.id is not None
        if id is not None:
            raise ValueError(
                f"the id is {said.id!r}, but an earlier row of this prompt says {id!r}. An id belongs to a prompt's "
                "group: make them equal, or give the rows different groups"
            )
        self._take_id(said.id, said)
        self._base.execute("UPDATE groups SET id = ? WHERE number = ?", (said.id, number))
        return number, said.id

    def _take_id(self, id: str, said: Said) -> None:
        there = self._base.execute("SELECT place FROM ids WHERE id = ?", (id,)).fetchone()
        if there is not None:
            raise ValueError(f"the group id {id!r} is that of another group, at {there[0]}; ids must differ")
        self._base.execute("INSERT INTO ids VALUES (?, ?)", (id, f"{said.file}:{said.line}"))

    def _add_bytes(self, number: int, name: str, data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        known = self._base.execute("SELECT digest FROM bytes WHERE number = ? AND name = ?", (number, name)).fetchone()
        if known is not None:
            if known[0] != digest:
                raise ValueError(f"the image {name!r} has other bytes here than in an earlier row of its prompt")
            return
        try:
            self._bytes.write(data)
        except OSError as error:
            raise UserError(f"{self.folder / 'spool.bytes'} cannot be written: {error.strerror or error}") from error
        self._base.execute("INSERT INTO bytes VALUES (?, ?, ?, ?, ?)", (number, name, digest, self._end, len(data)))
        self._end += len(data)


def _names(said: Said) -> _Names:
    """What makes two statements one group; a whole record has its id alone."""
    return (said.record.id,) if isinstance(said, WholeRecord) else (said.group, said.prompt)


def _check_data(said: Statement) -> None:
    """Whether a statement alone has one image's bytes only under each name; its group is not made if it has not."""
    data_of: dict[str, bytes | None] = {}
    for name, data in zip(said.images, said.data, strict=True):
        if data_of.setdefault(name, data) != data:
            raise ValueError(f"the image {name!r} has other bytes the second time")
