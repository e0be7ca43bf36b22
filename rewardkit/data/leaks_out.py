"""Writes the matches of ``data leaks`` one by one to a CSV, JSON Lines or Parquet file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rewardkit.data.leaks_found import Match
from rewardkit.errors import UserError

SUFFIXES = (".csv", ".jsonl", ".parquet")
COLUMNS = tuple(item.name for item in fields(Match))

_ROWS = 10_000
"""Rows of a Parquet file that wait in memory."""


def check_out(path: Path) -> None:
    """Whether matches can be written there, before any work.

    Raises:
        UserError: The suffix is unknown, or the folder is not there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"out={path}: its name must end in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise UserError(f"out={path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise UserError(f"out={path} is a folder; name a file")


@contextmanager
def match_writer(path: Path) -> Iterator[Callable[[Match], None]]:
    """A function that writes one match; the file appears once all are written, and replaces an older one.

    Raises:
        UserError: See ``check_out``; or the file cannot be written.
    """
    check_out(path)
    writers = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        with writers[path.suffix.lower()](part) as write:
            yield write
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[Match], None]]:
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        yield lambda match: writer.writerow(["" if v is None else v for v in asdict(match).values()])


@contextmanager
def _jsonl(path: Path) -> Iterator[Callable[[Match], None]]:
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        yield lambda match: print(json.dumps(asdict(match), ensure_ascii=False), file=file)


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[Match], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"similarity": pa.float64(), "bits": pa.int64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        def write(match: Match) -> None:
            rows.append(asdict(match))
            if len(rows) >= _ROWS:
                flush()

        yield write
        flush()
