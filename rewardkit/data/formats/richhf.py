"""RichHF-18K (arXiv 2312.10240, google-research-datasets/richhf-18k): four scores of 17 760 images of Pick-a-Pic v1.

::

    train.tfrecord  dev.tfrecord  test.tfrecord     tf.train.Example with the features
        filename                   train/1140cc3a-….png, bytes
        aesthetics_score, artifact_score, misalignment_score, overall_score      floats from 0 to 1, higher is better
        artifact_map, misalignment_map                                           images of 512 × 512
        prompt_misalignment_label  "1 1 0 1", one per token of the prompt: 0 misaligned, 1 aligned

The same fields are read from parquet, JSON or CSV. Neither prompt nor image is published with them: ``prompts=`` names
a table ``filename,prompt`` and ``images=`` the folder of the images, or the rows have them (``prompt`` or ``caption``,
and ``image``). The scores are kept as the answers of one rater, ``mos``; the token labels are the rationale of the one
on alignment, and the tokens that they belong to the slot ``tokens``. Heatmaps are not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.formats.agiqa import MOS
from rewardkit.data.reading.fields import image_path, number, optional_text, source_folder, text
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.image_cells import image_cell
from rewardkit.data.reading.prompt_table import PromptTable
from rewardkit.data.reading.rows import columns_of, read_rows
from rewardkit.data.reading.statements import Rating, Said, Statement
from rewardkit.data.reading.tfrecord import examples
from rewardkit.errors import UserError

SCORES: Mapping[str, str] = {
    "aesthetics_score": "aesthetics",
    "artifact_score": "plausibility",
    "misalignment_score": "alignment",
    "overall_score": "overall",
}
"""Field to dimension. Published so that higher is better: fewer artifacts, less misalignment."""

LABELS = "prompt_misalignment_label"
SPLITS = ("train", "dev", "test")
TABLES = (".parquet", ".jsonl", ".json", ".csv", ".arrow")
COLUMNS = ("filename", *SCORES, LABELS, "prompt", "caption", "image")
"""Columns of a table that are read; the heatmaps are not among them."""

_BETWEEN_TOKENS = re.compile(r"""[,.?!":; ]""")
"""What parts the tokens of a prompt (google-research, ``match_label_to_token.py``); it belongs to no token."""


@dataclass
class RichHfOptions:
    """What can be asked of RichHF-18K."""

    prompts: list[str] = option([])  # noqa: RUF009  (option makes a dataclass field)
    """Tables with the columns `filename` and `prompt` (or `caption`): CSV, JSON, JSON lines or parquet. A filename is
    as in the records, or the image's name without folder and ending (in Pick-a-Pic: the image's uid, unverified)."""
    images: str = option("")
    """Folder of the images, inside the source; an image lies in it by its filename. Default: the source."""
    split: str | None = option(None)
    """Which files to read of a folder: train, dev, test, or several with commas. Default: all."""


