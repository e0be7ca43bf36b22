"""VisionPrefer (arXiv 2404.15100): four images per prompt, rated 1 to 5 by GPT-4V on four aspects, with reasons.

The set was not found in public; the fields below are those that others report of it, so the reader takes several names
for one thing (``visionprefer_fields.py``), several places for a score, and no value that is doubtful.

::

    {"prompt_id", "prompt", "raw_prompt"?, "annotator"?, "images": [
        {"image_id", "path", "model", "guidance", "scores": {ASPECT: 1..5}, "rationales": {ASPECT: "…"}}, …]}
    {"prompt_id", "prompt", "images": ["a.png", …], "models": […], ASPECT: [1..5, …] or {"scores", "rationales"}}
    {"prompt", "image", "dimension": ASPECT, "score": 1..5, "rationale", "outcome"?, "annotator"?}

ASPECT is prompt_following, aesthetic, fidelity or harmlessness. A score that is null or not there is missing, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.formats.visionprefer_fields import ASPECTS, NAMES, Fields, aspect_of, the_aspect
from rewardkit.data.reading.fields import different, listed, optional_text, ranks, source_folder
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.image_cells import image_cell
from rewardkit.data.reading.rows import columns_of
from rewardkit.data.reading.source_rows import annotation_place, source_rows
from rewardkit.data.reading.statements import OVERALL, RAW_PROMPT, Order, Rating, Said, Statement

LOW, HIGH = 1, 5
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Endings under which an image is looked for that is given by its id alone."""


@dataclass
class VisionPreferOptions:
    """What can be asked of VisionPrefer."""

    images: str = option("")
    """Folder of the images, inside the source. Default: the source."""
    ending: str = option("")
    """Ending of the image files (.png), for records that give an image_id and no path. Default: the one that is found,
    which needs the images in a folder and not in an archive."""
    annotator: str = option("gpt-4v")
    """Who speaks in records that name no annotator."""
    ranking: str = option("leave_out", choices=("leave_out", "ranks"))
    """What a `ranking` means: `ranks`, one number per image, 1 the best. Which way the set writes it is not known."""


