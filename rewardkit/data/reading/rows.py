"""Annotation files as rows, streaming: CSV, JSON lines, JSON lists, parquet, and the folders of Hugging Face datasets.

A row that cannot be read is left out and named in the log; a file that is cut off, empty or of another kind is an
error as a whole. Text that is not UTF-8 spoils its own row only.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from rewardkit.data.reading.format import ReadLog, Row
from rewardkit.data.reading.json_list import json_list
from rewardkit.errors import UserError

TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow")
"""Endings of annotation files that ``read_rows`` knows."""

MAX_CELL = 1 << 20
"""Characters of the longest cell that is read; a longer one comes from a quote that is never closed."""

MAX_LINE = 1 << 26
"""Bytes of the longest line that is read; a longer one is no record of a group."""

ARROW_FILE = b"ARROW1"
"""How an arrow file begins; an arrow stream begins otherwise."""

ROWS_AT_ONCE = 64
"""Rows of a parquet file in memory at a time; with two images each, some tens of megabytes."""


def read_rows(
    file: Path, log: ReadLog, *, columns: Sequence[str] | None = None, name: str | None = None
) -> Iterator[Row]:
    """The rows of a table or list, by the file's ending; of a folder, those of its parquet or arrow files in order.

    Args:
        file: An annotation file, a folder of parquet files, or a folder that ``datasets`` saved.
        log: Counts the rows and takes those that cannot be read.
        columns: Columns of a parquet or arrow file to read, those of them that are there; None reads all.
        name: What rows call the file; its own name by default.

    Raises:
        UserError: The file is not there, empty, cut off or of no known kind.
    """
    if file.is_dir():
        for part in table_files(file):
            yield from read_rows(part, log, columns=columns, name=part.relative_to(file).as_posix())
        return
    if not file.is_file():
        raise UserError(f"{file} does not exist")
    name = log.opened(file, name or file.name)
    if file.stat().st_size == 0:
        raise UserError(f"{file} is empty (0 bytes)")
    if file.suffix in (".csv", ".tsv"):
        yield from _csv_rows(file, name, log, "," if file.suffix == ".csv" else "\t")
    elif file.suffix == ".jsonl":
        yield from _jsonl_rows(file, name, log)
    elif file.suffix == ".json":
        for number, record in json_list(file):
            log.rows += 1
            yield from _object(record, name, number, log)
    elif file.suffix in (".parquet", ".arrow"):
        yield from _arrow_rows(file, name, log, columns)
    else:
        raise UserError(f"{file}: the file's ending must be one of {', '.join(TABLES)}")


def table_files(folder: Path) -> list[Path]:
    """The parquet files of a folder, or else the arrow files that ``datasets.save_to_disk`` wrote, in order of name.

    Raises:
        UserError: There are none.
    """
    for ending in (".parquet", ".arrow"):
        found = sorted(path for path in folder.rglob(f"*{ending}") if not path.name.startswith((".", "cache-")))
        if found:
            return found
    raise UserError(f"the folder {folder} holds no .parquet and no .arrow file")


def columns_of(file: Path) -> list[str]:
    """The column names of a table, or the fields of the first record; [] where there is none to be read.

    For looking at a source (``Format.matches``); never raises.
    """
    try:
        if file.is_dir():
            return columns_of(table_files(file)[0])
        if file.suffix in (".parquet", ".arrow"):
            return list(arrow_schema(file).names)
        if file.suffix in (".csv", ".tsv"):
            with file.open(encoding="utf-8-sig", newline="", errors="replace") as text:
                return next(csv.reader(text, delimiter="," if file.suffix == ".csv" else "\t"), [])
        row = next(read_rows(file, ReadLog()), None)
    except Exception:
        return []
    return list(row.values) if row else []


def check_columns(
    found: Sequence[str], file: Path, log: ReadLog, *, needed: Sequence[str], known: Sequence[str] = ()
) -> None:
    """Whether a table has the columns of its format; columns that the format does not know are noted, not read.

    Raises:
        UserError: A needed column is missing, or one stands twice.
    """
    doubled = [name for name, times in Counter(found).items() if times > 1]
    if doubled:
        raise UserError(f"{file}: the column {doubled[0]!r} stands twice")
    missing = [name for name in needed if name not in found]
    if missing:
        raise UserError(
            f"{file}: the column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))} "
            f"{'are' if len(missing) > 1 else 'is'} missing; there are {', '.join(found[:20]) or 'none'}"
        )
    for name in found:
        if name not in needed and name not in known:
            log.notes[f"column {name!r} of {file.name} is not one of this format: not read"] += 1


def _object(record: Any, name: str, line: int, log: ReadLog) -> Iterator[Row]:
    """A record as a row, or the reason why it is none."""
    if not isinstance(record, dict):
        log.leave_out(name, line, f"it is a {type(record).__name__}, not an object {{…}}")
        return
    spoilt = next((key for key, value in record.items() if not _is_text(key, value)), None)
    if spoilt is not None:
        log.leave_out(name, line, f"{spoilt.encode('utf-8', 'replace').decode()}: {NOT_UTF8}")
        return
    yield Row(name, line, record)


NOT_UTF8 = "the text is not UTF-8, or holds half of a character; save the file as UTF-8"


def _is_text(*values: Any) -> bool:
    """Whether no text in the values (or in lists and objects below) holds a lone surrogate, as bad bytes leave one."""
    for value in values:
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                return False
        elif isinstance(value, dict):
            if not _is_text(*value, *value.values()):
                return False
        elif isinstance(value, list) and not _is_text(*value):
            return False
    return True


def _jsonl_rows(file: Path, name: str, log: ReadLog) -> Iterator[Row]:
    decoder = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_double)
    with file.open("rb") as lines:
        number = 0
        while raw := lines.readline(MAX_LINE):
            number += 1
            if len(raw) >= MAX_LINE:
                raise UserError(
                    f"{file}:{number}: the line is longer than {MAX_LINE >> 20} MiB; is the file JSON lines?"
                )
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip()
            if not text:
                continue
            log.rows += 1
            try:
                record, end = decoder.raw_decode(text)
                if end < len(text):
                    raise ValueError(f"something follows behind its value, at character {end + 1}")
            except (ValueError, RecursionError) as error:
                log.leave_out(name, number, f"not a line of JSON: {error}")
                continue
            if raw.isascii() and b"\\u" not in raw and type(record) is dict:
                yield Row(name, number, record)  # it cannot hold what _object looks for
            else:
                yield from _object(record, name, number, log)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that can be used")


def _no_double(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        doubled = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"the field {doubled!r} stands twice in one line")
    return record


def _csv_rows(file: Path, name: str, log: ReadLog, separator: str) -> Iterator[Row]:
    """Rows of a table with a header; a row of another number of cells, or that is not UTF-8, is left out."""
    csv.field_size_limit(MAX_CELL)
    with file.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as text:
        reader = csv.reader(text, delimiter=separator, strict=True)
        header = _header(reader, file)
        while True:
            begins = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                log.rows += 1
                if "field larger" in str(error):
                    raise UserError(
                        f"{file}:{begins}: a cell is longer than {MAX_CELL >> 20} MiB; a quote that is never closed "
                        "swallows all that follows"
                    ) from None
                log.leave_out(
                    name, begins, f"the row cannot be read: {error}. A quote in a quoted text is written twice"
                )
                continue
            if cells is None:
                return
            if not cells:
                continue
            log.rows += 1
            if len(cells) != len(header):
                reason = f"the row has {len(cells)} cells, the header has {len(header)}; a comma in a text needs quotes"
                log.leave_out(name, begins, reason)
            elif not _is_text(*cells):
                log.leave_out(name, begins, NOT_UTF8)
            else:
                yield Row(name, begins, dict(zip(header, cells, strict=True)))


def _header(reader: Any, file: Path) -> list[str]:
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        raise UserError(f"{file}:1: the names of the columns cannot be read: {error}") from None
    if not header:
        raise UserError(f"{file}:1: the first line is empty; it must hold the names of the columns")
    if not _is_text(*header) or "\0" in "".join(header):
        raise UserError(f"{file}:1: {NOT_UTF8}")
    return header


def arrow_schema(file: Path) -> Any:
    """The schema of a parquet or arrow file; raises what pyarrow does where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        return pq.ParquetFile(file).schema_arrow
    with pa.OSFile(str(file)) as stream:
        return _open_arrow(stream)[0]


