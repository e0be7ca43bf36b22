"""The prompts and images of ``benchmark``: those named now, and the generators that its folder holds already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from rewardkit.benchmark.images import (
    Found,
    GeneratorFolder,
    ImageFile,
    files_of,
    find_generators,
    match_files,
    split_entry,
)
from rewardkit.benchmark.prompts import PromptSet
from rewardkit.benchmark.published_prompts import DRAWBENCH, read_prompts
from rewardkit.benchmark.state import STATE, Line, remembered
from rewardkit.benchmark.work import Images
from rewardkit.config.benchmark_options import BenchmarkOptions
from rewardkit.config.messages import did_you_mean
from rewardkit.errors import UserError

_NAMED = 8
"""Missing or stray files that a line names."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is to be scored.

    Attributes:
        prompts: The set.
        images: Of all generators.
        notes: What has to be said of both.
    """

    prompts: PromptSet
    images: Images
    notes: tuple[str, ...]


def find_inputs(options: BenchmarkOptions, out: Path) -> Inputs:
    """Reads the prompts and matches the images.

    Raises:
        UserError: Something that is named is not there, or fits nothing.
    """
    prompts = read_prompts(options.prompts, [split_entry(entry)[1] for entry in options.images])
    found = find_generators(options.images, prompts)
    kept, gone, said = _kept(out, found, prompts)
    folders = [*kept, *found.generators]
    notes = [*prompts.notes, *found.notes, *said]
    if options.generators:
        folders = _chosen(options.generators, folders)
    prompts, folders = _without_empty(prompts, folders, notes)
    return Inputs(prompts, Images(folders, gone=frozenset(gone)), (*notes, *_gaps(folders, prompts)))


def _kept(out: Path, found: Found, prompts: PromptSet) -> tuple[list[GeneratorFolder], set[str], list[str]]:
    """Generators that were scored into this folder before and are not named now."""
    named = {one.name for one in found.generators}
    kept, gone, notes = [], set(), []
    for name, path in remembered(out).items():
        if name in named:
            continue
        files = files_of(path) if path.is_dir() else _files_of_logs(out, name)
        one = match_files(name, path, files, prompts)
        if not one.images:
            notes.append(f"{name}, scored here before, has no image of these prompts: left out")
            continue
        if not path.is_dir():
            gone.add(name)
            notes.append(f"{name}: its folder {path} is there no more; what was scored stays in the result")
        kept.append(one)
    return kept, gone, notes


def _files_of_logs(out: Path, generator: str) -> list[ImageFile]:
    """The files of a generator whose folder is gone, as they were scored."""
    found: dict[str, ImageFile] = {}
    for path in sorted((out / STATE / "rewards").glob("*.jsonl")):
        with path.open("rb") as file:
            for text in file:
                if text.endswith(b"\n"):
                    line = Line.of_text(text.decode())
                    if line.generator == generator:
                        found[line.image.file] = line.image
    return list(found.values())


def _chosen(names: Sequence[str], folders: Sequence[GeneratorFolder]) -> list[GeneratorFolder]:
    by_name = {one.name: one for one in folders}
    for name in names:
        if name not in by_name:
            raise UserError(
                f"generators={name}: there is no such text-to-image model.{did_you_mean(name, by_name)} There are "
                f"{', '.join(by_name)}"
            )
    return [by_name[name] for name in names]


def _without_empty(
    prompts: PromptSet, folders: list[GeneratorFolder], notes: list[str]
) -> tuple[PromptSet, list[GeneratorFolder]]:
    """DrawBench stands beside HPS v2's lists; without images of the one or the other, that one is left out."""
    if prompts.kind != "hpsv2" or not prompts.apart:
        return prompts, folders
    styles = {prompts.part_of(prompts.prompts[one.prompt]) for folder in folders for one in folder.images}
    present = {prompts.part_of(prompt) for prompt in prompts.prompts}
    if DRAWBENCH in present and DRAWBENCH not in styles:
        notes.append("drawbench.json lies beside HPS v2's lists, but no model has images of it: left out")
        smaller = prompts.without(DRAWBENCH)
    elif styles == {DRAWBENCH}:
        notes.append("the images are DrawBench's, and none is of HPS v2's four styles: those are left out")
        smaller = prompts
        for style in present - {DRAWBENCH}:
            smaller = smaller.without(style)
        smaller = replace(smaller, name=DRAWBENCH, kind=DRAWBENCH, apart=frozenset())
    else:
        return prompts, folders
    place = {prompt.key: number for number, prompt in enumerate(smaller.prompts)}
    keys = [prompt.key for prompt in prompts.prompts]
    return smaller, [
        replace(one, images=tuple(replace(image, prompt=place[keys[image.prompt]]) for image in one.images))
        for one in folders
    ]


def _gaps(folders: Sequence[GeneratorFolder], prompts: PromptSet) -> list[str]:
    """A line for each generator and part that lacks images, and for stray files."""
    lines = []
    for one in folders:
        there = {image.prompt for image in one.images}
        by_part: dict[str, list[str]] = {}
        for number, prompt in enumerate(prompts.prompts):
            if number not in there:
                by_part.setdefault(prompts.part_of(prompt), []).append(prompt.key)
        for part, keys in by_part.items():
            of = sum(prompts.part_of(prompt) == part for prompt in prompts.prompts)
            lines.append(f"{one.name} lacks {len(keys)} of {of} images{f' of {part}' if part else ''}: {_some(keys)}")
        if one.stray:
            lines.append(f"{one.name}: {len(one.stray)} files belong to no prompt and are ignored: {_some(one.stray)}")
    return lines


def say(notes: Sequence[str], console: Console) -> None:
    """Prints notes, a line each."""
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
