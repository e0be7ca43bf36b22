"""HPD v2 (Human Preference Dataset v2; Wu et al. 2023, arXiv 2306.09341), as its publishers lay it out.

::

    HPD/train.json   [{"human_preference": [1, 0], "prompt": "…", "file_path": ["a.jpg", "b.jpg"]}, …]   1 = preferred
    HPD/test.json    [{"prompt": "…", "image_path": ["a.jpg", …], "rank": [2, …],
                       "raw_annotations": [{"rank": [1, …], "user_hash": "…"}, …]}, …]                  1 = best
    HPD/train/a.jpg  HPD/test/a.jpg
    HPD/benchmark    lists of prompts and images of models: rewardkit/data/formats/hpdv2_benchmark.py

The pairs of ``train.json`` that share a prompt become one group. In ``test.json`` each annotator's ranking is kept
under its ``user_hash`` and the averaged ``rank`` as ``AGGREGATE``. The files do not say which model made an image.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.formats.hpdv2_benchmark import benchmark_folder, read_benchmark
from rewardkit.data.group import AGGREGATE
from rewardkit.data.reading.fields import as_number, image_paths, optional_text, ranks, source_folder, text
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.record_fields import fields_of
from rewardkit.data.reading.rows import check_columns, read_rows
from rewardkit.data.reading.statements import Choice, Order, Said
from rewardkit.errors import UserError

FILES = ("train", "test")
SPLITS = (*FILES, "benchmark")
RAW = ("raw_annotations", "raw_annotation")
"""Names of the field with single annotators' rankings: as the published file has it, and as the readme says."""

NEEDED = {"train": ("prompt", "file_path", "human_preference"), "test": ("prompt", "image_path")}
KNOWN = {"train": ("user_hash",), "test": ("rank", *RAW)}


@dataclass
class Hpdv2Options:
    """What can be asked of HPD v2."""

    split: str | None = option(None)
    """Which published split to read: train, test or benchmark, or several as train,test; needed where the folder
    holds more than one."""


