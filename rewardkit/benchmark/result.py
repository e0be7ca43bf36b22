"""``benchmark.json``: all that a benchmark found, as frozen dataclasses that are written and read again.

A **generator** is a text-to-image model; a **reward** is a reward model or an evaluator that scored its images. Numbers
of the whole set of prompts stand under the tag ``""`` and the value ``""``; those of a part under the prompt's tag and
its value (``style``, ``anime``).

Images and the scores of single images are not here. They are in the predictions tables that ``Reward.predictions``
names (relative to the folder of ``benchmark.json``; one table for each reward; columns in
``rewardkit/data/predictions.py``), one row for each image and dimension:

========= =====================================================================================================
group     number of the prompt in the set, from 0, the same in every table of the benchmark
key       name of the prompt: ``anime/00000``, ``alignment/45``, or its id
candidate number of the image among those of its prompt; images of all generators are counted
generator name of the text-to-image model
score     on the scale that ``Reward.scale`` names
tags      JSON object of the prompt's tags
prompt    the text
shard     the image's file, relative to ``Generator.folder``; ``offset`` is 0 and ``length`` the file's bytes
========= =====================================================================================================

``image_file`` puts folder and file together. A row is there only for an image that was scored; what is missing is in
``Generator.missing``. Answers of evaluators stand beside, as ``rewardkit/data/answer_table.py`` says, and join by
``group`` and ``candidate``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rewardkit.benchmark.result_published import Aspect, BothAspects, Published, Reference
from rewardkit.benchmark.result_rows import (
    Agreement,
    BestOf,
    Cell,
    Generator,
    HumanValue,
    Part,
    Reward,
    Variant,
    WinRate,
)
from rewardkit.errors import DataError, UserError

T = TypeVar("T")

FORMAT_VERSION = 1
FILE = "benchmark.json"
ALL = ""
"""Tag and value of the numbers over all prompts."""


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """All of ``benchmark.json``.

    Attributes:
        prompt_set: Name of the set of prompts.
        kind: ``hpsv2``, ``drawbench``, ``evalalign`` or ``prompts`` (one's own).
        main_tag: The tag that parts the set (``style``, ``aspect``), or "".
        generators: In the order given.
        rewards: In the order given.
        parts: All prompts first, then the values of the tags.
        cells: Every reward, dimension, part and generator, best generator first.
        win_rates: Every two generators.
        published: HPS v2's table; only of the kinds ``hpsv2`` and ``drawbench``.
        references: Rows of published tables, not measured here.
        agreements: Of every two rewards.
        human: Of rewards with people.
        human_values: What people said.
        best_of: Where prompts have several images.
        aspects: EvalAlign's numbers.
        both_aspects: The same in one number.
        variants: What appended prompts change.
        notes: What a reader must know of all of it.
        provenance: Command, time, versions, files of the prompts with their sha256, number of resamples.
    """

    prompt_set: str
    kind: str
    main_tag: str
    generators: tuple[Generator, ...]
    rewards: tuple[Reward, ...]
    parts: tuple[Part, ...]
    cells: tuple[Cell, ...] = ()
    win_rates: tuple[WinRate, ...] = ()
    published: tuple[Published, ...] = ()
    references: tuple[Reference, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    human: tuple[Agreement, ...] = ()
    human_values: tuple[HumanValue, ...] = ()
    best_of: tuple[BestOf, ...] = ()
    aspects: tuple[Aspect, ...] = ()
    both_aspects: tuple[BothAspects, ...] = ()
    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def image_file(result: BenchmarkResult, generator: str, shard: str) -> Path:
    """The image of a row of a predictions table.

    Args:
        result: The benchmark.
        generator: The row's ``generator``.
        shard: The row's ``shard``.
    """
    folder = next(one.folder for one in result.generators if one.name == generator)
    return Path(folder) / shard


def write_result(folder: str | Path, result: BenchmarkResult) -> Path:
    """Writes ``benchmark.json``; it is the old one or the whole new one."""
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{FILE}.{os.getpid()}.tmp")
    record = {"format": FORMAT_VERSION, **asdict(result)}
    scratch.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(scratch, path)
    return path


def read_result(folder: str | Path) -> BenchmarkResult:
    """Reads what ``write_result`` wrote.

    Args:
        folder: The benchmark's, or ``benchmark.json`` itself.

    Raises:
        UserError: There is none.
        DataError: It is damaged, or of another format.
    """
    path = Path(folder) if Path(folder).name == FILE else Path(folder) / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT_VERSION:
            raise DataError(
                f"{path} has format {record['format']}, this rewardkit reads {FORMAT_VERSION}; run the benchmark again "
                "with the same out=, which scores nothing twice"
            )
        return _of_record(BenchmarkResult, record)
    except FileNotFoundError:
        raise UserError(f"there is no {path}; `benchmark out={path.parent}` writes it") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no {FILE}: {error!r}") from None


def _of_record(kind: type[T], record: Mapping[str, Any]) -> T:
    """A dataclass of a result from its plain values."""
    types = get_type_hints(kind)
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]  # type: ignore[arg-type]
    lacking = [name for name in needed if name not in record]
    if lacking:
        raise KeyError(f"{kind.__name__} without {lacking[0]}")
    return kind(**{name: _value(types[name], record[name]) for name in types if name in record})


def _value(kind: Any, value: Any) -> Any:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is tuple:
        return tuple(_value(inside[0], entry) for entry in value)
    if origin is Mapping and is_dataclass(inside[1]):
        return {key: _of_record(inside[1], entry) for key, entry in value.items()}  # type: ignore[arg-type]
    return _of_record(kind, value) if is_dataclass(kind) else value  # type: ignore[arg-type]