class VisionPreferFormat:
    """See the module's docstring."""

    name = "visionprefer"
    summary = "VisionPrefer: JSON lines with four images per prompt, scored 1 to 5 on four aspects, with rationales"
    options = VisionPreferOptions

    def matches(self, src: Path) -> bool:
        """The first record has images and an aspect, at its own level or in the first image."""
        try:
            place = annotation_place(src, ("*.jsonl", "*.json", "*.parquet"), self.name)
            if not {*NAMES["images"], *NAMES["image"]} & set(columns_of(place)):
                return False
            row = next(source_rows(place, src, ReadLog()))
            return any(
                isinstance(said, Rating)
                for said in _say(row, self.options(ending=".png"), source_folder(src), ReadLog())
            )
        except Exception:
            return False

    def read(self, src: Path, options: VisionPreferOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        place = annotation_place(src, ("*.jsonl", "*.json", "*.parquet"), self.name)
        say = partial(_say, options=options, root=source_folder(src), log=log)
        yield from say_each(source_rows(place, src, log), log, say)


def _say(row: Row, options: VisionPreferOptions, root: Path, log: ReadLog) -> list[Said]:
    """What a record says."""
    record = Fields(row.values)
    id = record.text("id")
    raw = record.text("raw prompt")
    prompt = record.text("prompt")
    if prompt is None:
        raise ValueError("the prompt is missing or empty")
    if "polished_prompt" in record.taken:
        raw = record.text("prompt") or raw
    shared: dict[str, Any] = {"file": row.file, "line": row.line, "folder": options.images, "prompt": prompt}
    shared |= {"id": id, "group": id, "slots": {} if raw is None else {RAW_PROMPT: raw}}
    by = record.text("annotator") or options.annotator
    if any(name in row.values for name in NAMES["images"]):
        said = _joint(record, shared, by, options, root, log)
    else:
        said = _single(record, shared, by, options, root, log)
    record.note_rest(log, "a record")
    return said


def _single(
    record: Fields, shared: dict[str, Any], by: str, options: VisionPreferOptions, root: Path, log: ReadLog
) -> list[Said]:
    """A row on one image and one aspect."""
    _, name, data = _image(record, options, root)
    shared |= {"images": (name,), "generators": (record.text("model"),), "data": (data,)}
    dimension = the_aspect(record.take("dimension"))
    outcome = record.text("outcome")
    value = _score(record.take("score"), dimension)
    rationale = record.text("rationale")
    if outcome not in (None, "ok"):
        log.notes[f"rows with the outcome {outcome!r}: no score"] += 1
        value = None
    if value is None:
        return [Statement(**shared)]
    return [Rating(**shared, by=by, dimension=dimension, value=value, rationale=rationale)]


def _joint(
    record: Fields, shared: dict[str, Any], by: str, options: VisionPreferOptions, root: Path, log: ReadLog
) -> list[Said]:
    """A record of all images of a prompt."""
    images = listed({"images": record.take("images")}, "images")
    # An object with bytes is an image as `datasets` stores it; any other holds the fields of one.
    held = [image if isinstance(image, dict) and "bytes" not in image else {"image": image} for image in images]
    objects = [Fields(image) for image in held]
    cells = [_image(image, options, root) for image in objects]
    names = different(tuple(name for _, name, _ in cells), "images")
    models = record.take("models")
    models = [image.text("model") for image in objects] if models is None else _texts(models, len(names))
    guidance = {name: value for name, image in zip(names, objects, strict=True) if (value := image.take("guidance"))}
    if guidance:
        shared["slots"] = {**shared["slots"], "guidance": guidance}
    answers = _answers(record, objects, [(id, name) for id, name, _ in cells], log)
    said: list[Said] = [
        Statement(**shared, images=names, generators=tuple(models), data=tuple(data for _, _, data in cells))
    ]
    for (dimension, n), (value, rationale) in answers.items():
        if value is not None:
            said.append(
                Rating(**shared, images=(names[n],), by=by, dimension=dimension, value=value, rationale=rationale)
            )
    ranking = record.take("ranking")
    if ranking is not None and options.ranking == "ranks":
        for dimension, value in (ranking if isinstance(ranking, dict) else {OVERALL: ranking}).items():
            order = ranks(value, len(names), "ranking")
            said.append(Order(**shared, images=names, by=by, dimension=aspect_of(dimension) or dimension, ranks=order))
    elif ranking is not None:
        log.notes["records with a ranking, whose direction is not known: left out (ranking=ranks reads 1 as best)"] += 1
    return said


def _image(fields: Fields, options: VisionPreferOptions, root: Path) -> tuple[str | None, str, bytes | None]:
    """Id, name and bytes of an image."""
    value, id = fields.take("image"), fields.text("image id")
    if value is not None:
        return id, *image_cell(value, "image")
    if id is None:
        raise ValueError("an image has neither a path nor an image_id")
    found = [f"{id}{options.ending}"]
    if not options.ending and PurePosixPath(id).suffix.lower() not in ENDINGS:
        found = [f"{id}{ending}" for ending in ENDINGS if (root / options.images / f"{id}{ending}").is_file()]
        if len(found) != 1:
            raise ValueError(
                f"the image {id!r} has no path, and {len(found)} files of {root / options.images} have its name; say "
                "images=FOLDER and ending="
            )
    return id, *image_cell(found[0], "image")


def _answers(
    record: Fields, images: list[Fields], names: list[tuple[str | None, str]], log: ReadLog
) -> dict[tuple[str, int], tuple[float | None, str | None]]:
    """Score and rationale by dimension and image, from wherever the record has them."""
    said: dict[tuple[str, int], list[tuple[Any, str | None]]] = {}
    reasons: dict[tuple[str, int], Any] = {}

    def add(aspects: Mapping[str, Any], n: int) -> None:
        for name, cell in aspects.items():
            said.setdefault((the_aspect(name), n), []).extend([] if cell is None else [_cell(cell)])

    for n, image in enumerate(images):
        add(image.aspects(), n)
        add(_map(image.take("scores"), "scores"), n)
        for name, reason in {**_map(image.take("rationales"), "rationales"), **image.reasons()}.items():
            reasons[the_aspect(name), n] = reason
        image.note_rest(log, "an image")
    for aspects in (record.aspects(), _map(record.take("scores"), "scores")):
        for name, cells in aspects.items():
            inner = Fields(cells if isinstance(cells, dict) else {"scores": cells})
            values, why = inner.take("scores"), inner.take("rationales")
            for n, cell in enumerate(_each_image(cells if values is None else values, name, names)):
                add({name: cell}, n)
            reasons |= {(the_aspect(name), n): reason for n, reason in enumerate(_each_image(why, name, names))}
    for name, each in {**_map(record.take("rationales"), "rationales"), **record.reasons()}.items():
        reasons |= {(the_aspect(name), n): reason for n, reason in enumerate(_each_image(each, name, names))}
    if not said:
        raise ValueError(f"the record has no score on any aspect ({', '.join(ASPECTS)})")
    made = {}
    for (dimension, n), cells in said.items():
        if len(cells) > 1:
            raise ValueError(f"image {n + 1} has {len(cells)} scores for {dimension}")
        score, reason = cells[0] if cells else (None, None)
        reason = reasons.get((dimension, n)) if reason is None else reason
        made[dimension, n] = (_score(score, dimension), optional_text({"rationale": reason}, "rationale"))
    return made


def _each_image(value: Any, name: str, images: list[tuple[str | None, str]]) -> list[Any]:
    """One entry per image, of a list in their order or of an object by their ids or names; all None for null."""
    if value is None:
        return [None] * len(images)
    if not isinstance(value, dict):
        return listed({name: value}, name, count=len(images))
    for key in value:
        if not any(key in image for image in images):
            raise ValueError(f"{name} has an entry for {key!r}, which is not one of the record's images")
    return [next((value[key] for key in image if key in value), None) for image in images]


def _texts(models: Any, count: int) -> list[str | None]:
    return [optional_text({"models": model}, "models") for model in listed({"models": models}, "models", count=count)]


def _map(value: Any, name: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}; it must be an object of aspects")
    return value or {}


def _cell(cell: Any) -> tuple[Any, str | None]:
    """Score and rationale of a cell: the score, or an object of the two."""
    if not isinstance(cell, dict):
        return cell, None
    fields = Fields({name.lower(): value for name, value in cell.items()})
    return fields.take("score"), fields.text("rationale")


def _score(value: Any, dimension: str) -> float | None:
    """A whole number from 1 to 5, as such or as text; None where it is missing (in a table: not a number)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    found = value.strip() if isinstance(value, str) else value
    for whole in range(LOW, HIGH + 1):
        if found == str(whole) or (found == whole and not isinstance(found, bool)):
            return float(whole)
    raise ValueError(f"{dimension} is {value!r}; it must be a whole number from {LOW} to {HIGH}, or null")
