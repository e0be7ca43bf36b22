"""How a run of ``annotate`` ends: its figures, what could not be asked, what to do next, and the exit code."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from rewardkit.annotate.annotators import Denied
from rewardkit.annotate.figures import as_record, figures_of, total
from rewardkit.commands.annotate_display import duration, figures_tables
from rewardkit.commands.annotate_run import Run
from rewardkit.commands.data_display import print_tables
from rewardkit.data.convert_work import write_json
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE

FIGURES_FILE = "annotate.json"
"""Sections of figures; ``asking`` is what stands here."""

SHOWN = 10
"""Groups that are named as unreadable."""

SHOWN_FAILURES = 3
"""Requests that are named with why they could not be asked; the reasons are mostly one."""


def end(run: Run, denied: Denied | None) -> int:
    """Prints and writes what came of a run.

    Raises:
        Denied: As given: nothing could be asked.
    """
    seconds, progress = time.monotonic() - run.began, run.progress
    figures = figures_of(run.log.folder, run.annotation.prices)
    add_section(run.log.folder, "asking", as_record(figures, calls=progress.calls, seconds=seconds))
    if figures:
        print_tables(figures_tables(figures, priced=bool(run.annotation.prices)))
    rate = progress.calls / seconds if seconds else 0.0
    print(
        f"this run: {progress.ended:,} requests in {progress.calls:,} calls, {duration(seconds)}, {rate:.1f} calls/s; "
        f"{progress.passed_over:,} were in the log before"
    )
    for what, times in sorted(run.prepared.counts.items()):
        print(f"prompts, {what}: {times:,}")
    whole = total(figures)
    if whole.unknown_calls:
        cost = f", at most {whole.unknown_cost:,.4f} of the price table" if run.annotation.prices else ""
        print(
            f"note: of {whole.unknown_calls:,} calls it is not known whether they were charged (no answer came back, "
            f"or the run was ended by force){cost}; they are sent again with the same Idempotency-Key"
        )
    if denied is not None:
        raise denied
    return _code(run)


def add_section(folder: Path, name: str, record: object) -> None:
    """Writes a section of ``annotate.json``; the others stay."""
    file = folder / FIGURES_FILE
    held = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    write_json(file, {**held, name: record})


def _code(run: Run) -> int:
    """Says why it is not all done, where it is not."""
    progress = run.progress
    bad = [reason for plan in run.plans for reason in plan.bad] + progress.bad
    left = max(0, run.expected - progress.ended - progress.passed_over - progress.failures - len(progress.bad))
    for reason in bad[:SHOWN]:
        print(f"left out, cannot be read: {reason}", file=sys.stderr)
    if len(bad) > SHOWN:
        print(f"… and {len(bad) - SHOWN:,} more", file=sys.stderr)
    for reason in progress.failed[:SHOWN_FAILURES]:
        print(f"not asked: {reason}", file=sys.stderr)
    if progress.failures > SHOWN_FAILURES:
        print(f"… and {progress.failures - SHOWN_FAILURES:,} more", file=sys.stderr)
    if run.signal:
        print(f"interrupted; {left:,} requests are left: run the same command to go on", file=sys.stderr)
        return run.signal_code
    if run.budget.reached:
        print(
            f"error: budget={run.budget.limit:g}: {run.budget.spent:,.4f} is spent, and the next call could pass it. "
            f"{left:,} requests are left: run the same command with a higher budget= to go on",
            file=sys.stderr,
        )
        return EXIT_FAILURE
    if progress.stopped or progress.failures:
        told = progress.stopped or f"{progress.failures:,} requests could not be asked"
        print(
            f"error: {told}. {left + progress.failures:,} requests are left: run the same command to go on",
            file=sys.stderr,
        )
        return EXIT_FAILURE
    return EXIT_FAILURE if bad else EXIT_DONE
