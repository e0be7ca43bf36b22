"""Tables of rows as people keep them: JSONL, CSV or parquet by the file's ending, read and written row by row."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rewardkit.errors import UserError

ENDINGS = (".jsonl", ".csv", ".parquet")
WRITTEN = (*ENDINGS, ".json")
"""Endings that can be written; a ``.json`` is one list of all rows."""

NESTING = (".jsonl", ".json")
"""Endings of forms in which a value may be a list or a map."""


def check_ending(path: Path, option: str, endings: Sequence[str] = ENDINGS) -> None:
    """Refuses a file whose ending names no known form.

    Raises:
        UserError: With the endings that are known.
    """
    if path.suffix not in endings:
        raise UserError(f"{option}={path}: the file's ending must be one of {', '.join(endings)}")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the rows of a table.

    Raises:
        UserError: The file is missing, not of its ending's form, or a line is broken; the line is named.
    """
    check_ending(path, "file")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        if path.suffix == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches():
                yield from batch.to_pylist()
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                yield from _csv_rows(path, csv.DictReader(file))
        else:
            with path.open(encoding="utf-8-sig") as file:
                yield from (_json_row(path, number, line) for number, line in enumerate(file, 1) if line.strip())
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (pa.ArrowInvalid, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes a table; it appears complete or not at all.

    Args:
        path: The ending decides the form, one of ``WRITTEN``.
        rows: What a row lacks is null.
        columns: Names and order of the columns.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix == ".parquet":
            listed = list(rows)
            table = pa.table({name: [row.get(name) for row in listed] for name in columns})
            pq.write_table(table, scratch)
        else:
            with scratch.open("w", newline="", encoding="utf-8") as file:
                if path.suffix == ".json":
                    listed = [{n: row.get(n) for n in columns} for row in rows]
                    file.write(json.dumps(listed, ensure_ascii=False, indent=1) + "\n")
                elif path.suffix == ".csv":
                    writer = csv.DictWriter(file, columns, extrasaction="ignore")
                    writer.writeheader()
                    writer.writerows(rows)
                else:
                    for row in rows:
                        file.write(json.dumps({n: row.get(n) for n in columns}, ensure_ascii=False) + "\n")
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _csv_rows(path: Path, reader: csv.DictReader[str]) -> Iterator[dict[str, Any]]:
    for row in reader:
        if None in row or None in row.values():
            raise UserError(f"{path}:{reader.line_num}: this line has another number of columns than the header")
        yield dict(row)


def _json_row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}:{number}: not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}:{number}: expects an object, got {type(row).__name__}")
    return row
