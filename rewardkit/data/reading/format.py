"""The interface of a format: how the files of one public dataset, or one's own, become statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rewardkit.data.reading.statements import Said
from rewardkit.errors import DataError

ALWAYS_TOLERATED = 10
"""Bad rows that are left out whatever their share, as bad samples are in training (``data/bad_samples.py``)."""

HOPELESS = 100
"""Reading stops after this many bad rows if they are most of those seen: the file is of another kind."""

SHOWN = 10
"""Bad rows that a message lists."""


@dataclass(slots=True)
class Row:
    """One row of an annotation file. Nobody changes it; not frozen, for the reason that statements are not.

    Attributes:
        file: Path relative to the source, for messages and provenance.
        line: Line of a text file, record of a JSON list, row of a table; from 1.
        values: Column to value.
    """

    file: str
    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out, and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(slots=True)
class ReadLog:
    """What reading a source counts: rows, bad rows by name, and notes on what was left out or changed.

    Attributes:
        max_bad_fraction: Share of the rows that may be bad.
        rows: Rows read so far.
        bad: Rows left out; never more than the limit allows, by far.
        notes: Reason -> how often something else was left out or changed; shown at the end.
        files: Annotation file, relative to the source -> its bytes and time of change.
    """

    max_bad_fraction: float = 0.01
    rows: int = 0
    bad: list[BadRow] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)

    def opened(self, file: Path, name: str) -> str:
        """Notes that a file of the source is read; returns ``name``, by which rows call it."""
        status = file.stat()
        self.files[name] = (status.st_size, status.st_mtime_ns)
        return name

    def leave_out(self, file: str, line: int, reason: str) -> None:
        """Counts a bad row, once however many of its statements are bad.

        Raises:
            DataError: Most rows so far are bad.
        """
        if self.bad and (self.bad[-1].file, self.bad[-1].line) == (file, line):
            return
        self.bad.append(BadRow(file, line, reason))
        if len(self.bad) >= HOPELESS and 2 * len(self.bad) > self.rows:
            raise too_many_bad_rows(self.bad, self.rows, stopped=True)

    def judge(self) -> None:
        """Whether the rows that were left out are few enough.

        Raises:
            DataError: More than ``max(10, max_bad_fraction × rows)`` or more than half are bad.
        """
        bad = len(self.bad)
        if bad > max(ALWAYS_TOLERATED, self.max_bad_fraction * self.rows) or 2 * bad > self.rows:
            raise too_many_bad_rows(self.bad, self.rows, stopped=False)


class TooManyBadRows(DataError):
    """More rows of a source are bad than may be left out; ``bad`` has them all."""

    def __init__(self, message: str, bad: list[BadRow]) -> None:
        super().__init__(message)
        self.bad = bad


def too_many_bad_rows(bad: list[BadRow], rows: int, *, stopped: bool) -> TooManyBadRows:
    """The error for too many bad rows; lists the first few."""
    seen = f"{rows:,} rows{' read so far' if stopped else ''}"
    shown = [f"  {row}" for row in bad[:SHOWN]]
    more = [f"  … and {len(bad) - SHOWN:,} more"] if len(bad) > SHOWN else []
    return TooManyBadRows(
        "\n".join(
            [f"{len(bad):,} of {seen} cannot be used. Mend them, or allow more with max_bad_fraction=", *shown, *more]
        ),
        bad,
    )


def say_each(rows: Iterable[Row], log: ReadLog, say: Callable[[Row], Iterable[Said]]) -> Iterator[Said]:
    """What each row says; a row of which ``say`` raises ValueError says nothing, and is counted and named.

    Args:
        rows: From a reader of ``rewardkit/data/reading/rows.py``, which counts them.
        log: Takes the bad rows.
        say: One row to its statements, all or none of them.

    Raises:
        DataError: Most rows are bad.
    """
    for row in rows:
        try:
            said = list(say(row))
        except ValueError as error:
            log.leave_out(row.file, row.line, str(error))
            continue
        yield from said


class Format(Protocol):
    """One way in which preferences lie on disk.

    Attributes:
        name: What ``format=`` says on the command line.
        summary: One line for the list of formats.
        options: A dataclass of what can be asked of this format, declared as the schema's options are.
    """

    name: str
    summary: str
    options: type[Any]

    def matches(self, src: Path) -> bool:
        """Whether the path looks like this format. Only for hints in messages: the format is never guessed.

        Looks at names and at the first record of a file; never raises, whatever lies there.
        """
        ...

    def read(self, src: Path, options: Any, log: ReadLog) -> Iterator[Said]:
        """What the source says, row after row, streaming: never holds the rows or images of a whole file.

        Args:
            src: The folder or the annotation file.
            options: An instance of ``self.options``.
            log: Counts rows and takes the bad ones: a row that cannot be used is left out and named there.

        Raises:
            UserError: The source as a whole is not what it should be: a file or column is missing, a file is cut off.
            DataError: Too many rows are bad.
        """
        ...
