"""rewardkit's own format as JSON lines: one comparison, rating, ranking or whole group record per line.

::

    {"prompt": "a red fox", "images": ["a.jpg", "b.jpg"], "better": 0}
    {"prompt": "a red fox", "images": ["a.jpg", "b.jpg"], "votes": [7, 1, 2], "dimension": "aesthetic"}
    {"prompt": "a red fox", "image": "a.jpg", "rating": 4, "dimension": "fidelity", "rater": "ann"}
    {"prompt": "a red fox", "images": ["a.jpg", "b.jpg", "c.jpg"], "ranks": [1, 2, 2], "rater": "ann"}

Paths are relative to the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rewardkit.data.formats.own_lines import is_own, say_record
from rewardkit.data.reading.format import ReadLog, say_each
from rewardkit.data.reading.own_file import own_file
from rewardkit.data.reading.rows import columns_of, read_rows
from rewardkit.data.reading.statements import Said
from rewardkit.errors import UserError

ENDINGS = (".jsonl",)


@dataclass
class JsonlOptions:
    """The jsonl format has no options: every line says all that there is to say."""


class JsonlFormat:
    """See the module's docstring."""

    name = "jsonl"
    summary = "your own data, one JSON line per comparison, rating, ranking or group record, beside a folder of images"
    options = JsonlOptions

    def matches(self, src: Path) -> bool:
        """A ``.jsonl`` file, or a folder with exactly one, whose first line has fields of this format alone."""
        try:
            return is_own(columns_of(own_file(src, ENDINGS, self.name)))
        except UserError:
            return False

    def read(self, src: Path, options: JsonlOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        file = own_file(src, ENDINGS, self.name)
        before = log.rows
        yield from say_each(read_rows(file, log), log, say_record)
        if log.rows == before:
            raise UserError(f"{file} is empty: it has no line that says anything")
