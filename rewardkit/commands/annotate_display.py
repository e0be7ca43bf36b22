"""What ``annotate`` prints: the estimate of a dry run, a line of progress, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rewardkit.commands.data_display import print_tables
from rewardkit.data.inspect import Table

if TYPE_CHECKING:
    from rewardkit.annotate.estimate import Estimate
    from rewardkit.annotate.figures import Figures
    from rewardkit.commands.annotate_run import Run

QUIET_SECONDS = 15.0
"""Between two lines of progress where there is no terminal."""


def print_estimates(estimates: Mapping[str, Estimate], *, budget: float | None, priced: bool) -> None:
    """What is left to ask, by annotator and step."""
    rows = [
        (
            name,
            f"{one.requests:,}",
            f"{one.done:,}",
            f"{one.tokens_in:,}",
            f"{one.tokens_out:,}",
            *((f"{one.cost:,.2f}", f"{one.most:,.2f}") if priced else ()),
        )
        for name, one in estimates.items()
    ]
    columns = (
        "",
        "requests",
        "done",
        "tokens in, about",
        "tokens out, about",
        *(("cost", "at most") if priced else ()),
    )
    print_tables([Table("what would be asked", columns, tuple(rows))])
    if priced:
        cost, most = (sum(getattr(one, name) for one in estimates.values()) for name in ("cost", "most"))
        print(
            f"cost about {cost:,.2f}; if every answer were as long as max_tokens= permits, {most:,.2f}; repairs on top"
        )
        if budget is not None and cost > budget:
            print(f"budget={budget:g} would stop it before the end")
    print("nothing was asked (dry_run=true)")


@asynccontextmanager
async def show_progress(run: Run, console: Console) -> AsyncIterator[None]:
    """A line that is kept current on a terminal; elsewhere a new one now and then."""
    task = asyncio.create_task(_keep(run, console))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _keep(run: Run, console: Console) -> None:
    if not console.is_terminal:
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            console.print(progress_line(run), markup=False, highlight=False, soft_wrap=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(Text(progress_line(run)), refresh=True)
            await asyncio.sleep(0.2)


def progress_line(run: Run) -> str:
    """What is done, at which rate, and how long the rest will take."""
    progress, seconds = run.progress, time.monotonic() - run.began
    ended, left = progress.ended, max(0, run.expected - progress.ended - progress.passed_over)
    rate = ended / seconds if seconds > 0 else 0.0
    told = f"{run.expected - left:,} of {run.expected:,} requests, {rate:.1f}/s"
    if rate > 0 and left:
        told += f", {duration(left / rate)} left"
    if run.budget.limit is not None:
        told += f", {run.budget.spent:,.2f} of {run.budget.limit:,.2f} spent"
    told += f", {progress.failures:,} could not be asked" if progress.failures else ""
    return told + (f"; sending again, since {progress.trouble}" if progress.trouble else "")


def duration(seconds: float) -> str:
    """``2 h 05 min``, ``3 min 20 s``, ``12 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def figures_tables(figures: Mapping[str, Figures], *, priced: bool) -> Sequence[Table]:
    """What came of the requests, and what they took, by annotator; two tables, so that both fit a terminal."""
    counted = ("requests", "ok", "invalid", "refused", "repairs", "retries")
    came = [(name, *(f"{getattr(one, key):,}" for key in counted)) for name, one in figures.items()]
    took = [
        (name, f"{one.tokens_in:,}", f"{one.tokens_out:,}", *((f"{one.cost:,.4f}",) if priced else ()))
        for name, one in figures.items()
    ]
    columns = ("annotator", "tokens in", "tokens out", *(("cost",) if priced else ()))
    return [
        Table("all of this annotation", ("annotator", *counted), came),
        Table("their tokens", columns, took),
    ]
