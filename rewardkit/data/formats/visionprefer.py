"""VisionPrefer (arXiv 2404.15100): four images per prompt, rated 1 to 5 by GPT-4V on four aspects, with reasons.

The set was not found in public; the fields below are those that others report of it, so the reader takes several names
for one thing (``NAMES``), several places for a score, and no value that is doubtful.

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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.formats.fields import different, listed, nearest, optional_text, ranks
from rewardkit.data.formats.format import ReadLog, Row, say_each
from rewardkit.data.formats.image_cells import image_cell
from rewardkit.data.formats.rows import columns_of
from rewardkit.data.formats.source_rows import annotation_place, source_rows
from rewardkit.data.formats.statements import OVERALL, RAW_PROMPT, Order, Rating, Said, Statement

ASPECTS: Mapping[str, tuple[str, ...]] = {
    "prompt_following": ("prompt_following", "alignment", "text_image_alignment"),
    "aesthetic": ("aesthetic", "aesthetics"),
    "fidelity": ("fidelity",),
    "harmlessness": ("harmlessness", "harmless"),
}
"""Dimension to the names that its aspect may have; capitals, hyphens and spaces do not matter."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("prompt_id", "id"),
    "prompt": ("polished_prompt", "prompt"),
    "raw prompt": ("raw_prompt", "original_prompt", "unpolished_prompt"),
    "annotator": ("annotator", "annotated_by", "rater", "by"),
    "images": ("images", "candidates", "generations"),
    "image": ("path", "image", "file", "image_path", "file_name"),
    "image id": ("image_id", "id"),
    "model": ("model", "generator", "model_name"),
    "models": ("models", "generators"),
    "guidance": ("guidance", "guidance_scale"),
    "scores": ("scores", "ratings", "annotations"),
    "score": ("score", "rating"),
    "rationales": ("rationales", "reasons"),
    "rationale": ("rationale", "reason"),
    "ranking": ("ranking", "ranks"),
    "dimension": ("dimension", "aspect"),
    "outcome": ("outcome",),
}
"""What is read, and the names that its field may have. ``prompt`` beside ``polished_prompt`` is the raw one."""

LOW, HIGH = 1, 5


