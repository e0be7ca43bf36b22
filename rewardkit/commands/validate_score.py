"""``validate``: scores the groups of shard folders with one model; an evaluator also answers its questions on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from rewardkit.commands.find_sources import remote_access, sources
from rewardkit.config.verbs import ValidateOptions
from rewardkit.data.answer_table import AnswerRows, AnswerTable, QuestionAnswer
from rewardkit.data.batch import Batch
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.predictions import PredictionRows, Predictions
from rewardkit.models.load import LoadedReward
from rewardkit.models.mllm.answers import scores_of
from rewardkit.models.mllm.scoring import LoadedEvaluator, Way

REWARD_GROUPS, EVALUATOR_GROUPS = 16, 4
"""Groups in one forward pass where nothing is said."""


@dataclass
class Scored:
    """What a model says of several sets, by their names.

    Attributes:
        predictions: Scores beside what people said of candidates.
        answers: Of an evaluator: its answers beside people's.
    """

    predictions: dict[str, Predictions] = field(default_factory=dict)
    answers: dict[str, AnswerTable] = field(default_factory=dict)


def score_folders(
    model: LoadedReward | LoadedEvaluator,
    folders: Sequence[str],
    options: ValidateOptions,
    console: Console,
    *,
    label: str,
) -> Scored:
    """The tables of every folder; says which samples could not be read."""
    data = PreferenceData(
        train=[],
        val=sources(folders, "val", options.data.embedded, options.cache, console),
        dimensions=model.dimensions,
        dimension_map=options.data.dimension_map,
        val_groups=options.data.batch_groups
        or (REWARD_GROUPS if isinstance(model, LoadedReward) else EVALUATOR_GROUPS),
        workers=options.data.workers,
        max_bad_fraction=options.data.max_bad_fraction,
        remote=remote_access(options.data.remote, options.cache),
        **_reading(model),
    )
    for warning in data.warnings:
        console.print(f"note: {label}: {warning}", highlight=False, markup=False, soft_wrap=True)
    if isinstance(model, LoadedReward):
        found = score_sets(model, data, options.data.dimension_map, console)
    else:
        way: Any = options.answers
        found = answer_sets(model, data, options.data.dimension_map, console, way=way, tokens=options.answer_tokens)
    if data.bad_samples:
        console.print(f"{label}: {data.bad_samples} samples could not be read and are in none of the numbers")
    return found


def score_sets(
    model: LoadedReward, data: PreferenceData, dimension_map: Mapping[str, str | None], console: Console
) -> Scored:
    """The predictions table of every validation set; scores are logits, as in a run's own tables."""
    found = Scored()
    for name, batches in _sets(data, model.model.device, console):
        rows = PredictionRows(model.dimensions, dimension_map=dimension_map)
        for batch in batches:
            scores = model.model(batch).scores  # [N, D]
            _add_scores(rows, batch, scores, name)
        found.predictions[name] = rows.predictions()
    return found


def answer_sets(
    model: LoadedEvaluator,
    data: PreferenceData,
    dimension_map: Mapping[str, str | None],
    console: Console,
    *,
    way: Way,
    tokens: int,
) -> Scored:
    """The predictions and the answers of every validation set.

    Args:
        model: The evaluator.
        data: With its ``rows``.
        dimension_map: Data's dimension to the model's.
        console: Where progress goes.
        way: How it answers.
        tokens: Longest written answer.
    """
    found = Scored()
    for name, batches in _sets(data, model.model.device, console):
        scored = PredictionRows(model.dimensions, dimension_map=dimension_map)
        answered = AnswerRows(model.questions, dimension_map=dimension_map)
        for batch in batches:
            said, values = model.answer_batch(batch.questions, way, most_tokens=tokens)  # type: ignore[arg-type]
            _add_scores(scored, batch, scores_of(said, values, len(batch.group), model.dimensions), name)
            _add_answers(answered, batch, said, name)
        found.predictions[name], found.answers[name] = scored.predictions(), answered.table()
    return found


def _reading(model: LoadedReward | LoadedEvaluator) -> dict[str, Any]:
    """How the model reads images and prompts, as ``PreferenceData`` takes it."""
    if isinstance(model, LoadedReward):
        return {"transform": model.model.transform, "tokenizer": model.model.tokenizer}
    return {"transform": None, "tokenizer": None, "rows": model.rows}


def _sets(data: PreferenceData, device: torch.device, console: Console) -> Iterator[tuple[str, Iterator[Batch]]]:
    """Each set's name and its batches, on the model's device."""
    for name, loader in zip(data.val_names, data.val_dataloader(), strict=True):
        with torch.no_grad(), Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            moved = (batch.to(device) for batch in bar.track(loader, total=len(loader), description=f"scoring {name}"))
            yield name, moved


def _add_scores(rows: PredictionRows, batch: Batch, scores: torch.Tensor, name: str) -> None:
    scores, group = scores.float().cpu(), batch.group.cpu()
    for n, record in enumerate(batch.records):
        mine = scores[group == n].tolist()
        rows.add(record.group, mine, number=record.number, key=record.key, source=name, place=record.place)


def _add_answers(rows: AnswerRows, batch: Batch, said: Sequence[QuestionAnswer], name: str) -> None:
    by_image = {image: list(answers) for image, answers in groupby(said, key=lambda answer: answer.image)}
    group = batch.group.tolist()
    for n, record in enumerate(batch.records):
        mine = [by_image.get(image, []) for image, of in enumerate(group) if of == n]
        rows.add(record.group, mine, number=record.number, key=record.key, source=name)
