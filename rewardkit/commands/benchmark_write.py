"""Writes what ``benchmark`` found (predictions and answers tables, benchmark.json and .csv), and prints it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

import rewardkit
from rewardkit.benchmark.assemble import Choices, Judged, assemble
from rewardkit.benchmark.human import HumanScores
from rewardkit.benchmark.prompts import PromptSet
from rewardkit.benchmark.result import FILE, BenchmarkResult, write_result
from rewardkit.benchmark.result_rows import Cell, Reward
from rewardkit.benchmark.scorers import Judge
from rewardkit.benchmark.state import ScoreLog
from rewardkit.benchmark.tables import predictions_of
from rewardkit.benchmark.work import Gathered, Images, Texts, answers_of, gather, number_candidates
from rewardkit.commands.benchmark_display import print_result
from rewardkit.commands.benchmark_inputs import say
from rewardkit.commands.benchmark_pages import write_pages
from rewardkit.config.benchmark_options import BenchmarkOptions
from rewardkit.data.answer_table import write_answers
from rewardkit.data.predictions import write_predictions
from rewardkit.data.tables import write_rows
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE
from rewardkit.models.bundle_record import sha256_of, versions
from rewardkit.models.mllm.scoring import LoadedEvaluator

TABLE = "benchmark.csv"


def write_all(
    options: BenchmarkOptions,
    out: Path,
    judges: Sequence[Judge],
    logs: Mapping[str, ScoreLog],
    prompts: PromptSet,
    images: Images,
    texts: Texts,
    variants: Mapping[str, str],
    human: Sequence[HumanScores],
    notes: Sequence[str],
    console: Console,
    *,
    arguments: Sequence[str],
) -> int:
    """Everything in ``out``; exit code 1 where an image cannot be read."""
    candidates = number_candidates(images)
    judged = []
    for number, judge in enumerate(judges):
        said = gather(judge, logs[judge.label], images, prompts, texts, candidates)
        reward = _reward(judge, options.model[number], number, said)
        _write_tables(out / reward.predictions, judge, said, prompts)
        judged.append(Judged(judge, reward, said))
    problems = [f"{generator}/{file}: {reason}" for (generator, file), reason in sorted(images.problems.items())]
    told = [*notes, *(f"counts as missing: {problem}" for problem in problems)]
    result = assemble(
        judged, images, prompts, texts, variants, human,
        Choices(options.bootstrap, published=options.published),
        notes=[*told, *(note for one in judged for note in one.reward.notes), *_of_published(options)],
        provenance=_provenance(options, prompts, arguments),
    )  # fmt: skip
    write_result(out, result)
    write_csv(out / TABLE, result)
    pages = write_pages(out, options.page)
    say([note for note in result.notes if note not in notes], console)
    print_result(result, console)
    console.print(
        f"\nwrote {out / FILE}, {', '.join([TABLE, *(page.name for page in pages)])}, and the scores of each image in "
        "predictions/",
        highlight=False,
        soft_wrap=True,
    )
    return EXIT_FAILURE if problems else EXIT_DONE


def write_csv(path: Path, result: BenchmarkResult) -> None:
    """A row for every reward, dimension, part and generator; beside it HPS v2's mean of groups and its spread."""
    published = {(row.reward, row.dimension, row.generator): row for row in result.published}

    def row_of(cell: Cell) -> dict[str, Any]:
        row: dict[str, Any] = {name: getattr(cell, name) for name in Cell.__slots__}  # type: ignore[attr-defined]
        table = published.get((cell.reward, cell.dimension, cell.generator))
        if table is not None and cell.tag == "style" and cell.value in table.styles:
            style = table.styles[cell.value]
            row |= {"published_mean": style.mean, "published_std": style.std}
        elif table is not None and not cell.tag:
            row |= {"published_mean": table.average}
        return row | {"same_as": "; ".join(cell.same_as)}

    columns = [*Cell.__slots__, *(["published_mean", "published_std"] if published else [])]  # type: ignore[attr-defined]
    write_rows(path, map(row_of, result.cells), columns)


def _reward(judge: Judge, source: str, number: int, said: Gathered) -> Reward:
    name = re.sub(r"[^\w.-]+", "_", judge.label)
    loaded = judge.loaded
    notes = []
    if said.refused:
        shown = "; ".join(f"{image}: {reason}" for image, reason in list(said.refused.items())[:3])
        notes.append(f"{judge.label} cannot judge {len(said.refused)} images: {shown}")
    return Reward(
        label=judge.label,
        source=source,
        kind=judge.kind,
        dimensions=judge.dimensions,
        scale=judge.scale,
        predictions=f"predictions/{number}-{name}.parquet",
        weights_sha256=str(loaded.record.get("weights", {}).get("sha256", "")),
        questions=loaded.questions.name if isinstance(loaded, LoadedEvaluator) else None,
        notes=tuple(notes),
    )


def _write_tables(path: Path, judge: Judge, said: Gathered, prompts: PromptSet) -> None:
    write_predictions(path, predictions_of(said.images, judge.dimensions, said.scores, source=prompts.name))
    if isinstance(judge.loaded, LoadedEvaluator):
        write_answers(path, answers_of(judge.loaded, said, prompts))


def _of_published(options: BenchmarkOptions) -> list[str]:
    if options.published is None:
        return []
    return [
        f"published={options.published}: the rows marked as published were measured by HPS v2's authors on their own "
        f"images with the weights of HPS {options.published}; they are comparable only with a reward that has these "
        "weights and the published transform"
    ]


def _provenance(options: BenchmarkOptions, prompts: PromptSet, arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "command": ["benchmark", *arguments],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rewardkit": rewardkit.__version__,
        "versions": versions(),
        "prompts": {str(file): sha256_of(file) for file in prompts.files},
        "bootstrap": options.bootstrap,
        "append": options.append,
    }
