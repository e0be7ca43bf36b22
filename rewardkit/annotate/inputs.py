"""Groups that are to be annotated: those of a shard set, or a folder of images with a file of prompts.

Records are read when they are needed and images when their turn comes; nothing but places is held in memory.

A file of prompts (JSONL, CSV or parquet) has a row for each prompt, with ``prompt`` and, where there are any, ``id``,
``images`` (paths below the folder), ``generators`` (one for each image) and ``raw_prompt``. Without ``images`` a row's
images are found by its id: ``ID/…``, ``ID.png`` or ``GENERATOR/ID.png``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from rewardkit.data.group import Candidate, Group
from rewardkit.data.open_index import open_index
from rewardkit.data.reading.statements import RAW_PROMPT
from rewardkit.data.remote import is_url
from rewardkit.data.shards import IMAGE_SUFFIXES
from rewardkit.data.tables import read_rows
from rewardkit.errors import BadSample, UserError

DROPPED = "dropped"
"""Column of a file of prompts: why a prompt is not to be used; such rows are passed over."""

_COLUMNS = ("id", "prompt", "images", "generators", RAW_PROMPT, "tags", DROPPED)


_File = tuple[str, str | None]
"""Path below the folder, and generator."""


class Groups(Protocol):
    """Groups by position."""

    def __len__(self) -> int:
        """How many."""

    def candidates(self, position: int) -> int:
        """How many candidates a group has."""

    def record(self, position: int) -> Group:
        """A group; its candidates have the SHA-256 of their files. Raises BadSample where it cannot be read."""

    def images(self, position: int) -> list[bytes]:
        """The files of its candidates, in their order; raises BadSample."""


class ShardGroups:
    """The groups of a shard set.

    Args:
        path: The folder, or a URL.
    """

    def __init__(self, path: str) -> None:
        self._index = open_index(path)

    def __len__(self) -> int:
        return len(self._index)

    def candidates(self, position: int) -> int:
        """See ``Groups``."""
        return int(self._index.candidates[position])

    def record(self, position: int) -> Group:
        """See ``Groups``."""
        group = self._index.record(position)
        if all(candidate.sha256 for candidate in group.candidates):
            return group
        return _with_digests(group, self.images(position))

    def images(self, position: int) -> list[bytes]:
        """See ``Groups``."""
        return self._index.sample(position).images


@dataclass(slots=True)
class FolderGroups:
    """Rows of a file of prompts with the images of a folder.

    Attributes:
        folder: Of the images; None where there are prompts alone.
        rows: One group each.
        notes: What was passed over, in words.
    """

    folder: Path | None
    rows: list[Group]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def candidates(self, position: int) -> int:
        """See ``Groups``."""
        return len(self.rows[position].candidates)

    def record(self, position: int) -> Group:
        """See ``Groups``."""
        group = self.rows[position]
        if self.folder is not None and not all(candidate.sha256 for candidate in group.candidates):
            group = self.rows[position] = _with_digests(group, self.images(position))
        return group

    def images(self, position: int) -> list[bytes]:
        """See ``Groups``."""
        assert self.folder is not None
        return [_read(self.folder / candidate.file) for candidate in self.rows[position].candidates]


def open_groups(images: str | None, prompts: str | None) -> ShardGroups | FolderGroups:
    """The groups that ``images=`` and ``prompts=`` name.

    Raises:
        UserError: Neither shards, nor a folder with prompts; or a row of the prompts is wrong, with its number.
    """
    if images is not None and (is_url(images) or any(Path(images).glob("*.tar"))):
        if prompts is not None:
            raise UserError(f"prompts={prompts}: the shards of {images} hold their prompts; leave it out")
        return ShardGroups(images)
    if images is not None and not Path(images).is_dir():
        raise UserError(f"images={images}: there is no such folder")
    if prompts is None:
        raise UserError(
            f"images={images}: the folder holds no shards (*.tar); for a folder of images give also "
            "prompts=FILE, with a row for each prompt (docs/annotate.md)"
        )
    return _read_prompts(None if images is None else Path(images), Path(prompts))


def _read_prompts(folder: Path | None, file: Path) -> FolderGroups:
    found = FolderGroups(folder, [])
    by_id = {} if folder is None else _files_by_id(folder)
    seen: set[str] = set()
    lacking: list[str] = []
    dropped = 0
    for number, row in enumerate(read_rows(file), 1):
        where = f"prompts={file}, row {number}"
        if row.get(DROPPED):
            dropped += 1
            continue
        group = _group(row, folder, by_id, number - 1, where)
        if group.id in seen:
            raise UserError(f"{where}: the id {group.id!r} stands in it twice")
        seen.add(group.id)
        if folder is not None and not group.candidates[0].file:
            lacking.append(group.id)
        else:
            found.rows.append(group)
    if not found.rows:
        raise UserError(
            f"prompts={file}: no row has an image in {folder}. Images are found by a row's `images`, or by its id as "
            "ID/…, ID.png or GENERATOR/ID.png"
            if lacking
            else f"prompts={file}: there are no rows"
        )
    if lacking:
        named = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
        found.notes.append(f"{len(lacking)} prompts have no image in {folder} and are left out: {named}")
    if dropped:
        found.notes.append(f"{dropped} prompts are marked as dropped and left out")
    used = {candidate.file for group in found.rows for candidate in group.candidates}
    stray = [name for named in by_id.values() for name, _ in named if name not in used]
    if stray:
        found.notes.append(f"{len(stray)} images of {folder} belong to no prompt: {', '.join(sorted(stray)[:5])} …")
    return found


def _group(
    row: Mapping[str, Any], folder: Path | None, by_id: Mapping[str, Sequence[_File]], place: int, where: str
) -> Group:
    """The group of a row; without a file's name where it has no image."""
    prompt, id = row.get("prompt"), row.get("id")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError(f"{where}: prompt is {prompt!r}; it must be text")
    name = f"{place:05d}" if id is None or id == "" else str(id)
    files = _listed_files(row, where) or by_id.get(name, ())
    for file, _ in files:
        if folder is not None and not _inside(folder, file):
            raise UserError(f"{where}: {folder / file} is no file inside of {folder}")
    slots = {column: value for column, value in row.items() if column not in _COLUMNS and isinstance(value, str)}
    if row.get(RAW_PROMPT):
        slots[RAW_PROMPT] = str(row[RAW_PROMPT])
    candidates = tuple(Candidate(file, generator) for file, generator in files) or (Candidate(""),)
    return Group(name, prompt, candidates, tags=_tags(row.get("tags"), where), slots=slots)


