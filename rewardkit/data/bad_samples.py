"""Bad samples: counted, named, and too many of them stop the run. Their place in a batch stays empty.

A group with any image that cannot be used is bad as a whole, since its comparisons would silently be other ones.
Ranks share ``data_errors.jsonl``: whoever meets a bad sample first names it, and takes over what the others have named.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from rewardkit.errors import DataError

ALWAYS_TOLERATED = 10
"""So many bad samples are tolerated in however small a data set."""

_Place = tuple[str, str, str]
"""Source, shard and key, by which a sample is known."""


@dataclass(frozen=True, slots=True)
class BadReport:
    """One sample that could not be used; travels from the loader's worker to the main process in its batch.

    Attributes:
        source: The folder of the shards.
        key: Empty where not even that can be read.
        reason: What is wrong, in a few words.
    """

    source: str
    shard: str
    key: str
    reason: str


class BadSamples:
    """Collects the reports of one data set in the main process of a rank.

    Every sample is counted and written once, however often and by however many ranks it is met, also over a resume.
    What other ranks have met counts as soon as this one meets a bad sample itself.

    Args:
        groups: Groups in the data set.
        max_bad_fraction: The run stops above ``max(10, max_bad_fraction * groups)`` bad samples.
        path: ``data_errors.jsonl``, one line per sample; None writes none.
        data_set: Its name in the lines, ``train`` or the validation set's.
    """

    def __init__(
        self, *, groups: int, max_bad_fraction: float, path: str | os.PathLike[str] | None, data_set: str
    ) -> None:
        self.limit = max(ALWAYS_TOLERATED, int(max_bad_fraction * groups))
        self.reports: dict[_Place, BadReport] = {}
        self._groups = groups
        self._path = None if path is None else Path(path)
        self._data_set = data_set
        self._read_to = 0  # bytes of the file
        if self._path is not None and self._path.exists():
            with open(self._path, "rb") as file:
                self._take_over(file)

    def __len__(self) -> int:
        return len(self.reports)

    def add(self, reports: Iterable[BadReport]) -> None:
        """Counts and writes what is new.

        Raises:
            DataError: There are more bad samples than tolerated; lists the first twenty.
        """
        new = {_place(report): report for report in reports if _place(report) not in self.reports}
        if new and self._path is not None:
            self._write(new, self._path)
        self.reports |= new
        if len(self.reports) > self.limit:
            raise DataError(self._told())

    def _told(self) -> str:
        lines = [f"  {r.source}/{r.shard} {r.key}: {r.reason}" for r in list(self.reports.values())[:20]]
        more = f"\n  and {len(self) - 20} more" if len(self) > 20 else ""
        return (
            f"{len(self)} of {self._groups} samples of {self._data_set} cannot be used, more than {self.limit}:\n"
            + "\n".join(lines)
            + f"{more}\nMend the shards (`rewardkit data verify src=…` lists all), or raise data.max_bad_fraction."
        )

    def _write(self, new: dict[_Place, BadReport], path: Path) -> None:
        """Names what no rank has named before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file, _locked(file):
            if self._take_over(file):
                file.write(b"\n")  # behind a line that was cut off when its writer was killed
            for place, report in new.items():
                if place not in self.reports:
                    line = json.dumps({"set": self._data_set, **asdict(report)}, ensure_ascii=False)
                    file.write(line.encode("utf-8", errors="backslashreplace") + b"\n")

    def _take_over(self, file: BinaryIO) -> bool:
        """Counts what an interrupted run, or another rank since, has written; whether the file ends within a line."""
        file.seek(self._read_to)
        whole, newline, rest = file.read().rpartition(b"\n")
        self._read_to += len(whole) + len(newline)
        for line in whole.split(b"\n"):
            try:
                record = json.loads(line.decode("utf-8", errors="replace"))
                name = record.pop("set")
                report = BadReport(**record)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # cut off; the sample is met and written again
            if name == self._data_set:
                self.reports[_place(report)] = report
        return bool(rest)


def _place(report: BadReport) -> _Place:
    return report.source, report.shard, report.key or report.reason


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    """While it is open, no other process writes; where locks are not to be had, a sample may be named twice."""
    try:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass
    yield  # closing the file gives the lock back, after what is left in its buffer has been written
