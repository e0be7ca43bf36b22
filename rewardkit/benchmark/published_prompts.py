"""What ``prompts=`` names: published lists told by their names and layout, or tables of one's own.

::

    anime.json concept-art.json paintings.json photo.json     HPS v2: lists of texts     MODEL/anime/00000.jpg
    drawbench.json                                            DrawBench, likewise        MODEL/00000.jpg
    test_faithfulness_prompt.json test_alignment_prompt.json  EvalAlign: prompt_id …     MODEL/[ASPECT/]ID.jpg
    any .jsonl .csv .parquet .json                            one's own                  MODEL/[STYLE/]ID.jpg

HPS v2's lists are those of HPD v2's ``benchmark`` folder (tgxs002/HPSv2); an image is named by the place of its prompt
in the list of its style.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardkit.benchmark.prompts import TABLES, Prompt, PromptSet, check_keys, make_prompt, read_table
from rewardkit.data.formats.hpdv2_benchmark import STYLES
from rewardkit.data.reading.json_list import json_list
from rewardkit.errors import UserError

DRAWBENCH = "drawbench"
ASPECTS = {"faithfulness": "test_faithfulness_prompt.json", "alignment": "test_alignment_prompt.json"}
NAMED_SETS = ("hpsv2", DRAWBENCH, "evalalign")
"""Sets that may be named instead of their folder; their files are then looked for beside the images."""


def read_prompts(names: Sequence[str], images: Sequence[Path] = ()) -> PromptSet:
    """The set that ``prompts=`` names.

    Args:
        names: Files and folders, or one of ``NAMED_SETS``.
        images: Folders of images; of a named set the files are looked for there and in the folders above.

    Raises:
        UserError: There is no such file, nothing in it is a list of prompts, or a prompt cannot be used.
    """
    files = [file for name in names for file in _files(name, images)]
    prompts: list[Prompt] = []
    notes: list[str] = []
    kinds = set()
    aspects = [aspect for aspect in map(_aspect_of, files) if aspect]
    shared = _shared_ids(files) if len(set(aspects)) > 1 else frozenset()
    for file in files:
        kind, found, said = _read_file(file, shared)
        kinds.add(kind)
        prompts += found
        notes += said
    if shared:
        notes.append(
            f"{len(shared)} ids stand in both of EvalAlign's sets with different prompts ({', '.join(sorted(shared))}):"
            " their images are looked for as MODEL/faithfulness/ID.jpg and MODEL/alignment/ID.jpg alone"
        )
    check_keys(prompts)
    if kinds == {"hpsv2", DRAWBENCH}:
        kinds = {"hpsv2"}
    apart = frozenset({DRAWBENCH}) if kinds == {"hpsv2"} else frozenset()
    kind = kinds.pop() if len(kinds) == 1 else "prompts"
    own = Path(names[0]).resolve()
    name = kind if kind != "prompts" else (own.stem if own.suffix in (*TABLES, ".json") else own.name)
    return PromptSet(name, kind, tuple(prompts), tuple(files), tuple(dict.fromkeys(notes)), apart)


def _files(name: str, images: Sequence[Path]) -> list[Path]:
    """The files of prompts that one entry of ``prompts=`` names."""
    path = Path(name)
    if path.is_file():
        if path.suffix not in (*TABLES, ".json"):
            raise UserError(f"prompts={name}: the file's ending must be one of {', '.join((*TABLES, '.json'))}")
        return [path]
    if path.is_dir():
        for folder in (path, path / "benchmark", path / "configs"):
            if found := _lists(folder, tuple(NAMED_SETS)):
                return found
        tables = sorted(file for file in path.iterdir() if file.suffix in TABLES)
        if len(tables) == 1:
            return tables
        told = f" It holds several tables ({', '.join(t.name for t in tables)}): name one." if tables else ""
        raise UserError(
            f"prompts={name}: the folder holds no list of prompts: neither HPS v2's "
            f"({', '.join(STYLES[:4])}.json), nor {DRAWBENCH}.json, nor EvalAlign's "
            f"({', '.join(ASPECTS.values())}).{told}"
        )
    if name in NAMED_SETS:
        for folder in dict.fromkeys(place for at in images for place in (at, *at.resolve().parents[:3])):
            if found := _lists(folder, (name,)):
                return found
        raise UserError(
            f"prompts={name}: its files lie neither beside the images nor above them; give the folder that holds "
            + {"hpsv2": f"{', '.join(STYLES[:4])}.json", DRAWBENCH: "drawbench.json"}.get(
                name, ", ".join(ASPECTS.values())
            )
        )
    raise UserError(f"prompts={name}: there is no such file or folder, and it is none of {', '.join(NAMED_SETS)}")


def _lists(folder: Path, sets: Sequence[str]) -> list[Path]:
    """The files of the first of some published sets that a folder holds."""
    names = {
        "hpsv2": [f"{style}.json" for style in STYLES if style != DRAWBENCH],
        DRAWBENCH: [f"{DRAWBENCH}.json"],
        "evalalign": list(ASPECTS.values()),
    }
    for one in sets:
        found = [folder / name for name in names[one] if (folder / name).is_file()]
        if found:
            beside = folder / f"{DRAWBENCH}.json"
            return [*found, beside] if one == "hpsv2" and len(sets) > 1 and beside.is_file() else found
    return []


def _read_file(file: Path, shared: frozenset[str]) -> tuple[str, list[Prompt], list[str]]:
    """The kind, the prompts and the notes of one file."""
    if file.suffix in TABLES:
        return ("prompts", *read_table(file))
    entries = [value for _, value in json_list(file)]
    if all(isinstance(entry, str) for entry in entries):
        style = file.stem
        kind = "prompts" if style not in STYLES else DRAWBENCH if style == DRAWBENCH else "hpsv2"
        bare = kind != "hpsv2"
        return kind, [_listed(text, style, place, file, bare=bare) for place, text in enumerate(entries)], []
    aspect = _aspect_of(file)
    if aspect is not None:
        return "evalalign", [_evalalign(entry, aspect, n, file, shared) for n, entry in enumerate(entries)], []
    raise UserError(
        f"prompts={file}: a .json file is a list of texts, or EvalAlign's list of objects with prompt_id and prompt; "
        "write your own objects as JSONL, one a line"
    )


def _listed(text: Any, style: str, place: int, file: Path, *, bare: bool) -> Prompt:
    number = f"{place:05d}"
    where = f"{file}, prompt {place + 1}"
    tags = {"style": style} if style in STYLES else {}
    return make_prompt(text, number, place, tags=tags, where=where, folder=style, bare=bare, key=f"{style}/{number}")


def _evalalign(entry: Any, aspect: str, place: int, file: Path, shared: frozenset[str]) -> Prompt:
    where = f"{file}, prompt {place + 1}"
    if not isinstance(entry, dict) or "prompt_id" not in entry:
        raise UserError(f"{where}: {entry!r} has no prompt_id")
    id = str(entry["prompt_id"])
    slots = entry.get("result_info") or {}
    if not isinstance(slots, dict):
        raise UserError(f"{where}: result_info is {slots!r}; it must be an object")
    return make_prompt(
        entry.get("prompt"), id, place, tags={"aspect": aspect}, where=where, slots=slots, folder=aspect,
        bare=id not in shared, key=f"{aspect}/{id}", aspect=aspect,
    )  # fmt: skip


def _aspect_of(file: Path) -> str | None:
    """Which of EvalAlign's sets a JSON file is, by its entries and, where they do not tell, its name."""
    if file.suffix != ".json":
        return None
    first = next((value for _, value in json_list(file)), None)
    if not isinstance(first, dict) or "prompt_id" not in first:
        return None
    return "alignment" if "result_info" in first or "alignment" in file.name else "faithfulness"


def _shared_ids(files: Sequence[Path]) -> frozenset[str]:
    """Ids that stand in both of EvalAlign's sets."""
    ids: dict[str, set[str]] = {}
    for file in files:
        aspect = _aspect_of(file)
        if aspect is not None:
            ids.setdefault(aspect, set()).update(str(value.get("prompt_id")) for _, value in json_list(file))
    return frozenset(set.intersection(*ids.values())) if len(ids) > 1 else frozenset()


def write_appended(path: Path, prompts: Sequence[Prompt], appended: Sequence[str]) -> None:
    """The prompts with their appended texts as JSONL, to generate images from: id, prompt, original, tags."""
    rows = [
        {"id": prompt.stems[0], "prompt": text, "original": prompt.text, "tags": dict(prompt.tags)}
        for prompt, text in zip(prompts, appended, strict=True)
    ]
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    scratch.replace(path)
