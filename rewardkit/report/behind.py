"""What a cell of a leaderboard opens: its numbers in words, and images with their scores and prompts.

Scores come from the predictions tables, images from the generators' folders. A picture that several cells show stands
in the page once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rewardkit.benchmark.result import ALL, BenchmarkResult, image_file
from rewardkit.benchmark.result_rows import Cell, Generator
from rewardkit.data.predictions import read_predictions
from rewardkit.report.board import judge_name, part_name, rank_name, written
from rewardkit.report.examples import KINDS, Pictures, choose_examples, in_rounds, take_pictures

MAX_EXAMPLES = 24_000
"""Images with their scores that a page names in all its cells; where there are more, each cell has fewer."""

_LONGEST_PROMPT = 600
_NAMED = 12


@dataclass(frozen=True, slots=True)
class Example:
    """One image of a cell.

    Attributes:
        file: The image.
        score: Of the reward.
        place: Of its generator on that prompt, 1 the best.
        of: Generators that have that prompt.
        prompt: Its text.
        path: The file relative to the generator's folder.
    """

    file: Path
    score: float
    place: int
    of: int
    prompt: str
    path: str


@dataclass(frozen=True, slots=True)
class Behind:
    """What the page's script needs.

    Attributes:
        record: ``prompts``, ``pictures`` and ``cells``, ready for JSON.
        shown: Images of each kind that a cell shows at most.
        pictures: What was taken in.
    """

    record: dict[str, Any]
    shown: int
    pictures: Pictures


def look_behind(
    result: BenchmarkResult, folder: Path, opened: Sequence[Cell], *, images: int, max_bytes: int
) -> Behind:
    """Chooses what each cell shows, and reads the pictures.

    Args:
        result: The benchmark.
        folder: Of ``benchmark.json``.
        opened: The cells, in the order of their numbers.
        images: Of each kind (best, around the median, worst), for each cell.
        max_bytes: Of all pictures, as they stand in the page.
    """
    shown = min(images, max(1, MAX_EXAMPLES // max(1, len(KINDS) * len(opened)))) if images else 0
    examples: dict[int, dict[str, list[Example]]] = {}
    for label in dict.fromkeys(cell.reward for cell in opened):
        numbered = [(n, cell) for n, cell in enumerate(opened) if cell.reward == label]
        examples |= dict(_of_reward(result, folder, numbered, shown))
    found = [examples[n] for n in range(len(opened))]
    pictures = take_pictures(in_rounds([_wishes(one) for one in found]), max_bytes=max_bytes)
    prompts: dict[str, int] = {}
    scored = Counter(_column(cell) for cell in opened)
    cells = [
        {
            "title": _title(cell),
            "lines": _lines(result, cell, scored[_column(cell)]),
            "examples": [
                [kind, [_record(one, cell, result, pictures, prompts) for one in kinds]] for kind, kinds in each.items()
            ],
        }
        for cell, each in zip(opened, found, strict=True)
    ]
    return Behind({"prompts": list(prompts), "pictures": pictures.uris, "cells": cells}, shown, pictures)


def _of_reward(
    result: BenchmarkResult, folder: Path, numbered: Sequence[tuple[int, Cell]], shown: int
) -> Iterator[tuple[int, dict[str, list[Example]]]]:
    """Number of a cell to its examples, for all cells of one reward."""
    reward = next(one for one in result.rewards if one.label == numbered[0][1].reward)
    table = read_predictions(folder / reward.predictions).scores
    table = table[table["score"].notna()]
    tags = {text: json.loads(text or "{}") for text in table["tags"].unique()}
    for dimension in dict.fromkeys(cell.dimension for _, cell in numbered):
        rows = _with_places(table[table["dimension"] == dimension])
        by_generator = dict(list(rows.groupby("generator", sort=False)))
        for number, cell in numbered:
            if cell.dimension != dimension:
                continue
            part = by_generator.get(cell.generator, rows.iloc[:0])
            if cell.tag != ALL:
                within = [text for text, said in tags.items() if str(said.get(cell.tag)) == cell.value]
                part = part[part["tags"].isin(within)]
            chosen = choose_examples(part["score"].to_numpy(), shown)
            yield number, {kind: _examples(result, part.iloc[places]) for kind, places in chosen.items()}


def _with_places(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with ``place``: that of the generator on the prompt, by the mean of its images; and ``of``."""
    means = rows.groupby(["group", "generator"], sort=False)["score"].mean()
    by_prompt = means.groupby("group", sort=False)
    places = pd.DataFrame({"place": by_prompt.rank(method="min", ascending=False), "of": by_prompt.transform("size")})
    return rows.join(places, on=["group", "generator"])


