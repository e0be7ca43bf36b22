"""What all benches share: rounds of alternating measurements, their spread, a table, and the record as JSON.

Things that are compared are measured in turns (A B A B …), so that a machine that grows slower or faster meanwhile
treats both alike. A figure is the median of the rounds, with the lowest and highest beside it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One number of a bench.

    Attributes:
        name: What was measured.
        unit: Of the values.
        values: One per round.
        demand: What the median must reach: the least (positive) or, negated, the most that it may be; None: nothing.
        digits: Behind the point.
    """

    name: str
    unit: str
    values: Sequence[float]
    demand: float | None = None
    digits: int = 2

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the demand is met; None where there is none."""
        if self.demand is None:
            return None
        return self.median >= self.demand if self.demand >= 0 else self.median < -self.demand

    def cells(self) -> tuple[str, str, str, str]:
        """Name, median, spread and demand for the table."""
        shown = [f"{value:,.{self.digits}f}" for value in (self.median, min(self.values), max(self.values))]
        spread = f"{shown[1]} … {shown[2]}" if len(self.values) > 1 else ""
        demand = "" if self.demand is None else f"{'≥' if self.demand >= 0 else '<'} {abs(self.demand):,g}"
        if self.met is not None:
            demand += " met" if self.met else " MISSED"
        return self.name, f"{shown[0]} {self.unit}".strip(), spread, demand


@dataclass
class Report:
    """The figures of one bench, with what they were measured on.

    Attributes:
        bench: Its name.
        settings: Of the bench.
        figures: In the order of the table.
        notes: Sentences below the table.
        machine: Processors, load when it began, versions.
    """

    bench: str
    settings: Mapping[str, Any]
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def finish(self, file: Path | None) -> bool:
        """Prints the table, writes the JSON where a file is given; whether all demands are met."""
        self.machine["load_after"] = load()
        table = Table(title=f"{self.bench}: {self.about()}", title_justify="left")
        for column in ("figure", "median", "lowest … highest", "demand"):
            table.add_column(column, justify="left" if column in ("figure", "demand") else "right")
        for figure in self.figures:
            table.add_row(*figure.cells())
        console = Console(width=120)
        console.print(table)
        for note in self.notes:
            console.print(note)
        if file is not None:
            record = {
                **asdict(self),
                "figures": [{**asdict(f), "median": f.median, "met": f.met} for f in self.figures],
            }
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return all(figure.met is not False for figure in self.figures)

    def about(self) -> str:
        """The machine in a few words."""
        return (
            f"{self.machine['processors']} processors, load {self.machine['load_before']:.1f} before and "
            f"{self.machine['load_after']:.1f} after, Python {self.machine['python']}"
        )


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processors": os.cpu_count(),
        "load_before": load(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def load() -> float:
    """Processes that wanted a processor in the last minute; what is measured itself counts too."""
    return round(os.getloadavg()[0], 2)


def seconds(work: Callable[[], object]) -> float:
    """How long something takes. What earlier work left to be written is written before, not meanwhile."""
    os.sync()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def processor_seconds(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of processor time of things that are done in turns; a first round is not counted.

    Of work on one thread that waits for nothing, this is the time of an idle machine, whatever else runs on it.
    """
    took: dict[str, list[float]] = {name: [] for name in works}
    for n in range(1 + rounds):
        for name, work in works.items():
            begun = time.process_time()
            work()
            if n > 0:
                took[name].append(time.process_time() - begun)
    return took


def warm(paths: Iterable[Path]) -> None:
    """Reads files, so that they lie in the system's page cache."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.read(2**22):
                pass


def cool(paths: Iterable[Path]) -> None:
    """Asks the system to drop files from its page cache; it does so for what is on the disk already."""
    os.sync()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and of those in it, in order of name."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
