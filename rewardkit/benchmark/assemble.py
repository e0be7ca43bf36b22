"""Puts the result together from what the judges said: standings, tables, agreements, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardkit.benchmark.agreements import agreement_of_rewards, agreement_with_people
from rewardkit.benchmark.aspects import aspect_rows
from rewardkit.benchmark.best_of import best_of_rows
from rewardkit.benchmark.human import HumanScores
from rewardkit.benchmark.images import GeneratorFolder
from rewardkit.benchmark.prompts import PromptSet
from rewardkit.benchmark.published_tables import published_rows, reference_rows
from rewardkit.benchmark.result import BenchmarkResult
from rewardkit.benchmark.result_rows import Generator, Missing, Reward
from rewardkit.benchmark.scorers import Judge
from rewardkit.benchmark.standings import standings
from rewardkit.benchmark.variants import variant_rows
from rewardkit.benchmark.work import Gathered, Images, Texts
from rewardkit.metrics.answer_sets import is_evalalign
from rewardkit.models.mllm.scoring import LoadedEvaluator

Floats = NDArray[np.float64]
Table = dict[str, Floats]
"""Generator to ``[P]``."""

STRAYS_NAMED = 100


@dataclass(frozen=True, slots=True)
class Judged:
    """A judge and all that it said.

    Attributes:
        judge: The reward or evaluator.
        reward: As the result names it.
        said: Its scores and answers.
    """

    judge: Judge
    reward: Reward
    said: Gathered


@dataclass(frozen=True, slots=True)
class Choices:
    """How the numbers are made.

    Attributes:
        draws: Resamples of prompts behind each interval.
        seed: Of the resamples.
        published: Version of the published table that is to stand beside; None: none.
    """

    draws: int
    seed: int = 0
    published: str | None = None


def assemble(
    judged: Sequence[Judged],
    images: Images,
    prompts: PromptSet,
    texts: Texts,
    variants: Mapping[str, str],
    human: Sequence[HumanScores],
    choices: Choices,
    *,
    notes: Sequence[str],
    provenance: Mapping[str, Any],
) -> BenchmarkResult:
    """All of ``benchmark.json``.

    Args:
        judged: The rewards and what they said.
        images: Of the generators.
        prompts: The set.
        texts: What was scored under.
        variants: Generator to its variant with appended prompts.
        human: What people said.
        choices: How numbers are made.
        notes: To stand in the result.
        provenance: Likewise.
    """
    how = {"draws": choices.draws, "seed": choices.seed}
    parts = prompts.parts()
    inside = parts[0][1]
    tables = {
        (one.reward.label, name): table_of(one.said, one.said.scores[:, column], images.folders, len(prompts.prompts))
        for one in judged
        for column, name in enumerate(one.reward.dimensions)
    }
    stood = [standings(table, parts, reward=r, dimension=d, **how) for (r, d), table in tables.items()]
    aspects = [
        aspect_rows(_said(one.said, images), one.judge.loaded.questions, prompts, reward=one.reward.label, **how)
        for one in judged
        if isinstance(one.judge.loaded, LoadedEvaluator) and is_evalalign(one.judge.loaded.questions)
    ]
    has_table = prompts.kind in ("hpsv2", "drawbench")
    return BenchmarkResult(
        prompt_set=prompts.name,
        kind=prompts.kind,
        main_tag=prompts.main_tag,
        generators=tuple(generator_row(one, images, prompts, variants) for one in images.folders),
        rewards=tuple(one.reward for one in judged),
        parts=tuple(part for part, _ in parts),
        cells=tuple(cell for one in stood for cell in one.cells),
        win_rates=tuple(rate for one in stood for rate in one.win_rates),
        published=tuple(
            row
            for (r, d), table in tables.items()
            for row in published_rows(table, list(map(prompts.part_of, prompts.prompts)), reward=r, dimension=d, **how)
        )
        if has_table
        else (),
        references=tuple(reference_rows(choices.published)) if choices.published else (),
        agreements=tuple(
            row for pair in _compared(judged, len(images.folders)) for row in _agreement(tables, pair, inside, how)
        ),
        human=tuple(
            row
            for (r, d), table in tables.items()
            for said in human
            if any(name in said.values and not np.isnan(values).all() for name, values in table.items())
            for row in agreement_with_people(table, said, (r, d), **how)
        ),
        human_values=tuple(row for said in human for row in said.rows()),
        best_of=tuple(best_of_rows(_copies(judged, images.folders), **how)),
        aspects=tuple(row for rows, _ in aspects for row in rows),
        both_aspects=tuple(row for _, rows in aspects for row in rows),
        variants=tuple(_variants(judged, images, prompts, texts, variants, how)),
        notes=tuple(notes),
        provenance=dict(provenance),
    )


def table_of(said: Gathered, scores: Floats, folders: Sequence[GeneratorFolder], prompts: int) -> Table:
    """Generator to ``[P]``: the mean over a prompt's images, NaN where there is none.

    Args:
        said: Whose images ``scores`` are of.
        scores: ``[N]``.
        folders: The generators.
        prompts: P.
    """
    place = {folder.name: n for n, folder in enumerate(folders)}
    cell = np.array([place[one.generator] * prompts + one.prompt for one in said.images], dtype=np.int64)
    known = ~np.isnan(scores)
    size = len(folders) * prompts
    number = np.bincount(cell[known], minlength=size).astype(float)
    total = np.bincount(cell[known], weights=scores[known], minlength=size)
    means = np.divide(total, number, out=np.full(size, np.nan), where=number > 0).reshape(len(folders), prompts)
    return {folder.name: means[n] for n, folder in enumerate(folders)}


def generator_row(
    folder: GeneratorFolder, images: Images, prompts: PromptSet, variants: Mapping[str, str]
) -> Generator:
    """A generator with all that it lacks, by name."""
    problems = {
        one.prompt: f"{one.image.file} {images.problems[folder.name, one.image.file]}"
        for one in folder.images
        if (folder.name, one.image.file) in images.problems
    }
    good = [one for one in folder.images if (folder.name, one.image.file) not in images.problems]
    there = {one.prompt for one in good}
    missing = tuple(
        Missing(prompt.key, prompts.part_of(prompt), prompt.place, problems.get(number, "no image"))
        for number, prompt in enumerate(prompts.prompts)
        if number not in there
    )
    of = {variant: name for name, variant in variants.items()}
    return Generator(
        folder.name, str(folder.path), len(good), len(there), missing, folder.stray[:STRAYS_NAMED], len(folder.stray),
        of.get(folder.name),
    )  # fmt: skip


def _compared(judged: Sequence[Judged], generators: int) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Of every two rewards their first dimensions, and those of the same name."""
    if generators < 2:
        return []
    pairs: dict[tuple[tuple[str, str], tuple[str, str]], None] = {}
    for one, other in combinations([one.reward for one in judged], 2):
        names = [name for name in one.dimensions if name in other.dimensions]
        for mine, theirs in [(one.dimensions[0], other.dimensions[0]), *zip(names, names, strict=True)]:
            pairs[(one.label, mine), (other.label, theirs)] = None
    return list(pairs)