class RichHfFormat:
    """See the module's docstring."""

    name = "richhf"
    summary = "RichHF-18K: train, dev and test.tfrecord with four scores; prompts and images come from Pick-a-Pic"
    options = RichHfOptions

    def matches(self, src: Path) -> bool:
        """A TFRecord file with its features, or a table with its columns."""
        try:
            file = _files(src, None)[0]
            if file.suffix != ".tfrecord":
                return {"filename", LABELS} <= set(columns_of(file))
            _, first = next(examples(file, ReadLog(), file.name))
            return {"filename", *SCORES} <= set(first)
        except Exception:
            return False

    def read(self, src: Path, options: RichHfOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        prompts = None
        if options.prompts:
            prompts = PromptTable(options.prompts, src, log, keys=("filename",), prompts=("prompt", "caption"))
        for file in _files(src, options.split):
            split = next((name for name in SPLITS if re.match(rf"{name}\b", file.name)), None)
            tags = {} if split is None else {"split": split}
            say = partial(_say, prompts=prompts, folder=options.images, tags=tags, log=log)
            yield from say_each(_rows(file, src, prompts, log), log, say)


def _files(src: Path, split: str | None) -> list[Path]:
    """The annotation files.

    Raises:
        UserError: There are none, or none of a split that was asked for.
    """
    if src.is_file():
        return [src]
    if not src.is_dir():
        raise UserError(f"src={src} does not exist")
    found = sorted(src.glob("*.tfrecord"), key=lambda path: (*SPLITS, path.stem).index(path.stem))
    if not found:
        tables = sorted(path for path in src.rglob("*.parquet") if not path.name.startswith("."))
        found = [path for path in tables if LABELS in columns_of(path)]
    asked = [name.strip() for name in split.split(",")] if split else []
    for name in asked:
        if not any(path.name.startswith(name) for path in found):
            raise UserError(f"split={name}: {src} holds no {name}.tfrecord; there are the splits {', '.join(SPLITS)}")
    found = [path for path in found if not asked or path.name.startswith(tuple(asked))]
    if not found:
        raise UserError(
            f"the folder {src} must hold train.tfrecord, dev.tfrecord or test.tfrecord, or parquet files with their "
            f"fields, to be read as format=richhf. A table of another kind is given itself: src={src / 'FILE'}"
        )
    return found


def _rows(file: Path, src: Path, prompts: PromptTable | None, log: ReadLog) -> Iterator[Row]:
    name = file.relative_to(source_folder(src)).as_posix()
    if file.suffix in TABLES:
        rows, found = read_rows(file, log, columns=COLUMNS, name=name), columns_of(file)
        missing = [column for column in ("filename", *SCORES) if found and column not in found]
        if missing:
            raise UserError(f"{file}: the field {missing[0]!r} is missing; there are {', '.join(found)}")
    else:
        found = []
        log.opened(file, name)
        if file.stat().st_size == 0:
            raise UserError(f"{file} is empty (0 bytes)")
        rows = (Row(name, number, dict(_values(found))) for number, found in examples(file, log, name))
    if prompts is None and not {"prompt", "caption"} & set(found):
        raise UserError(
            f"{file} does not hold the prompts: RichHF-18K publishes labels alone. Give a table with the columns "
            "filename and prompt, made from Pick-a-Pic v1, by prompts=FILE"
        )
    yield from rows


def _values(features: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The features that are read, each as its one value; texts as text."""
    for name in ("filename", *SCORES, LABELS):
        values = features.get(name)
        if values:
            value = values[0]
            yield name, value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _say(row: Row, prompts: PromptTable | None, folder: str, tags: Mapping[str, str], log: ReadLog) -> list[Said]:
    values = row.values
    filename = image_path(values.get("filename"), "filename")
    prompt = _prompt(values, filename, prompts)
    image, data = (filename, None) if values.get("image") is None else image_cell(values["image"], "image")
    image = filename if data is not None else image  # Bytes go by the published name.
    tokens = [token for token in _BETWEEN_TOKENS.split(prompt) if token]
    labels = _token_labels(values, len(tokens), log)
    shared: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "folder": folder,
        "prompt": prompt,
        "images": (image,),
        "data": (data,),
        "tags": tags,
        "slots": {"tokens": tokens} if labels else {},
        # Splits are kept apart, should they share a prompt: a tag belongs to a whole group.
        "group": tags.get("split"),
    }
    said: list[Said] = []
    for name, dimension in SCORES.items():
        if values.get(name) is not None:
            rationale = labels if dimension == "alignment" else None
            value = number(values, name, low=0, high=1)
            said.append(Rating(**shared, by=MOS, dimension=dimension, value=value, rationale=rationale))
    return said or [Statement(**shared)]


def _prompt(values: Mapping[str, Any], filename: str, prompts: PromptTable | None) -> str:
    if prompts is None:
        return text(values, "caption" if values.get("prompt") is None else "prompt")
    try:
        return prompts[filename]
    except ValueError:
        stem = PurePosixPath(filename).stem
        if stem not in prompts:
            raise
        return prompts[stem]


def _token_labels(values: Mapping[str, Any], tokens: int, log: ReadLog) -> str | None:
    """The labels of the prompt's tokens as published; None where there are none, or not one for each token.

    Raises:
        ValueError: A label is neither 0 nor 1.
    """
    labels = (optional_text(values, LABELS) or "").split()
    if any(label not in ("0", "1") for label in labels):
        raise ValueError(f"{LABELS} is {values[LABELS]!r}; it must be 0 or 1 for each token, with spaces between")
    if labels and len(labels) != tokens:
        log.notes[f"{LABELS} with another number of labels than its prompt has tokens: left out"] += 1
        return None
    return " ".join(labels) or None
