"""Finds each prompt's images in the folders of text-to-image models; what is missing or belongs to no prompt is told.

A file belongs to a prompt by its name alone, never by its place in a listing. Several images of one prompt are
``STEM_0.jpg, STEM_1.jpg …`` or ``STEM/0.jpg, STEM/1.jpg …``, where ``STEM.jpg`` would be the only one.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rewardkit.benchmark.prompts import PromptSet
from rewardkit.errors import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
VARIANT = "+append"
"""What the folder of images made from appended prompts is called behind the generator's name."""

_COPY = re.compile(r"(.+)[_/](\d+)")
_PACKED = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file of a generator's folder.

    Attributes:
        file: Its path in the folder, with forward slashes.
        size: In bytes.
        mtime: Nanoseconds.
    """

    file: str
    size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image of a prompt.

    Attributes:
        prompt: Number of the prompt in the set.
        copy: Its number among the generator's images of the prompt, from 0.
        image: The file.
    """

    prompt: int
    copy: int
    image: ImageFile


@dataclass(frozen=True, slots=True)
class GeneratorFolder:
    """A text-to-image model's images.

    Attributes:
        name: The model's.
        path: Absolute.
        images: By prompt and copy.
        stray: Files that belong to no prompt.
    """

    name: str
    path: Path
    images: tuple[FoundImage, ...]
    stray: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What the folders hold.

    Attributes:
        generators: Those with one image or more, in the order given and, within a folder, by name.
        notes: Folders and files beside them that fit nothing.
    """

    generators: tuple[GeneratorFolder, ...]
    notes: tuple[str, ...]


def find_generators(images: Sequence[str], prompts: PromptSet) -> Found:
    """The generators that ``images=`` names.

    Args:
        images: Each a folder that holds a folder for each generator, a generator's folder itself, or ``NAME=FOLDER``.
        prompts: What the images are of.

    Raises:
        UserError: There is no such folder, it holds no image that fits (says what was expected), or two generators
            have one name.
    """
    found: list[GeneratorFolder] = []
    notes: list[str] = []
    said: list[str]
    for entry in images:
        name, path = split_entry(entry)
        if not path.is_dir():
            raise UserError(f"images={entry}: there is no folder {path}")
        mine, said = ([_one(name, path, prompts)], []) if name else _in_folder(path, prompts)
        if not any(one.images for one in mine):
            raise UserError(f"images={entry}: {_expected(path, prompts)}")
        found += mine
        notes += said
    unique: dict[str, GeneratorFolder] = {}
    for one in found:
        other = unique.setdefault(one.name, one)
        if other.path != one.path:
            raise UserError(
                f"two generators are called {one.name!r}: {other.path} and {one.path}; give each a name: "
                "images=NAME=FOLDER"
            )
    return Found(tuple(unique.values()), tuple(notes))


def split_entry(entry: str) -> tuple[str, Path]:
    """Name (or "") and folder of an entry of ``images=``."""
    name, sign, folder = entry.partition("=")
    if not sign or Path(entry).is_dir():
        return "", Path(entry)
    if not name or "/" in name:
        raise UserError(f"images={entry}: it must be FOLDER or NAME=FOLDER, and a name has no /")
    return name, Path(folder)


def files_of(folder: Path) -> list[ImageFile]:
    """Every file below a folder, by path; hidden ones are not looked at."""
    found = []
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = Path(here, name)
            try:
                about = path.stat()
            except OSError:  # a link to nothing: it is named when it is read
                found.append(ImageFile(path.relative_to(folder).as_posix(), 0, 0))
                continue
            found.append(ImageFile(path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns))
    return found


def match_files(name: str, path: Path, files: Iterable[ImageFile], prompts: PromptSet) -> GeneratorFolder:
    """Which file is which prompt's image.

    Args:
        name: The generator's.
        path: Its folder.
        files: Of the folder.
        prompts: The set.
    """
    by_stem = _stems(prompts)
    hits: dict[int, dict[int, dict[int, ImageFile]]] = {}  # prompt -> which of its stems -> copy -> file
    stray = []
    for file in sorted(files, key=_order):
        owners = []
        if _ending(file.file) in ENDINGS:
            stem = unicodedata.normalize("NFC", file.file.rpartition(".")[0])
            owners, copy = by_stem.get(stem, []), -1
            numbered = _COPY.fullmatch(stem)
            if not owners and numbered:
                owners, copy = by_stem.get(numbered[1], []), int(numbered[2])
        taken = False
        for prompt, rank in owners:
            of_stem = hits.setdefault(prompt, {}).setdefault(rank, {})
            taken |= of_stem.setdefault(copy, file) is file
        if not taken:
            stray.append(file.file)
    images: list[FoundImage] = []
    for prompt, by_rank in sorted(hits.items()):
        first, *others = sorted(by_rank)
        copies = by_rank[first]
        images += [FoundImage(prompt, n, copies[copy]) for n, copy in enumerate(sorted(copies))]
        stray += [file.file for rank in others for file in by_rank[rank].values()]
    used = {one.image.file for one in images}
    return GeneratorFolder(
        name, path.resolve(), tuple(images), tuple(sorted(file for file in set(stray) if file not in used))
    )


def with_variants(generators: Sequence[GeneratorFolder]) -> dict[str, str]:
    """Generator to its variant: ``sdxl`` to ``sdxl+append``, where both are there."""
    names = {one.name for one in generators}
    return {name: f"{name}{VARIANT}" for name in names if f"{name}{VARIANT}" in names}


def _one(name: str, path: Path, prompts: PromptSet) -> GeneratorFolder:
    return match_files(name, path, files_of(path), prompts)


def _in_folder(path: Path, prompts: PromptSet) -> tuple[list[GeneratorFolder], list[str]]:
    """The generators of a folder, or the folder as a generator: whichever fits more files."""
    files = files_of(path)
    below: dict[str, list[ImageFile]] = {}
    beside = []
    for file in files:
        name, sign, rest = file.file.partition("/")
        if sign:
            below.setdefault(name, []).append(replace(file, file=rest))
        else:
            beside.append(file.file)
    inside = [match_files(name, path / name, mine, prompts) for name, mine in below.items()]
    itself = match_files(path.resolve().name, path, files, prompts)
    if len(itself.images) > sum(len(one.images) for one in inside):
        return [itself], []
    empty = [one.name for one in inside if not one.images]
    packed = [name for name in beside if name.endswith(_PACKED)]
    notes = []
    if empty:
        notes.append(f"{path}: no image fits in {_some(empty)}: ignored")
    if packed:
        notes.append(f"{path}: {_some(packed)} is packed: not read, unpack it")
    if others := [name for name in beside if name not in packed]:
        notes.append(f"{path}: stray files are ignored: {_some(others)}")
    return [one for one in inside if one.images], notes


def _expected(path: Path, prompts: PromptSet) -> str:
    """Why a folder fits nothing."""
    wanted = list(dict.fromkeys(stem for prompt in prompts.prompts for stem in prompt.stems[:1]))
    parts = {prompts.part_of(prompt): prompt.stems for prompt in reversed(prompts.prompts)}
    shown = [f"MODEL/{stem}.jpg" for stems in reversed(parts.values()) for stem in stems][:8]
    there = [file.file for file in files_of(path)][:5]
    return (
        f"no image in {path} is named as one of the {len(wanted)} prompts ({prompts.name}). Expected below the folder "
        f"(or, in one generator's own folder, without MODEL/): {', '.join(shown)} …, ending {', '.join(ENDINGS)}. "
        + (f"It holds {', '.join(there)} …" if there else "It holds no files.")
    )


def _stems(prompts: PromptSet) -> Mapping[str, list[tuple[int, int]]]:
    """Stem to the prompts whose image it may be, each with the stem's place among the prompt's."""
    found: dict[str, list[tuple[int, int]]] = {}
    for number, prompt in enumerate(prompts.prompts):
        for rank, stem in enumerate(prompt.stems):
            found.setdefault(stem, []).append((number, rank))
    return found


def _ending(file: str) -> str:
    return f".{file.rpartition('.')[2]}".lower()


def _order(file: ImageFile) -> tuple[str, int]:
    """Of two files with one stem the first of ``ENDINGS`` counts."""
    stem, _, _ = file.file.rpartition(".")
    ending = _ending(file.file)
    return stem, ENDINGS.index(ending) if ending in ENDINGS else len(ENDINGS)


def _some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
