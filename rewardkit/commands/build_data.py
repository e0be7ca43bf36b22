"""From the options of ``fit`` to the data module, and what is said of it before training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from rewardkit.commands.build_objective import uses_captions
from rewardkit.commands.find_sources import EMBEDDED, remote_access, sources
from rewardkit.config.schema import AugmentOptions, FitOptions
from rewardkit.data.augment import Augmentation
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.features import FeatureMaker
from rewardkit.data.source_weights import weighted
from rewardkit.data.sources import Source
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.published import pixel_budget

if TYPE_CHECKING:
    from rewardkit.engine.run_directory import Opened
    from rewardkit.models.kinds import AnyReward


def build_data(
    options: FitOptions,
    model: AnyReward,
    *,
    ranks: int,
    errors_path: Path | None,
    console: Console,
    features: FeatureMaker | None = None,
) -> PreferenceData:
    """The training and validation data that the options name, as the model needs them; warns of what they share.

    Args:
        options: All options of ``fit``.
        model: Its transform, tokenizer and dimensions.
        ranks: Processes that train.
        errors_path: Where bad samples are named.
        console: Where progress goes.
        features: From ``build_features``; None reads pixels.
    """
    data = options.data
    made = PreferenceData(
        train=weighted(sources(data.train, "train", data.embedded, options.cache, console), data.weights),
        val=sources(data.val, "val", data.embedded, options.cache, console),
        **_reading(options, model),
        dimensions=model.dimensions,
        dimension_map=data.dimension_map,
        batch_groups=data.batch_groups,
        micro_groups=data.micro_groups,
        ranks=ranks,
        workers=data.workers,
        pairing=data.pairing,
        seed=options.seed,
        captions=uses_captions(options.objective),
        max_bad_fraction=data.max_bad_fraction,
        errors_path=errors_path,
        allow_overlap=data.allow_overlap,
        augmentation=_augmentation(data.augment, options.seed),
        features=features,
        epoch_groups=data.epoch_groups,
        remote=remote_access(data.remote, options.cache),
    )
    if not console.quiet:
        for warning in made.warnings:
            print(f"warning: {warning}", file=sys.stderr)
    return made


def _reading(options: FitOptions, model: AnyReward) -> dict[str, Any]:
    """How the model reads images and prompts, as ``PreferenceData`` takes it."""
    if not isinstance(model, MLLMReward):
        return {"transform": model.transform, "tokenizer": model.tokenizer}
    return {
        "transform": None,
        "tokenizer": None,
        "rows": model.rows,
        "rationales": options.data.rationales,
        "question_sampling": options.data.question_sampling,
        "length_buckets": options.data.length_buckets,
        "pixel_budget": pixel_budget(model.processor),
    }


def _augmentation(augment: AugmentOptions, seed: int) -> Augmentation | None:
    return Augmentation(augment.flip, augment.shift, seed) if augment.flip or augment.shift else None


def _named(model: AnyReward) -> str:
    """What a model is called when it is announced."""
    if not isinstance(model, MLLMReward):
        return model.architecture.name
    assert model.rows is not None
    where = "made from nothing" if model.base_path is None else str(model.base_path)
    asked = f"{len(model.rows.questions.questions)} questions of {model.rows.questions.name}"
    return f"{model.base.config.model_type} ({where}), asked {asked}"


def truncated_share(data: PreferenceData, context_length: int) -> float:
    """Share of the training prompts that are longer than a text tower reads, counted in CLIP's tokens."""
    assert data.train_data is not None
    tokens = np.concatenate([index.prompt_tokens for index in data.train_data.indices])
    return float((tokens > context_length).mean())


def mixing(options: FitOptions, data: PreferenceData) -> list[str]:
    """Each weighted source's share of the training, and how often its groups come in it; nothing without weights."""
    mixture = data.train_data
    if mixture is None or mixture.weights is None:
        return []
    units = options.trainer.max_steps * options.data.batch_groups
    told = []
    for name, weight, index in zip(options.data.train, mixture.weights, mixture.indices, strict=True):
        share = weight / sum(mixture.weights)
        times = f", each of its {len(index)} groups {share * units / len(index):.1f} times"
        told.append(f"{Source(name).label} {share:.1%}{times if options.data.pairing == 'grouped' else ''}")
    return told


def announce(options: FitOptions, model: AnyReward, data: PreferenceData, opened: Opened, console: Console) -> None:
    """Says what is about to be trained, on what, and where it goes."""
    from rewardkit.engine.precision import find_precision

    assert data.schedule is not None and data.train_data is not None
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    every = sum(p.numel() for p in model.parameters())
    if options.scale == "demo" and EMBEDDED in options.data.train:
        console.print(
            f"scale=demo: a small {options.model.kind.upper()} from scratch on the embedded dataset of drawn pictures "
            "and simulated votes. It shows every part at work; it judges no real images. scale=paper is the published "
            "set-up.",
            highlight=False,
        )
    lines = [
        f"model   {_named(model)}, {every / 1e6:.1f} M parameters, {trained / 1e6:.1f} M trained, judges "
        f"{', '.join(model.dimensions)}",
        f"data    {len(data.train_data)} groups to train on, {sum(map(len, data.val_data))} held out "
        f"({', '.join(data.val_names)})",
        f"steps   {options.trainer.max_steps} of {options.data.batch_groups} "
        f"{'comparisons' if options.data.pairing == 'pairs' else 'groups'}, "
        f"{options.trainer.max_steps / data.schedule.steps_per_epoch:.1f} epochs, precision "
        f"{find_precision(options.trainer.precision)}",
        *(f"mix     {line}" for line in mixing(options, data)),
        f"run     {opened.layout.root}" + (f", continued from step {opened.step}" if opened.step else ""),
    ]
    if not isinstance(model, MLLMReward):  # which cuts nothing
        length = model.tokenizer.context_length
        cut = truncated_share(data, length)
        lines += [f"note    {cut:.1%} of the prompts are longer than {length} tokens; cut off"] if cut > 0 else []
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
