"""The two sides that ``data leaks`` compares: a shard set, or a bare list of prompts in a text or JSON file."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rewardkit.data.index import ShardIndex
from rewardkit.data.open_index import open_index
from rewardkit.data.remote import is_url
from rewardkit.data.tar_files import BLOCK
from rewardkit.errors import BadSample, DataError, UserError

LISTS = (".json", ".jsonl", ".txt")
"""Files that are read as lists of prompts."""

_FIRST_READ = 2**14


class Side(ABC):
    """One of the two sets.

    Attributes:
        has_ids: Whether its ids mean something outside of it; line numbers do not.
        index: The shard set's, None for a bare list of prompts, which has no images.
    """

    has_ids: bool
    index: ShardIndex | None

    @abstractmethod
    def __len__(self) -> int:
        """The number of groups or prompts."""

    @abstractmethod
    def text(self, position: int) -> tuple[str, str] | None:
        """Id and prompt of one; None where the record cannot be read."""

    def texts(self) -> Iterator[tuple[str, str] | None]:
        """All of them, in order."""
        for position in range(len(self)):
            yield self.text(position)

    def image(self, candidate: int) -> tuple[str, str]:
        """Id of the group and file name of an image, by its row among all images of the set."""
        raise NotImplementedError


class ShardSide(Side):
    """A shard set.

    Args:
        index: Its index.
    """

    has_ids = True

    def __init__(self, index: ShardIndex) -> None:
        self.index = index
        self._starts = index.starts(index.candidates)

    def __len__(self) -> int:
        assert self.index is not None
        return len(self.index)

    def text(self, position: int) -> tuple[str, str] | None:
        """See ``Side.text``."""
        assert self.index is not None
        try:
            group = self.index.record(position)
        except BadSample:
            return None
        return group.id, group.prompt

    def texts(self) -> Iterator[tuple[str, str] | None]:
        """See ``Side.texts``: one pass over each shard, several times as fast as record after record."""
        index = self.index
        assert index is not None
        if index.remote is not None:
            yield from super().texts()
            return
        for number, name in enumerate(index.shards):
            try:
                with open(index.folder / name, "rb") as file:
                    for position in range(*index.shard.searchsorted([number, number + 1])):
                        file.seek(int(index.offset[position]))
                        said = _quick_text(file.read(min(int(index.length[position]), _FIRST_READ)))
                        yield said or self.text(position)
            except OSError as error:
                raise DataError(f"{index.folder / name} cannot be read: {error.strerror or error}") from error

    def image(self, candidate: int) -> tuple[str, str]:
        """See ``Side.image``."""
        assert self.index is not None
        position = int(self._starts.searchsorted(candidate, side="right")) - 1
        try:
            group = self.index.record(position)
        except BadSample:
            return f"group {position}", ""
        return group.id, group.candidates[candidate - int(self._starts[position])].file


class PromptList(Side):
    """A bare list of prompts.

    Args:
        texts: Ids and prompts.
        has_ids: See ``Side``.
    """

    index = None

    def __init__(self, texts: Sequence[tuple[str, str]], *, has_ids: bool) -> None:
        self._texts, self.has_ids = texts, has_ids

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, position: int) -> tuple[str, str]:
        """See ``Side.text``."""
        return self._texts[position]


def open_side(path: str | Path) -> Side:
    """A folder of shards with its index (also by URL), or a list of prompts.

    Lists are ``.txt`` (one prompt a line), ``.json`` (a list of texts, or of objects with "prompt" and perhaps "id")
    and ``.jsonl`` (one such text or object a line).

    Raises:
        UserError: There is no such thing, or the file is not such a list; names the line.
        DataError: The index is damaged.
    """
    if is_url(path):
        return ShardSide(open_index(path))
    path = Path(path)
    if path.is_dir():
        return ShardSide(open_index(path))
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a folder of shards, or a list of prompts ({', '.join(LISTS)})")
    if path.suffix.lower() not in LISTS:
        raise UserError(f"{path}: a list of prompts is a {', '.join(LISTS)} file; shards are given as their folder")
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    made = _read_list(path, content)
    if not made:
        raise UserError(f"{path} holds no prompt")
    has_ids = all(id_ is not None for id_, _ in made)
    return PromptList(
        [(id_ if has_ids and id_ is not None else str(n + 1), prompt) for n, (id_, prompt) in enumerate(made)],
        has_ids=has_ids,
    )


def _read_list(path: Path, content: str) -> list[tuple[str | None, str]]:
    kind = path.suffix.lower()
    if kind == ".txt":
        return [(None, line.strip()) for line in content.splitlines() if line.strip()]
    if kind == ".jsonl":
        return [
            _entry(_parse(line, f"{path}:{n}"), f"{path}:{n}")
            for n, line in enumerate(content.split("\n"), 1)
            if line.strip()
        ]
    found = _parse(content, str(path))
    if not isinstance(found, list):
        raise UserError(f'{path} holds {_what(found)}, not a list; a list of prompts is ["a cat", …]')
    return [_entry(item, f"{path}, entry {n}") for n, item in enumerate(found, 1)]


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON: {error}") from None


def _entry(item: Any, where: str) -> tuple[str | None, str]:
    if isinstance(item, str):
        return None, item
    if isinstance(item, dict) and isinstance(item.get("prompt"), str):
        id_ = item.get("id")
        return (str(id_) if isinstance(id_, str | int) and not isinstance(id_, bool) else None), item["prompt"]
    said = f"an object with {', '.join(map(str, item)) or 'nothing'}" if isinstance(item, dict) else _what(item)
    raise UserError(f'{where} is {said}; a prompt is a text, or an object with "prompt" (text) and perhaps "id"')


def _what(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _quick_text(head: bytes) -> tuple[str, str] | None:
    """Id and prompt where the record is the sample's first file and stands in these bytes whole; else None."""
    try:
        # A plain tar header: name in bytes 0 to 99, size in octal in 124 to 135, kind in 156.
        name, kind = head[:100].rstrip(b"\0"), head[156:157]
        end = BLOCK + int(head[124:136].rstrip(b"\0 "), 8)
        if not (kind in (b"0", b"\0") and name.endswith(b".json") and end <= len(head)):
            return None
        record = json.loads(head[BLOCK:end])
        id_, prompt = record["id"], record["prompt"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None  # the full reader says what is wrong
    return (id_, prompt) if isinstance(id_, str) and isinstance(prompt, str) else None
