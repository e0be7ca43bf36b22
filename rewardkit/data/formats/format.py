"""The interface of a format: how the files of one public dataset, or one's own, become groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from rewardkit.data.group import Group

Image: TypeAlias = Path | bytes
"""A candidate's image as a format hands it over: where the file lies, or its bytes."""

GroupWithImages: TypeAlias = tuple[Group, list[Image]]
"""A group and one image per candidate, in the candidates' order."""


class Format(Protocol):
    """One way in which preferences lie on disk.

    Attributes:
        name: What ``format=`` says on the command line.
        summary: One line for the list of formats.
        options: A dataclass of what can be asked of this format, declared as the schema's options are.
    """

    name: str
    summary: str
    options: type[Any]

    def matches(self, src: Path) -> bool:
        """Whether the path looks like this format. Only for hints in messages: the format is never guessed."""
        ...

    def read(self, src: Path, options: Any, notes: Counter[str]) -> Iterator[GroupWithImages]:
        """Reads groups one after another; images stay on disk until somebody opens them.

        Args:
            src: The folder or the annotation file. Image paths are relative to the annotation file.
            options: An instance of ``self.options``.
            notes: Counts, per reason, what was left out or changed; the caller shows them at the end.

        Raises:
            UserError: The files are not there or say something wrong; the message names file and line.
        """
        ...
