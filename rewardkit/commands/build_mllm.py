"""From the options of ``fit`` to an evaluator: its base, the questions that it is asked, and what trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from rewardkit.commands.check_mllm import SMALL
from rewardkit.commands.find_questions import find_questions
from rewardkit.config.mllm_options import MllmOptions
from rewardkit.config.schema import FitOptions
from rewardkit.data.demo.dataset import plan_group
from rewardkit.data.demo.prompts import sentence
from rewardkit.data.questions import QuestionSet
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.options import option_columns, question_text
from rewardkit.models.mllm.published import find_base, read_base, set_pixel_budget
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.small import ROLES
from rewardkit.models.mllm.small_llava import small_llava
from rewardkit.models.mllm.tuning import LANGUAGE_LAYERS, LoraOptions, tune

_SAMPLE_PROMPTS = 200


def build_evaluator(options: FitOptions) -> MLLMReward:
    """The evaluator with its rows; what is random of it comes from torch's generator, which the caller has seeded."""
    model, mllm = options.model, options.model.mllm
    questions = find_questions(options)
    folder = None if model.architecture == SMALL else find_base(str(model.pretrained))
    base, processor = _base(options, questions, folder)
    set_pixel_budget(processor, fewest=mllm.min_pixels, most=mllm.max_pixels)
    evaluator = MLLMReward(
        base,
        processor,
        model.dimensions,
        scores_from=mllm.scores_from,  # type: ignore[arg-type]
        share_prefix=mllm.share_prefix,
    )
    evaluator.base_path = folder
    tune(
        evaluator,
        language=mllm.language,  # type: ignore[arg-type]
        vision=mllm.vision,  # type: ignore[arg-type]
        projector=mllm.projector,  # type: ignore[arg-type]
        lora=_lora(mllm),
    )
    if model.gradient_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    evaluator.rows = QuestionRows(processor, questions, model.dimensions, **row_options(mllm))
    return evaluator


def row_options(mllm: MllmOptions) -> dict[str, Any]:
    """How rows are made, as ``QuestionRows`` takes it and a bundle records it."""
    prompt_for = mllm.prompt_for[0] if mllm.prompt_for in (["all"], ["none"]) else list(mllm.prompt_for)
    return {"style": mllm.style, "prompt_for": prompt_for, "max_tokens": mllm.max_tokens}


def _base(options: FitOptions, questions: QuestionSet, folder: Path | None) -> tuple[Any, Any]:
    """Model and processor: those of a folder, or small ones."""
    if folder is not None:
        return read_base(folder, dtype=getattr(torch, options.model.mllm.dtype))
    small = options.model.mllm.small
    return small_llava(
        _sample_texts(questions),
        seed=options.seed,
        width=small.width,
        layers=small.layers,
        vision_width=small.vision_width,
        side=small.side,
        vocabulary=small.vocabulary,
    )


def _sample_texts(questions: QuestionSet) -> Iterator[str]:
    """What the tokenizer of a small model is trained on: the turns as they are written, and prompts of drawn scenes.

    Nothing but the options decides them, so a checkpoint's tokenizer can be made again.
    """
    for question in questions.questions:
        yield f"Prompt: {question_text(question, option_columns(question), question.slot)}"
        yield from ROLES
    for index in range(_SAMPLE_PROMPTS):
        yield f"Prompt: {sentence(plan_group(seed=0, index=index, split='train').asked)}"


def _lora(mllm: MllmOptions) -> LoraOptions:
    lora = mllm.lora
    return LoraOptions(lora.rank, lora.alpha, lora.dropout, lora.layers or LANGUAGE_LAYERS)