@dataclass
class VisionPreferOptions:
    """What can be asked of VisionPrefer."""

    images: str = option("")
    """Folder of the images, inside the source. Default: the source."""
    ending: str = option("")
    """Ending of the image files (.png), for records that give an image_id and no path."""
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
            return any(isinstance(said, Rating) for said in _say(row, self.options(), ReadLog()))
        except Exception:
            return False

    def read(self, src: Path, options: VisionPreferOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        place = annotation_place(src, ("*.jsonl", "*.json", "*.parquet"), self.name)
        yield from say_each(source_rows(place, src, log), log, partial(_say, options=options, log=log))


@dataclass(slots=True)
class _Fields:
    """The fields of an object, each taken once; what nobody took is left over."""

    values: Mapping[str, Any]
    taken: set[str] = field(default_factory=set)

    def take(self, what: str) -> Any:
        """The value under any of the names of a thing; None where there is none."""
        names = [name for name in NAMES[what] if self.values.get(name) is not None and name not in self.taken]
        self.taken.update(names[:1])
        return self.values[names[0]] if names else None

    def text(self, what: str) -> str | None:
        """The same as text."""
        value = self.take(what)
        return None if value is None else optional_text({what: value}, what)

    def aspects(self) -> dict[str, Any]:
        """The values under the names of aspects."""
        found = {name: value for name, value in self.values.items() if _aspect(name)}
        self.taken.update(found)
        return found

    def note_rest(self, log: ReadLog, where: str) -> None:
        """Counts the fields that are not read."""
        for name in self.values:
            if name not in self.taken and self.values[name] is not None:
                log.notes[f"field {name!r} of {where} is not one of this format: not read"] += 1


def _aspect(name: str) -> str | None:
    plain = name.lower().replace("-", "_").replace(" ", "_").removesuffix("_score")
    return next((dimension for dimension, names in ASPECTS.items() if plain in names), None)


def _the_aspect(name: Any) -> str:
    dimension = _aspect(str(name))
    if dimension is None:
        raise ValueError(f"{name!r} is not an aspect of VisionPrefer. {nearest(str(name), ASPECTS)}")
    return dimension


def _say(row: Row, options: VisionPreferOptions, log: ReadLog) -> list[Said]:
    """What a record says."""
    record = _Fields(row.values)
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
        said = _joint(record, shared, by, options, log)
    else:
        said = _single(record, shared, by, options, log)
    record.note_rest(log, "a record")
    return said


def _single(record: _Fields, shared: dict[str, Any], by: str, options: VisionPreferOptions, log: ReadLog) -> list[Said]:
    """A row on one image and one aspect."""
    name, data = _image(record, options)
    shared |= {"images": (name,), "generators": (record.text("model"),), "data": (data,)}
    dimension = _the_aspect(record.take("dimension"))
    outcome = record.text("outcome")
    value = _score(record.take("score"), dimension)
    rationale = record.text("rationale")
    if outcome not in (None, "ok"):
        log.notes[f"rows with the outcome {outcome!r}: no score"] += 1
        value = None
    if value is None:
        return [Statement(**shared)]
    return [Rating(**shared, by=by, dimension=dimension, value=value, rationale=rationale)]


def _joint(record: _Fields, shared: dict[str, Any], by: str, options: VisionPreferOptions, log: ReadLog) -> list[Said]:
    """A record of all images of a prompt."""
    images = listed({"images": record.take("images")}, "images")
    # An object with bytes is an image as `datasets` stores it; any other holds the fields of one.
    held = [image if isinstance(image, dict) and "bytes" not in image else {"image": image} for image in images]
    objects = [_Fields(image) for image in held]
    cells = [_image(image, options) for image in objects]
    names = different(tuple(name for name, _ in cells), "images")
    models = _one_each(record.take("models"), "models", len(names)) or [image.text("model") for image in objects]
    guidance = {name: value for name, image in zip(names, objects, strict=True) if (value := image.take("guidance"))}
    if guidance:
        shared["slots"] = {**shared["slots"], "guidance": guidance}
    answers = _answers(record, objects, log)
    said: list[Said] = [
        Statement(**shared, images=names, generators=tuple(models), data=tuple(data for _, data in cells))
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
            said.append(Order(**shared, images=names, by=by, dimension=_aspect(dimension) or dimension, ranks=order))
    elif ranking is not None:
        log.notes["records with a ranking, whose direction is not known: left out (ranking=ranks reads 1 as best)"] += 1
    return said


def _image(fields: _Fields, options: VisionPreferOptions) -> tuple[str, bytes | None]:
    """Name and bytes of an image."""
    value, id = fields.take("image"), fields.text("image id")
    if value is None and id is None:
        raise ValueError("an image has neither a path nor an image_id")
    return image_cell(f"{id}{options.ending}" if value is None else value, "image")


def _answers(
    record: _Fields, images: list[_Fields], log: ReadLog
) -> dict[tuple[str, int], tuple[float | None, str | None]]:
    """Score and rationale by dimension and image, from wherever the record has them."""
    count = len(images)
    said: dict[tuple[str, int], list[tuple[Any, str | None]]] = {}
    reasons: dict[tuple[str, int], Any] = {}

    def add(aspects: Mapping[str, Any], n: int) -> None:
        for name, cell in aspects.items():
            said.setdefault((_the_aspect(name), n), []).extend([] if cell is None else [_cell(cell)])

    for n, image in enumerate(images):
        add(image.aspects(), n)
        add(_map(image.take("scores"), "scores"), n)
        for name, reason in _map(image.take("rationales"), "rationales").items():
            reasons[_the_aspect(name), n] = reason
        image.note_rest(log, "an image")
    for aspects in (record.aspects(), _map(record.take("scores"), "scores")):
        for name, cells in aspects.items():
            inner = _Fields(cells) if isinstance(cells, dict) else None
            values = inner.take("scores") if inner else cells
            for n, cell in enumerate(_one_each(values, name, count) or [None] * count):
                add({name: cell}, n)
            for n, reason in enumerate(_one_each(inner.take("rationales") if inner else None, name, count)):
                reasons[_the_aspect(name), n] = reason
    for name, each in _map(record.take("rationales"), "rationales").items():
        reasons |= {(_the_aspect(name), n): reason for n, reason in enumerate(_one_each(each, name, count))}
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


def _map(value: Any, name: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}; it must be an object of aspects")
    return value or {}


def _one_each(value: Any, name: str, count: int) -> list[Any]:
    """A list with one entry per image, [] where there is none."""
    return [] if value is None else listed({name: value}, name, count=count)


def _cell(cell: Any) -> tuple[Any, str | None]:
    """Score and rationale of a cell: the score, or an object of the two."""
    if not isinstance(cell, dict):
        return cell, None
    fields = _Fields({name.lower(): value for name, value in cell.items()})
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
