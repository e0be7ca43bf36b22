"""The benchmark of HPD v2: lists of prompts by style, and the images that models made for them. No labels.

::

    benchmark/{anime,concept-art,paintings,photo}.json      ["prompt", …]
    benchmark/benchmark_imgs/MODEL/STYLE/00000.jpg          by the prompt's place in the list of its style, from 0
    benchmark/drawbench.json
    benchmark/drawbench/MODEL/00000.jpg                     or MODEL/drawbench/00000.jpg

One group per prompt; its candidates are the images of the models that have one. The published evaluation goes on with
the next image where one is missing, so that later scores move to other prompts; here a missing image is a missing
candidate, and is named.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rewardkit.data.reading.fields import source_folder
from rewardkit.data.reading.format import ReadLog
from rewardkit.data.reading.json_list import json_list
from rewardkit.data.reading.rows import NOT_UTF8
from rewardkit.data.reading.statements import Said, Statement
from rewardkit.data.source_folder import ARCHIVES, COMPRESSED, entries
from rewardkit.errors import UserError

STYLES = ("anime", "concept-art", "paintings", "photo", "drawbench")
IMAGES, DRAWBENCH = "benchmark_imgs", "drawbench"
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
"""Published are .jpg; one's own model may write others."""

NAMED = 10
"""Missing images of one model and style that a note names."""


def benchmark_folder(src: Path) -> Path | None:
    """The folder of the lists: ``src/benchmark``, or ``src`` itself where it lies there; None where there is none."""
    for folder in (src / "benchmark", src):
        images = folder.name == "benchmark" or any((folder / name).is_dir() for name in (IMAGES, DRAWBENCH))
        if images and any((folder / f"{style}.json").is_file() for style in STYLES):
            return folder
    return None


def read_benchmark(src: Path, log: ReadLog) -> Iterator[Said]:
    """One statement per prompt, with the images that there are.

    Raises:
        UserError: A list of prompts cannot be read.
    """
    folder = benchmark_folder(src)
    assert folder is not None, "the caller has looked"
    for file in sorted(folder.glob("*.json")):
        if file.stem not in STYLES:
            log.notes[f"{file.name} is not one of the benchmark's lists of prompts: not read"] += 1
    for style in STYLES:
        if (folder / f"{style}.json").is_file():
            yield from _style(folder, style, source_folder(src), log)


def _style(folder: Path, style: str, root: Path, log: ReadLog) -> Iterator[Said]:
    """The groups of one list."""
    file = folder / f"{style}.json"
    models = folder / (DRAWBENCH if style == "drawbench" else IMAGES)
    held = {model: _images_of(models, model, style) for model in _models(models, log)}
    for model in [model for model, images in held.items() if not images]:
        log.notes[f"models without any image of {style}: {model}"] += 1
        del held[model]
    lacking: dict[str, list[str]] = {model: [] for model in held}
    name = log.opened(file, file.relative_to(root).as_posix())
    for line, prompt in json_list(file):
        log.rows += 1
        problem = _problem(prompt)
        if problem:
            log.leave_out(name, line, problem)
            continue
        image = f"{line - 1:05d}"
        having = [model for model, images in held.items() if image in images]
        for model in held:
            if model not in having:
                lacking[model].append(image)
        if not having:
            log.notes[f"prompts of {file.name} of which no model has an image: left out"] += 1
            continue
        yield Statement(
            file=name,
            line=line,
            prompt=prompt,
            images=tuple(held[model][image] for model in having),
            folder=models.relative_to(root).as_posix(),
            generators=tuple(having),
            group=f"benchmark-{style}-{line - 1:05d}",
            id=f"benchmark-{style}-{line - 1:05d}",
            tags={"style": style},
        )
    for model, images in lacking.items():
        if images:
            shown = ", ".join(images[:NAMED]) + (", …" if len(images) > NAMED else "")
            log.notes[f"images of {style} that the model {model} lacks ({shown})"] += len(images)


def _problem(prompt: object) -> str:
    """Why an entry is no prompt; "" where it is one."""
    if not isinstance(prompt, str) or not prompt.strip():
        return f"the entry is {prompt!r}; it must be a prompt"
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return NOT_UTF8
    return ""


def _models(folder: Path, log: ReadLog) -> list[str]:
    """The models of a folder: its folders and archives. Other files are not read; compressed archives are noted."""
    found: set[str] = set()
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.startswith("."):
                continue
            packed = next((end for end in COMPRESSED if path.name.endswith(end)), None)
            if path.is_dir():
                found.add(path.name)
            elif path.suffix in ARCHIVES:
                found.add(path.stem)
            elif packed and not (folder / path.name.removesuffix(packed)).is_dir():
                log.notes[f"{path.name} of {folder.name} is compressed: not read, unpack it"] += 1
    return sorted(found)


def _images_of(folder: Path, model: str, style: str) -> dict[str, str]:
    """Number of each image of a model and style, as its file is named -> its path from the folder of the models."""
    found: dict[str, str] = {}
    # Of a style's image both ``MODEL/STYLE/00000.jpg`` and, for DrawBench, ``MODEL/00000.jpg`` are published.
    for place in [f"{model}/{style}", *([model] if style == "drawbench" else [])]:
        if (folder / place).is_dir():
            for path in sorted((folder / place).iterdir()):
                if path.suffix in ENDINGS:
                    found.setdefault(path.stem, f"{place}/{path.name}")
        for end in ARCHIVES:
            if (folder / f"{model}{end}").is_file():
                inside = place.removeprefix(model).lstrip("/")
                for name in _members(folder / f"{model}{end}"):
                    parent, _, image = name.rpartition("/")
                    if parent in (inside, place) and PurePosixPath(image).suffix in ENDINGS:
                        found.setdefault(PurePosixPath(image).stem, f"{place}/{image}")
    return found


def _members(archive: Path) -> list[str]:
    """Names of the files in an archive.

    Raises:
        UserError: It is damaged.
    """
    try:
        return [name for name, _, reason in entries(archive) if not reason]
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive} cannot be read (cut off while downloading?): {error}") from None
