"""``data convert``: from preferences as they lie on disk to a shard set, with progress, and a summary at the end."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardkit.config.compose import COMMAND_LINE, Layer, compose
from rewardkit.config.data_options import ConvertOptions
from rewardkit.config.messages import did_you_mean
from rewardkit.errors import EXIT_DONE, EXIT_INTERRUPTED, ConfigError, UserError

if TYPE_CHECKING:
    from rewardkit.data.convert import Converted, Progress

SECONDS_BETWEEN_LINES = 30
"""Between two lines of progress where there is no terminal."""


def run(given: dict[str, Any], usage: str) -> int:
    """Converts, and prints what was read, merged, left out and why.

    Args:
        given: Keys and values of the command line: options of convert, and of the format.
        usage: Of the action, for messages.
    """
    from rewardkit.data.convert import convert

    options, format_name, format_options = _options(given, usage)
    out = Path(str(options.out))
    max_side, quality = _resize(options.resize)
    started = time.monotonic()
    try:
        with _display() as progress:
            done = convert(
                format_name,
                Path(str(options.src)),
                out,
                options=format_options,
                name=options.name,
                source=options.source,
                shard_groups=options.shard_groups,
                shard_bytes=options.shard_mb * 2**20,
                max_candidates=options.max_candidates,
                max_side=max_side,
                **({} if quality is None else {"quality": quality}),
                decode=options.check == "decode",
                outside=options.outside == "allow",
                max_bad_fraction=options.max_bad_fraction,
                part=_part(options.part),
                workers=options.workers,
                engine=options.engine,
                progress=progress,
            )
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    _print_summary(done, out, time.monotonic() - started)
    return EXIT_DONE


def _options(given: dict[str, Any], usage: str) -> tuple[ConvertOptions, str, Any]:
    """Options of convert, the format's name, and options of the format.

    Raises:
        ConfigError: A wrong key or value.
        UserError: A needed one is missing, or the format is unknown.
    """
    from rewardkit.data.formats import find_format

    of_convert = {item.name for item in fields(ConvertOptions)}
    asked = given.get("format")
    format = find_format(str(asked), Path(str(given.get("src", "")))) if asked is not None else None
    of_format = {item.name for item in fields(format.options)} if format is not None else set()
    assert not of_convert & of_format, "a format's options are named differently from those of convert"
    theirs_given = {key: value for key, value in given.items() if key.split(".")[0] in of_format}
    ours_given = {key: value for key, value in given.items() if key not in theirs_given}
    wrong = [name for name in ours_given if name not in of_convert]
    if wrong:
        raise ConfigError(
            [
                f"{name}: there is no such option of data convert{f' format={format.name}' if format else ''}."
                f"{did_you_mean(name, of_convert | of_format)} `data convert --help` lists all"
                for name in wrong
            ]
        )
    ours = compose(ConvertOptions, [Layer(COMMAND_LINE, ours_given)])
    if "://" in str(ours.options.src):
        raise UserError(f"src={ours.options.src}: convert reads files on a disk; copy them there first")
    missing = [name for name in ("format", "src", "out") if not getattr(ours.options, name)]
    if missing:
        raise UserError(f"{', '.join(f'{name}=' for name in missing)} is missing: python -m rewardkit {usage}")
    assert format is not None, "format= is needed and was looked up"
    theirs = compose(format.options, [Layer(COMMAND_LINE, theirs_given)])
    return ours.options, format.name, theirs.options


def _resize(text: str | None) -> tuple[int | None, int | None]:
    """``1024`` or ``1024,90`` as longest side and JPEG quality."""
    if text is None:
        return None, None
    found = re.fullmatch(r"(\d+)(?:,\s*(\d+))?", text.strip())
    if found is None or int(found[1]) < 1 or not 1 <= int(found[2] or 1) <= 100:
        raise UserError(
            f"resize={text}: give the longest side in pixels and, if wanted, the JPEG quality from 1 to 100: "
            "resize=1024 or resize=1024,90"
        )
    return int(found[1]), int(found[2]) if found[2] else None


def _part(text: str | None) -> tuple[int, int] | None:
    """``3/64`` as (2, 64)."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"part={text}: give K/N with K from 1 to N, such as part=3/64 for the third of 64 parts")
    return int(found[1]) - 1, int(found[2])


@contextmanager
def _display() -> Iterator[Progress]:
    """Progress with rate and time left: a bar on a terminal, now and then a line elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")]
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}
        begun: dict[str, tuple[float, int]] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                verb = "reading" if stage == "rows" else "writing"
                tasks[stage] = bar.add_task(f"{verb} {stage}", total=total, rate="")
                begun[stage] = (time.monotonic(), done)
            since, before = begun[stage]
            rate = (done - before) / max(1e-9, time.monotonic() - since)
            bar.update(tasks[stage], completed=done, total=total, rate=f"{rate:,.0f}/s")

        yield show


def _lines() -> Callable[[str, int, int | None], None]:
    """One line of progress every half minute."""
    begun: dict[str, tuple[float, int]] = {}
    last = time.monotonic()

    def show(stage: str, done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        since, before = begun.setdefault(stage, (now, done))
        if now - last < SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = (done - before) / max(1e-9, now - since)
        left = f", {(total - done) / rate:,.0f} s left" if total and rate > 0 else ""
        print(f"{stage}: {done:,}{f' of {total:,}' if total else ''}, {rate:,.0f}/s{left}", file=sys.stderr, flush=True)

    return show


def _print_summary(done: Converted, out: Path, seconds: float) -> None:
    from rewardkit.data.convert import ERRORS_FILE
    from rewardkit.data.reading.format import SHOWN

    print(
        f"wrote {out}: {done.written:,} groups, {done.candidates:,} images, {done.bytes / 2**20:,.1f} MiB in "
        f"{done.shards:,} shards, {seconds:,.1f} s ({done.candidates / max(seconds, 1e-9):,.0f} images/s)"
    )
    print(f"read {done.rows:,} rows; they make {done.read:,} groups")
    if done.taken_up:
        print(f"note: {done.taken_up:,} shards were done by an earlier attempt and taken over")
    for reason, count in done.notes.items():
        print(f"note: {reason}: {count:,}")
    for what, bad, number in (
        ("rows were left out because they cannot be used", done.bad_rows, done.rows),
        ("groups were left out because an image cannot be read", done.bad, done.read),
    ):
        if bad:
            shown = "\n".join(f"  {item}" for item in bad[:SHOWN])
            print(
                f"warning: {len(bad):,} of {number:,} {what}; {out / ERRORS_FILE} names all\n{shown}", file=sys.stderr
            )