def _open_arrow(stream: Any) -> tuple[Any, Iterator[Any]]:
    """Schema and record batches of an arrow stream, as ``datasets`` writes it, or of an arrow file."""
    import pyarrow as pa

    begins = stream.read(len(ARROW_FILE))
    stream.seek(0)
    if begins != ARROW_FILE:
        reader = pa.ipc.open_stream(stream)
        return reader.schema, iter(reader)
    table = pa.ipc.open_file(stream)
    return table.schema, (table.get_batch(n) for n in range(table.num_record_batches))


def _arrow_rows(file: Path, name: str, log: ReadLog, columns: Sequence[str] | None) -> Iterator[Row]:
    """Rows of a parquet or arrow file."""
    import pyarrow as pa

    line = 0
    try:
        for batch in _arrow_batches(file, columns):
            for row in _python_rows(batch):
                line += 1
                log.rows += 1
                if row is None:
                    log.leave_out(name, line, NOT_UTF8)
                else:
                    yield Row(name, line, row)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} cannot be read (cut off while downloading?): {str(error).splitlines()[0]}") from None


def _arrow_batches(file: Path, columns: Sequence[str] | None) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        with pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as table:
            present = [column for column in table.schema_arrow.names if columns is None or column in columns]
            yield from table.iter_batches(batch_size=ROWS_AT_ONCE, columns=present)
        return
    with pa.OSFile(str(file)) as stream:
        for batch in _open_arrow(stream)[1]:
            present = [column for column in batch.schema.names if columns is None or column in columns]
            for start in range(0, len(batch), ROWS_AT_ONCE):
                yield batch.select(present).slice(start, ROWS_AT_ONCE)


def _python_rows(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Rows of a record batch; None for one whose text is not UTF-8."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError:
        for n in range(len(batch)):
            try:
                yield batch.slice(n, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None
        return
    yield from rows


def text_file(file: Path) -> TextIO:
    """A text file for reading; bytes that are not UTF-8 become lone surrogates, which rows are checked for."""
    return file.open(encoding="utf-8-sig", errors="surrogateescape")