def _agreement(
    tables: Mapping[tuple[str, str], Table],
    pair: tuple[tuple[str, str], tuple[str, str]],
    inside: NDArray[np.bool_],
    how: Mapping[str, int],
) -> list[Any]:
    ours, theirs = ({name: values[inside] for name, values in tables[side].items()} for side in pair)
    return agreement_of_rewards(ours, theirs, pair, **how)


def _said(said: Gathered, images: Images) -> dict[str, dict[tuple[int, int], list[Any]]]:
    """Generator to prompt and copy to the answers; an image without an answer has none, but is there."""
    found: dict[str, dict[tuple[int, int], list[Any]]] = {folder.name: {} for folder in images.folders}
    for folder in images.folders:
        for one in folder.images:
            if (folder.name, one.image.file) not in images.problems:
                found[folder.name][one.prompt, one.copy] = []
    for image, copy, answers in zip(said.images, said.copies, said.answers, strict=True):
        found[image.generator][image.prompt, copy] = answers
    return found


def _copies(judged: Sequence[Judged], folders: Sequence[GeneratorFolder]) -> dict[str, dict[Any, Any]]:
    """For the curves: generator to each reward's first dimension to the scores of each prompt's images."""
    several = {folder.name for folder in folders if any(one.copy for one in folder.images)}
    counts: dict[str, dict[int, int]] = {name: {} for name in several}
    for folder in [folder for folder in folders if folder.name in several]:
        for image in folder.images:
            counts[folder.name][image.prompt] = image.copy + 1
    found: dict[str, dict[Any, Any]] = {name: {} for name in several}
    for one in judged:
        key = (one.reward.label, one.reward.dimensions[0])
        for name in several:
            found[name][key] = {prompt: np.full(copies, np.nan) for prompt, copies in counts[name].items()}
        for scored, copy, score in zip(one.said.images, one.said.copies, one.said.scores[:, 0], strict=True):
            if scored.generator in several:
                found[scored.generator][key][scored.prompt][copy] = score
    return found


def _variants(
    judged: Sequence[Judged],
    images: Images,
    prompts: PromptSet,
    texts: Texts,
    variants: Mapping[str, str],
    how: Mapping[str, int],
) -> list[Any]:
    rows = []
    for one in judged:
        if one.said.appended is None:
            continue
        for column, dimension in enumerate(one.reward.dimensions):
            original, appended = (
                table_of(one.said, scores[:, column], images.folders, len(prompts.prompts))
                for scores in (one.said.scores, one.said.appended)
            )
            rows += variant_rows(
                original, appended, variants, prompts.parts(), texts.changed, reward=one.reward.label,
                dimension=dimension, **how,
            )  # fmt: skip
    return rows
