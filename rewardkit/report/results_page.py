"""A page of results that are no run's: facts, tables and charts in sections.

``sweep_page.py`` writes a sweep's with it; a benchmark's is a ``Results`` with its tables. Everything that is given is
text to be shown, and is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rewardkit
from rewardkit.report.figures import Figure
from rewardkit.report.template import Measured, environment, environment_lines, write_page

Cell = str | int | float | Measured | None
"""Of a table: numbers are written short and stand right; None is a dash."""


@dataclass(frozen=True, slots=True)
class ResultsTable:
    """A table.

    Attributes:
        columns: Its heads.
        rows: As many cells each.
        marked: Numbers of the rows that stand out.
        note: Below it.
        sortable: Whether its columns can be sorted by, on a page that has a script.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    marked: tuple[int, ...] = ()
    note: str = ""
    sortable: bool = False

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers alone."""
        return tuple(
            any(isinstance(row[n], int | float | Measured) for row in self.rows)
            and not any(isinstance(row[n], str) for row in self.rows)
            for n in range(len(self.columns))
        )


@dataclass(frozen=True, slots=True)
class ResultsSection:
    """A part of the page: what it shows in a sentence, charts, and a table."""

    title: str
    lead: str = ""
    figures: Sequence[Figure] = ()
    table: ResultsTable | None = None
    small: bool = False


@dataclass(frozen=True, slots=True)
class Results:
    """What a page of results shows.

    Attributes:
        title: Above all.
        kicker: What kind of page it is, in small letters above the title.
        label: Of the headline.
        headline: The one number or word that matters most; "" for none.
        below: Below the headline.
        facts: Beside it.
        sections: In their order.
        commands: Shell lines that make the same again.
        environment: What it ran in, as ``environment.json`` of a run.
    """

    title: str
    kicker: str
    label: str = ""
    headline: str = ""
    below: str = ""
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[ResultsSection] = ()
    commands: Sequence[str] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)


def write_results_page(path: Path, results: Results) -> Path:
    """Writes the page, and replaces an older one.

    Args:
        path: The HTML file.
        results: What it shows.

    Returns:
        The file.
    """
    page = (
        environment()
        .get_template("results.html.j2")
        .render(
            title=results.title,
            kicker=results.kicker,
            results=results,
            environment=environment_lines(results.environment),
            version=rewardkit.__version__,
        )
    )
    return write_page(path, page)
