"""Parquet files with images in their cells, of which one column of images is in memory at a time.

pyarrow cannot read less than a page, and itself writes the images of a row group into one page: for 900 rows of two
images of 0.5 MB, reading both columns at once took 2.0 GB, by this way 0.9 GB (measured). Each column of a row group is
written to a temporary file by itself, and rows take their images from there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from rewardkit.data.reading.format import ReadLog, Row
from rewardkit.data.reading.rows import ROWS_AT_ONCE, read_rows
from rewardkit.errors import UserError

LARGE = 1 << 24
"""Bytes of images that may be in memory at a time; with more, columns are read one at a time."""

CELLS_AT_ONCE = 8


def rows_with_images(
    file: Path, log: ReadLog, *, columns: Sequence[str], images: Sequence[str], name: str
) -> Iterator[Row]:
    """The rows of a file as ``read_rows`` gives them, with the given columns.

    Args:
        file: A parquet or arrow file.
        log: Counts the rows and takes those that cannot be read.
        columns: Columns to read, without those of images.
        images: Columns of images: bytes, or ``{"bytes", "path"}``.
        name: What rows call the file.

    Raises:
        UserError: The file cannot be read, or the disk of temporary files is full.
    """
    if file.suffix != ".parquet" or not _is_large(file, images):
        yield from read_rows(file, log, columns=(*columns, *images), name=name)
        return
    with _ImageColumns(file, images) as cells:
        for row in read_rows(file, log, columns=columns, name=name):
            row.values.update(cells.of(row.line - 1))
            yield row


def _is_large(file: Path, images: Sequence[str]) -> bool:
    """Whether a row group's images are too many for memory. Of a file that cannot be read, ``read_rows`` says why."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(file)
    except (pa.ArrowException, OSError):
        return False
    for group in (metadata.row_group(n) for n in range(metadata.num_row_groups)):
        chunks = [group.column(n) for n in range(group.num_columns)]
        sizes = [chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in images]
        if sum(sizes) * max(1.0, ROWS_AT_ONCE / max(group.num_rows, 1)) > LARGE:
            return True
    return False


class _ImageColumns:
    """The images of one row group after the other, in a temporary file."""

    def __init__(self, file: Path, images: Sequence[str]) -> None:
        import pyarrow.parquet as pq

        metadata = pq.read_metadata(file)
        self._file = file
        self._images = [name for name in images if name in metadata.schema.to_arrow_schema().names]
        self._sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        self._group = -1
        self._start = self._stop = 0
        self._places: dict[str, list[tuple[int, int, Any]]] = {}
        self._bytes: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)

    def __enter__(self) -> _ImageColumns:
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.close()

    def of(self, row: int) -> dict[str, Any]:
        """The image cells of a row, counted from 0; rows are asked for in order."""
        while row >= self._stop:
            self._group += 1
            self._start, self._stop = self._stop, self._stop + self._sizes[self._group]
            if row < self._stop:
                self._take_group()
        return {name: self._cell(places[row - self._start]) for name, places in self._places.items()}

    def _cell(self, place: tuple[int, int, Any]) -> Any:
        offset, length, path = place
        self._bytes.seek(offset)
        data = self._bytes.read(length) if length >= 0 else None
        return data if path is None else {"bytes": data, "path": path}

    def _take_group(self) -> None:
        import pyarrow as pa

        end = 0
        for name in self._images:
            self._places[name] = []
            for cell in self._cells(name):
                data = cell.get("bytes") if isinstance(cell, dict) else cell
                path = cell.get("path") if isinstance(cell, dict) else None
                length = -1 if data is None else len(data)
                self._places[name].append((end, length, path))
                if data:
                    self._write(end, data)
                    end += length
            pa.default_memory_pool().release_unused()

    def _write(self, offset: int, data: bytes) -> None:
        try:
            self._bytes.seek(offset)
            self._bytes.write(data)
        except OSError as error:
            raise UserError(
                f"{self._file}: its images cannot be kept in {tempfile.gettempdir()} while they are read: "
                f"{error.strerror or error}. The environment variable TMPDIR names another folder"
            ) from None

    def _cells(self, name: str) -> Iterator[Any]:
        """The cells of a column of the row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self._file, buffer_size=1 << 20, pre_buffer=False) as table:
                for batch in table.iter_batches(batch_size=CELLS_AT_ONCE, row_groups=[self._group], columns=[name]):
                    yield from batch.column(0).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{self._file} cannot be read (cut off while downloading?): {str(error).splitlines()[0]}"
            ) from None