class Hpdv2Format:
    """See the module's docstring."""

    name = "hpdv2"
    summary = "HPD v2: a folder with train.json and train/, test.json and test/, or benchmark/"
    options = Hpdv2Options

    def matches(self, src: Path) -> bool:
        """A folder with one of the published files, or such a file."""
        if src.is_dir():
            kinds = [_kind(file) for name in FILES if (file := src / f"{name}.json").is_file()]
            return any(kinds) or benchmark_folder(src) is not None
        return bool(_kind(src))

    def read(self, src: Path, options: Hpdv2Options, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        for split in _splits(src, options.split):
            if split == "benchmark":
                yield from read_benchmark(src, log)
            else:
                yield from _read_file(src, split, log)


def _kind(file: Path) -> str:
    """``train`` or ``test`` by the fields of a file's records, "" for any other file."""
    if file.suffix != ".json" or not file.is_file():
        return ""
    try:
        row = next(read_rows(file, ReadLog()), None)
    except (UserError, OSError):
        return ""
    found = row.values if row else {}
    if isinstance(found.get("human_preference"), list) and "file_path" in found:
        return "train"
    return "test" if "image_path" in found and any(name in found for name in ("rank", *RAW)) else ""


def _splits(src: Path, asked: str | None) -> list[str]:
    """The splits to read.

    Raises:
        UserError: A split is unknown or not there, or it is not said which of several to read.
    """
    if src.is_file():
        present = [_kind(src)]
        if not present[0]:
            raise UserError(
                f"{src} is neither train.json nor test.json of HPD v2; give the folder that holds it, or the file"
            )
    else:
        if not src.exists():
            raise UserError(f"src={src} does not exist")
        present = [split for split in FILES if (src / f"{split}.json").is_file()]
        present += ["benchmark"] if benchmark_folder(src) is not None else []
    if not present:
        raise UserError(
            f"{src} holds neither train.json nor test.json nor benchmark/; is it the folder HPD that was published?"
        )
    if not asked:
        if len(present) > 1:
            held = " and ".join(f"{split}.json" if split in FILES else f"{split}/" for split in present)
            ways = " or ".join(f"split={split}" for split in present)
            raise UserError(f"{src} holds {held}: say {ways} (one shard set each)")
        return present
    splits = list(dict.fromkeys(split.strip() for split in asked.split(",")))
    for split in splits:
        if split not in SPLITS:
            raise UserError(f"split={split}: HPD v2 has the splits train and test, and benchmark")
        if split not in present:
            place = src / (f"{split}.json" if split in FILES else split)
            raise (
                UserError(f"split={split}: {src} is of split={present[0]}")
                if src.is_file()
                else UserError(f"split={split}: {place} does not exist")
            )
    return splits


def _read_file(src: Path, split: str, log: ReadLog) -> Iterator[Said]:
    """The statements of ``train.json`` or ``test.json``."""
    file = src if src.is_file() else src / f"{split}.json"
    found = fields_of(file)
    if found:  # Rows of a file that shows no fields say themselves what is wrong with it.
        check_columns(found, file, log, needed=NEEDED[split], known=KNOWN[split])
    folder = _image_folder(source_folder(src), split)
    say: Callable[[Row], Iterable[Said]]
    say = partial(_train, log=log, folder=folder, seen=set()) if split == "train" else partial(_test, log, folder)
    yield from say_each(read_rows(file, log, name=file.name), log, say)


def _image_folder(root: Path, split: str) -> str:
    """The folder ``SPLIT/`` where there is one (or an archive of it), else the source's own."""
    return split if any((root / f"{split}{end}").exists() for end in ("", ".zip", ".tar", ".tar.gz")) else ""


def _place(paths: tuple[str, ...], split: str, folder: str) -> str:
    """The folder that a record's paths are relative to: not ``SPLIT/`` where they begin with it themselves."""
    return "" if all(path.startswith(f"{split}/") for path in paths) else folder


def _generator(path: str) -> str | None:
    """The folder that holds an image, where it names a model."""
    parts = [part for part in path.split("/")[:-1] if part not in SPLITS]
    return parts[0] if parts else None


def _train(row: Row, log: ReadLog, folder: str, seen: set[bytes]) -> list[Said]:
    """A pair of ``train.json``; the first one of a prompt names the group.

    ``seen`` has digests of the prompts so far: some 10 MB for the 107 515 of the published file.
    """
    paths = image_paths(row.values, "file_path", count=2)
    prompt = text(row.values, "prompt")
    by = optional_text(row.values, "user_hash") or ""
    votes = _preference(row.values.get("human_preference"), log)
    if votes is None:
        return []
    key = hashlib.blake2b(prompt.encode(), digest_size=8).digest()
    is_first = key not in seen
    seen.add(key)
    return [
        Choice(
            file=row.file,
            line=row.line,
            prompt=prompt,
            images=paths,
            folder=_place(paths, "train", folder),
            generators=tuple(map(_generator, paths)),
            by=by,
            id=f"train-{row.line - 1:06d}" if is_first else None,
            votes=votes,
        )
    ]


def _preference(value: Any, log: ReadLog) -> tuple[float, float, float] | None:
    """Votes of ``human_preference``: 1 for the preferred image, or two shares whose sum is 1; None for nobody."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"human_preference is {value!r}; it must be two numbers, 1 for the preferred")
    first, second = (as_number(share, "human_preference", low=0, high=1) for share in value)
    if first == second == 0:
        log.notes["pairs of train.json with human_preference [0, 0], which prefers nobody: left out"] += 1
        return None
    if first == second == 1:
        log.notes["pairs of train.json with human_preference [1, 1]: kept as ties"] += 1
        return (0.0, 1.0, 0.0)
    if not math.isclose(first + second, 1.0, abs_tol=1e-3):
        raise ValueError(f"human_preference is {value!r}; it must be [1, 0], [0, 1], or two shares whose sum is 1")
    return (0.0, 1.0, 0.0) if first == second else (first, 0.0, second)


def _test(log: ReadLog, folder: str, row: Row) -> list[Said]:
    """The rankings of a record of ``test.json``, each annotator's and the averaged one."""
    paths = image_paths(row.values, "image_path")
    place = _place(paths, "test", folder)
    prompt = text(row.values, "prompt")
    rankings = [(by, _ranks(found, len(paths))) for by, found in _annotators(row, log)]
    if row.values.get("rank") is not None:
        rankings.append((AGGREGATE, _ranks(row.values["rank"], len(paths))))
    if not rankings:
        raise ValueError("there is neither rank nor raw_annotations")
    name = f"test-{row.line - 1:06d}"
    generators = tuple(map(_generator, paths))
    return [
        Order(
            file=row.file,
            line=row.line,
            prompt=prompt,
            images=paths,
            folder=place,
            generators=generators,
            by=by,
            group=name,  # Two records of one prompt were ranked by different people: they stay apart.
            id=name,
            ranks=found,
        )
        for by, found in rankings
    ]


def _annotators(row: Row, log: ReadLog) -> Iterator[tuple[str, Any]]:
    """Name and ranks of each annotator; a name that stands twice gets a number, so that both are kept apart."""
    raw: Any = next((row.values[name] for name in RAW if row.values.get(name) is not None), [])
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise ValueError("raw_annotations must be a list of objects with rank and user_hash")
    seen: Counter[str] = Counter()
    for item in raw:
        by = optional_text(item, "user_hash") or ""
        if by == AGGREGATE:
            raise ValueError(f"user_hash is {by!r}, the name of averaged orders; give the annotator another name")
        seen[by] += 1
        if by and seen[by] > 1:
            log.notes["annotators of test.json with the user_hash of another one of the record: numbered (#2, …)"] += 1
            by = f"{by}#{seen[by]}"
        yield by, item.get("rank")


def _ranks(value: Any, count: int) -> tuple[float, ...]:
    """One annotator's ranks, 1 to the number of images."""
    ranks(value, count)  # one number per image
    return tuple(as_number(rank, "rank", low=1, high=count) for rank in value)
