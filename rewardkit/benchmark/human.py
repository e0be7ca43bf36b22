"""What people said of generators: a file of values or ranks, of generators as a whole or of single prompts.

A CSV, JSONL or parquet has a column ``generator`` (or ``model``), one of ``value``, ``rating``, ``score`` (higher is
better) or ``rank`` (1 is best), and, where it has them, ``prompt`` (or ``prompt_id``, ``id``: the prompt's key) and
``dimension``. Several values of one generator, prompt and dimension are averaged. A JSON file may be a map of generator
to value, or a list of such rows.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardkit.benchmark.prompts import PromptSet
from rewardkit.benchmark.result_rows import HumanValue
from rewardkit.config.messages import did_you_mean
from rewardkit.config.overall import OVERALL
from rewardkit.data.tables import ENDINGS, read_rows
from rewardkit.errors import UserError

_GENERATOR = ("generator", "model")
_VALUE = ("value", "rating", "score", "rank")
_PROMPT = ("prompt", "prompt_id", "id", "key")


@dataclass(frozen=True, slots=True)
class HumanScores:
    """People's values on one dimension; higher is better.

    Attributes:
        dimension: What they judged.
        values: Generator to the mean of its values.
        counts: Generator to the number of its values.
        by_prompt: Generator to ``[P]``, NaN where nobody judged its image of the prompt; empty where the file names no
            prompts.
        unknown: Generators and prompts of the file that the benchmark does not have.
    """

    dimension: str
    values: Mapping[str, float]
    counts: Mapping[str, int]
    by_prompt: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def rows(self) -> list[HumanValue]:
        """For the result, best first."""
        best = sorted(self.values, key=lambda name: -self.values[name])
        return [HumanValue(self.dimension, name, self.values[name], self.counts[name]) for name in best]


def read_human(path: Path, generators: Sequence[str], prompts: PromptSet) -> list[HumanScores]:
    """People's values, dimension by dimension.

    Args:
        path: The file.
        generators: Of the benchmark.
        prompts: Of the benchmark.

    Raises:
        UserError: There is no such file, a column is missing, a value is no number, or it names none of the generators.
    """
    rows = _rows(path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    who, what = _column(path, names, _GENERATOR), _column(path, names, _VALUE)
    where = next((name for name in _PROMPT if name in names), None)
    sign = -1.0 if what == "rank" else 1.0
    keys = _places(prompts)
    found: dict[str, dict[tuple[str, int | None], list[float]]] = {}
    unknown: dict[str, None] = {}
    for number, row in enumerate(rows, 1):
        name, key = str(row[who]), None
        if name not in generators:
            unknown[name] = None
            continue
        if where is not None and row.get(where) not in (None, ""):
            key = keys.get(str(row[where]))
            if key is None:
                unknown[f"prompt {row[where]}"] = None
                continue
        value = sign * _number(row[what], what, path, number)
        dimension = str(row.get("dimension") or OVERALL)
        found.setdefault(dimension, {}).setdefault((name, key), []).append(value)
    if not found:
        raise UserError(
            f"human={path}: none of its rows is of a generator and prompt of this benchmark; its generators are "
            f"{', '.join(dict.fromkeys(str(row[who]) for row in rows)) or 'none'}, the benchmark's are "
            f"{', '.join(generators)}"
        )
    return [_of_dimension(name, cells, len(prompts.prompts), tuple(unknown)) for name, cells in found.items()]


def _of_dimension(
    dimension: str, cells: Mapping[tuple[str, int | None], list[float]], prompts: int, unknown: tuple[str, ...]
) -> HumanScores:
    pooled: dict[str, list[float]] = {}
    by_prompt: dict[str, NDArray[np.float64]] = {}
    for (generator, place), values in cells.items():
        mean = sum(values) / len(values)
        if place is not None:
            by_prompt.setdefault(generator, np.full(prompts, np.nan))[place] = mean
        pooled.setdefault(generator, []).append(mean)
    counts = {name: sum(len(v) for (who, _), v in cells.items() if who == name) for name in pooled}
    means = {name: sum(values) / len(values) for name, values in pooled.items()}
    return HumanScores(dimension, means, counts, by_prompt, unknown)


def _places(prompts: PromptSet) -> dict[str, int]:
    """What a file may call a prompt: its key, or the name of its image where that is one prompt's alone."""
    found = {prompt.key: n for n, prompt in enumerate(prompts.prompts)}
    ids = [prompt.key.rpartition("/")[2] for prompt in prompts.prompts]
    times = Counter(ids)
    for n, id in enumerate(ids):
        if times[id] == 1:
            found.setdefault(id, n)
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix != ".json":
        if path.suffix not in ENDINGS:
            raise UserError(f"human={path}: the file's ending must be one of {', '.join((*ENDINGS, '.json'))}")
        return list(read_rows(path))
    if not path.is_file():
        raise UserError(f"human={path}: there is no such file")
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"human={path} is not JSON: {error}") from None
    if isinstance(record, dict):
        return [{"generator": name, "value": value} for name, value in record.items()]
    if isinstance(record, list) and all(isinstance(row, dict) for row in record):
        return record
    raise UserError(f"human={path}: it must be a map of generator to value, or a list of rows with both")


def _column(path: Path, names: Sequence[str], wanted: Sequence[str]) -> str:
    column = next((name for name in wanted if name in names), None)
    if column is None:
        raise UserError(
            f"human={path}: there is no column {wanted[0]!r} (or {', '.join(wanted[1:])})."
            f"{did_you_mean(wanted[0], names)} The columns are {', '.join(names) or 'none'}"
        )
    return column


def _number(value: Any, column: str, path: Path, row: int) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise UserError(f"human={path}, row {row}: {column} is {value!r}; it must be a number")
    return number
