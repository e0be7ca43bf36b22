"""How the actions of ``data`` show themselves: progress and tables on a terminal, plain text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewardkit.data.inspect import Table


@contextmanager
def progress_display(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A progress display on a terminal; silent elsewhere."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda groups: None
        return
    columns = [SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{what} groups", total=total)
        yield lambda groups: bar.update(task, completed=groups)


def print_tables(made: Sequence[Table]) -> None:
    """Tables with rules on a terminal, aligned plain text elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        for table in made:
            shown = RichTable(title=table.title, title_justify="left", show_header=any(table.columns))
            for n, column in enumerate(table.columns):
                shown.add_column(column, justify="left" if n == 0 or not any(table.columns) else "right")
            for row in table.rows:
                shown.add_row(*(Text(cell) for cell in row))
            Console().print(shown)
        return
    for table in made:
        rows = [table.columns, *table.rows] if any(table.columns) else list(table.rows)
        widths = [max(len(row[n]) for row in rows) for n in range(len(table.columns))]
        print(table.title)
        for row in rows:
            cells = [
                cell.ljust(width) if n == 0 or not any(table.columns) else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            print("  " + "  ".join(cells).rstrip())
        print()
