"""A table that says which prompt goes with a key, for sources that name their prompts elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rewardkit.data.reading.fields import optional_text, source_folder, text
from rewardkit.data.reading.format import ReadLog
from rewardkit.data.reading.rows import check_columns, columns_of, read_rows
from rewardkit.errors import UserError


class PromptTable:
    """Prompts by key. Held in memory: one text for each key.

    Args:
        files: CSV, JSON, JSON lines or parquet; as given, or relative to the source.
        src: The source, for relative paths.
        log: Takes the rows that cannot be used.
        keys: Names that the column of keys may have, the first that is there counts.
        prompts: The same for the column of prompts.

    Raises:
        UserError: A file or a column is missing, or a file is cut off.
    """

    def __init__(
        self, files: Sequence[str], src: Path, log: ReadLog, *, keys: Sequence[str], prompts: Sequence[str]
    ) -> None:
        self.files = ", ".join(files)
        self._prompts: dict[str, str] = {}
        self._doubtful: set[str] = set()
        for name in files:
            self._read(_find(name, src), log, keys, prompts)

    def _read(self, file: Path, log: ReadLog, keys: Sequence[str], prompts: Sequence[str]) -> None:
        found = columns_of(file)
        key = next((name for name in keys if name in found), keys[0])
        prompt = next((name for name in prompts if name in found), prompts[0])
        check_columns(found, file, ReadLog(), needed=(key, prompt))
        own = ReadLog()  # Its rows are not the source's, and must not thin out the share of bad ones.
        for row in read_rows(file, own, columns=(key, prompt)):
            try:
                name, said = optional_text(row.values, key), text(row.values, prompt)
                if name is None:
                    raise ValueError(f"{key} is empty")
            except ValueError as error:
                own.leave_out(row.file, row.line, str(error))
                continue
            if self._prompts.setdefault(name, said) != said:
                self._doubtful.add(name)
        log.files.update(own.files)
        log.bad.extend(own.bad)

    def __contains__(self, key: str) -> bool:
        """Whether there is a prompt for the key, or several."""
        return key in self._prompts

    def __getitem__(self, key: str) -> str:
        """The prompt of a key.

        Raises:
            ValueError: There is none, or there are two.
        """
        if key in self._doubtful:
            raise ValueError(
                f"{key!r} has two different prompts in {self.files}; give the file that goes with the source"
            )
        if key not in self._prompts:
            raise ValueError(f"there is no prompt for {key!r} in {self.files}")
        return self._prompts[key]


def _find(name: str, src: Path) -> Path:
    for path in (Path(name), source_folder(src) / name):
        if path.exists():
            return path
    raise UserError(f"prompts={name}: there is no such file, neither here nor in {source_folder(src)}")
