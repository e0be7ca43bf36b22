"""Bad samples: counted, named, and too many of them stop the run. Their place in a batch stays empty.

A group with any image that cannot be used is bad as a whole, since its comparisons would silently be other ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rewardkit.errors import DataError

ALWAYS_TOLERATED = 10
"""So many bad samples are tolerated in however small a data set."""


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
    """Collects the reports of one data set in the main process.

    Every sample is counted and written once, however often it is met, also over a resume.

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
        self.reports: dict[tuple[str, str, str], BadReport] = {}
        self._groups = groups
        self._path = None if path is None else Path(path)
        self._data_set = data_set
        self._read()

    def __len__(self) -> int:
        return len(self.reports)

    def add(self, reports: Iterable[BadReport]) -> None:
        """Counts and writes what is new.

        Raises:
            DataError: There are more bad samples than tolerated; lists the first twenty.
        """
        for report in reports:
            place = (report.source, report.shard, report.key or report.reason)
            if place in self.reports:
                continue
            self.reports[place] = report
            self._write(report)
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

    def _write(self, report: BadReport) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"set": self._data_set, **asdict(report)}, ensure_ascii=False)
            with open(self._path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")

    def _read(self) -> None:
        """Takes over what an interrupted run has written."""
        if self._path is None or not self._path.exists():
            return
        text = self._path.read_text(encoding="utf-8", errors="replace")
        if text and not text.endswith("\n"):
            with open(self._path, "a", encoding="utf-8") as file:
                file.write("\n")
        for line in text.splitlines():
            try:
                record = json.loads(line)
                name = record.pop("set")
                report = BadReport(**record)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # a line cut off when the run was killed; the sample is met and written again
            if name == self._data_set:
                self.reports[report.source, report.shard, report.key or report.reason] = report