def _tags(value: Any, where: str) -> dict[str, str]:
    """A map of texts; in a CSV written as JSON."""
    with suppress(ValueError):
        value = json.loads(value) if isinstance(value, str) and value else value
    if value and not isinstance(value, dict):
        raise UserError(f"{where}: tags is {value!r}; it must be an object")
    return {str(name): str(tag) for name, tag in (value or {}).items()}


def _listed_files(row: Mapping[str, Any], where: str) -> list[_File]:
    images, generators = (_listed(row.get(column), column, where) for column in ("images", "generators"))
    if generators and len(generators) != len(images):
        raise UserError(f"{where}: there are {len(images)} images and {len(generators)} generators")
    return [(image, generators[n] if generators else None) for n, image in enumerate(images)]


def _listed(value: Any, column: str, where: str) -> list[str]:
    """A list of texts; in a CSV written as JSON, or one text."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise UserError(f"{where}: {column} is {value!r}; in a CSV it is a JSON list of texts") from None
    values = [value] if isinstance(value, str) else list(value or [])
    if not all(isinstance(entry, str) for entry in values):
        raise UserError(f"{where}: {column} is {value!r}; it must be a list of texts")
    return [entry for entry in values if entry]


def _files_by_id(folder: Path) -> dict[str, list[_File]]:
    """Id to its images and their generators: files ``ID.png``, ``GENERATOR/ID.png``, and folders ``ID/``."""
    found: dict[str, list[_File]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            inside = [file for file in sorted(path.iterdir()) if _is_image(file)]
            for file in inside:
                name = f"{path.name}/{file.name}"
                found.setdefault(file.stem, []).append((name, path.name))
                found.setdefault(path.name, []).append((name, None))
        elif _is_image(path):
            found.setdefault(path.stem, []).append((path.name, None))
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower().lstrip(".") in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _inside(folder: Path, name: str) -> bool:
    path = (folder / name).resolve()
    return path.is_relative_to(folder.resolve()) and path.is_file()


def _with_digests(group: Group, images: Sequence[bytes]) -> Group:
    digests = [hashlib.sha256(data).hexdigest() for data in images]
    candidates = (replace(c, sha256=d) for c, d in zip(group.candidates, digests, strict=True))
    return replace(group, candidates=tuple(candidates))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSample(f"{path} cannot be read: {error.strerror or error}") from None


@dataclass(slots=True)
class PreparedGroups:
    """Groups under prompts that were prepared: cleaned, polished, and without those that are not safe.

    Attributes:
        groups: As they came.
        prompts: Group id to its prompt now; None where it is dropped. Ids that are not named keep theirs.
    """

    groups: Groups
    prompts: Mapping[str, str | None]

    def __len__(self) -> int:
        return len(self.groups)

    def candidates(self, position: int) -> int:
        """See ``Groups``."""
        return self.groups.candidates(position)

    def record(self, position: int) -> Group:
        """The group under its prompt now; what it was stands in ``slots["raw_prompt"]``."""
        group = self.groups.record(position)
        prompt = self.prompts.get(group.id, group.prompt)
        if prompt is None or prompt == group.prompt:
            return group
        raw = group.slots.get(RAW_PROMPT, group.prompt)
        return replace(group, prompt=prompt, slots={**group.slots, RAW_PROMPT: raw})

    def is_dropped(self, group: Group) -> bool:
        """Whether a group's prompt was dropped."""
        return self.prompts.get(group.id, group.prompt) is None

    def images(self, position: int) -> list[bytes]:
        """See ``Groups``."""
        return self.groups.images(position)


def readable(groups: Groups) -> Iterator[Group]:
    """The groups that can be read, in order."""
    for position in range(len(groups)):
        with suppress(BadSample):
            yield groups.record(position)