def _examples(result: BenchmarkResult, rows: pd.DataFrame) -> list[Example]:
    columns = (rows[name] for name in ("generator", "shard", "score", "place", "of", "prompt"))
    return [
        Example(image_file(result, generator, shard), float(score), int(place), int(of), prompt, shard)
        for generator, shard, score, place, of, prompt in zip(*columns, strict=True)
    ]


def _wishes(kinds: Mapping[str, list[Example]]) -> list[Path]:
    """The cell's files in the order in which it would give them up last: best, worst, median, and so on."""
    return in_rounds([[one.file for one in kinds.get(kind, ())] for kind in ("Best", "Worst", "Around the median")])


def _record(
    one: Example, cell: Cell, result: BenchmarkResult, pictures: Pictures, prompts: dict[str, int]
) -> list[Any]:
    text = one.prompt if len(one.prompt) <= _LONGEST_PROMPT else f"{one.prompt[: _LONGEST_PROMPT - 1]}…"
    place = f"{_ordinal(one.place)} of {one.of} on this prompt" if one.of > 1 else ""
    score = written(one.score, _scale(result, cell))
    return [pictures.number.get(one.file), score, place, prompts.setdefault(text, len(prompts)), one.path]


def _title(cell: Cell) -> str:
    return f"{cell.generator} · {judge_name(cell.reward, cell.dimension)} · {part_name(cell.tag, cell.value)}"


def _lines(result: BenchmarkResult, cell: Cell, scored: int) -> list[str]:
    """The cell's numbers in words; ``scored`` generators have a score in its column."""
    scale = _scale(result, cell)
    interval = ""
    if cell.low is not None:
        interval = f", 95 % interval {written(cell.low, scale)} to {written(cell.high, scale)}"
    lines = [f"Mean {written(cell.mean, scale)}{interval}, over {cell.n:,} {'prompt' if cell.n == 1 else 'prompts'}."]
    if cell.rank is not None:
        same = f" Not distinguishable from {', '.join(cell.same_as)}." if cell.same_as else ""
        lines.append(f"Rank {rank_name(cell.rank, cell.last_rank)} of {scored}.{same}")
    lines += _published_line(result, cell)
    if cell.missing:
        generator = next(one for one in result.generators if one.name == cell.generator)
        lines.append(_missing_line(generator, cell, result.main_tag))
    return lines


def _column(cell: Cell) -> tuple[str, str, str, str]:
    return cell.reward, cell.dimension, cell.tag, cell.value


def _published_line(result: BenchmarkResult, cell: Cell) -> list[str]:
    """A style as HPS v2's table has it."""
    for row in result.published:
        if (row.reward, row.dimension, row.generator) != (cell.reward, cell.dimension, cell.generator):
            continue
        style = row.styles.get(cell.value) if cell.tag == result.main_tag else None
        if style is not None and style.mean is not None and style.std is not None:
            return [f"As HPS v2's table counts: {style.mean:.2f} ± {style.std:.2f} (groups of 80 prompts)."]
    return []


def _missing_line(generator: Generator, cell: Cell, main_tag: str) -> str:
    keys = [one.prompt for one in generator.missing if cell.tag == ALL or one.part == cell.value]
    if cell.tag not in (ALL, main_tag) or not keys:
        return f"{cell.missing:,} without a score."
    more = f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else ""
    return f"{cell.missing:,} without a score: {', '.join(keys[:_NAMED])}{more}."


def _scale(result: BenchmarkResult, cell: Cell) -> str:
    return next(reward.scale for reward in result.rewards if reward.label == cell.reward)


def _ordinal(place: int) -> str:
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"
