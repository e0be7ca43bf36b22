"""rewardkit's own format as a table: one comparison, rating or rank per row, the kind told by the columns.

::

    prompt,image_a,image_b,better            better is a, b or tie; or votes_a,votes_tie,votes_b
    prompt,image,rating                      rating is a number or NA
    prompt,image,rank,rater                  the ranks of one rater and prompt are one ranking, 1 is best

Every kind may have the columns raw_prompt, dimension, rater, group and tags.NAME; generator (or generator_a,
generator_b) says which model made an image. Paths are relative to the file. A .tsv file has tabs for commas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rewardkit.data.formats.own_table import say_row, table_kind
from rewardkit.data.reading.format import ReadLog, say_each
from rewardkit.data.reading.own_file import own_file
from rewardkit.data.reading.rows import columns_of, read_rows
from rewardkit.data.reading.statements import Said
from rewardkit.errors import UserError

ENDINGS = (".csv", ".tsv")


@dataclass
class CsvOptions:
    """The csv format has no options: the columns say all that there is to say."""


class CsvFormat:
    """See the module's docstring."""

    name = "csv"
    summary = "your own data as a table, one comparison, rating or rank per row, beside a folder of images"
    options = CsvOptions

    def matches(self, src: Path) -> bool:
        """A ``.csv`` or ``.tsv`` file, or a folder with exactly one, that has columns of this format alone."""
        try:
            file = own_file(src, ENDINGS, self.name)
            table_kind(columns_of(file), file)
        except UserError:
            return False
        return True

    def read(self, src: Path, options: CsvOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        file = own_file(src, ENDINGS, self.name)
        before = log.rows
        rows = read_rows(file, log)
        header = columns_of(file)
        if not header or any(sign in name for name in header for sign in "\ufffd\0"):
            next(rows, None)  # says what is wrong with the file or its first line
        yield from say_each(rows, log, partial(say_row, kind=table_kind(header, file)))
        if log.rows == before:
            raise UserError(f"{file} has a header and no rows")
