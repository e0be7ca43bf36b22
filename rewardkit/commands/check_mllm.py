"""What an evaluator's options contradict, and what only an evaluator has and the other kinds would ignore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rewardkit.commands.check_kind import changed
from rewardkit.commands.check_objective import scores_of
from rewardkit.commands.find_questions import find_questions
from rewardkit.config.compose import COMMAND_LINE
from rewardkit.config.mllm_options import MllmOptions
from rewardkit.config.model_options import ModelOptions, TransformOptions
from rewardkit.config.objective_options import ASKED, TERMS
from rewardkit.config.schema import DataOptions, FitOptions
from rewardkit.config.term_options import ScoreTermOptions
from rewardkit.data.questions import shipped_question_sets

AUTO, SMALL = "auto", "small"
"""``model.architecture`` of a published base, and of one made from nothing."""

_ONLY_TOWERS = {
    "head": "its heads are the question's options, ordinal and regression (model.mllm.scores_from)",
    "overall": "an overall is a question of its own, or an aggregate of the answers",
    "overall_gradient": "it has no overall that follows from other dimensions",
    "gate_width": "it has no gate",
    "uncertainty": "it has no standard deviation of a score; its options have probabilities",
    "max_logit_scale": "it has no logit scale",
    "patch_dropout": "its vision tower reads every patch",
    "drop_path": "its vision tower has no stochastic depth",
    "unlocked_image_groups": "what trains is model.mllm.vision and model.mllm.projector",
    "unlocked_text_layers": "what trains is model.mllm.language",
    "output": "its scores are what model.mllm.scores_from says",
}
"""Options of ``model`` that an evaluator does not have, and what to say."""

_ONLY_ASKED = ("rationales", "question_sampling", "length_buckets")
"""Options of ``data`` that only an evaluator reads."""


def mllm_problems(options: FitOptions, origins: Mapping[str, str]) -> Iterator[str]:
    """What is wrong, one message each.

    Args:
        options: Of ``fit``.
        origins: Key to where its value was set.
    """
    if options.model.kind != "mllm":
        yield from _of_others(options)
        return
    model = options.model
    for name in changed(model, ModelOptions()):
        if name in _ONLY_TOWERS:
            yield f"model.{name}: model.kind is mllm, and {_ONLY_TOWERS[name]}"
    for name in changed(options.transform, TransformOptions()):
        yield f"transform.{name}: an evaluator's own processor reads images; take model.mllm.min_pixels or max_pixels"
    yield from _base_problems(options)
    yield from _question_problems(options)
    yield from _term_problems(options)
    yield from _unread(options, origins)
    if options.data.features:
        yield "data.features: an evaluator's vision tower is read with the question; set data.features=false"
    if options.trainer.compile:
        yield "trainer.compile: a multimodal language model is not compiled here; set trainer.compile=false"
    if model.gradient_checkpointing and model.mllm.share_prefix:
        yield (
            "model.mllm.share_prefix: what questions share cannot be read once while activations are recomputed; "
            "leave it at null, or set model.gradient_checkpointing=false"
        )


def _of_others(options: FitOptions) -> Iterator[str]:
    kind = options.model.kind
    yield from (
        f"model.mllm.{name}: only model.kind=mllm has it, but model.kind is {kind}"
        for name in changed(options.model.mllm, MllmOptions())
    )
    if options.model.questions is not None:
        yield f"model.questions: only model.kind=mllm is asked questions, but model.kind is {kind}"
    for term in options.objective.name:
        if term in ASKED:
            yield f"objective.name: {term} learns answers to questions, but model.kind is {kind}; set model.kind=mllm"
    for term in TERMS:
        section = getattr(options.objective, term)
        if isinstance(section, ScoreTermOptions) and section.scores is not None:
            yield f"objective.{term}.scores: a {kind} has one kind of score; only model.kind=mllm has several"
    of_data = changed(options.data, DataOptions())  # a run's config.yaml sets all of them, to what they are by default
    for name in _ONLY_ASKED:
        if name in of_data:
            yield f"data.{name}: only model.kind=mllm reads it, but model.kind is {kind}"


def _base_problems(options: FitOptions) -> Iterator[str]:
    model, mllm = options.model, options.model.mllm
    if model.architecture not in (AUTO, SMALL):
        yield (
            f"model.architecture: an evaluator is {AUTO} (what the folder of model.pretrained holds) or {SMALL}, not "
            f"{model.architecture}"
        )
    elif model.architecture == AUTO and model.pretrained is None:
        yield (
            "model.pretrained: names no base; give the folder of an image-text-to-text model, hf-hub:OWNER/NAME, or "
            f"model.architecture={SMALL}"
        )
    elif model.architecture == SMALL and model.pretrained is not None:
        yield f"model.pretrained: a small model is made from nothing; set model.architecture={AUTO} to load one"
    if model.architecture == SMALL and mllm.dtype != "float32":
        yield f"model.mllm.dtype: a small model is float32, not {mllm.dtype}"
    small = mllm.small
    if model.architecture == SMALL and (small.width % 32 or small.vision_width % 8 or small.side % 16):
        yield "model.mllm.small: width has to be a multiple of 32, vision_width of 8 and side of 16"
    whole = [part for part in ("language", "vision", "projector") if getattr(mllm, part) == "full"]
    if mllm.dtype == "float16" and whole:
        yield (
            f"model.mllm.dtype: float16 weights lose what small steps add to them; train {' and '.join(whole)} in "
            "bfloat16 or float32, or set model.mllm.language=lora and the others frozen"
        )


def _question_problems(options: FitOptions) -> Iterator[str]:
    model = options.model
    if model.questions is None:
        yield (
            f"model.questions: an evaluator needs questions; name one of {', '.join(shipped_question_sets())}, or a "
            "YAML file (docs/mllm.md)"
        )
        return
    questions = find_questions(options)
    on = {question.dimension for question in questions.questions}
    for name in model.dimensions:
        if name not in on:
            yield (
                f"model.dimensions: no question of {questions.name} is on {name!r}, so it would have no score; leave "
                "it out, or add a question"
            )
    for question in questions.questions:
        if question.dimension not in model.dimensions:
            yield (
                f"model.dimensions: question {question.key!r} of {questions.name} is on {question.dimension!r}; add "
                "it, or name other questions in model.mllm.ask"
            )


def _term_problems(options: FitOptions) -> Iterator[str]:
    objective, mllm = options.objective, options.model.mllm
    learned = {scores_of(objective, term) for term in objective.name} - {None}
    if set(objective.name) & set(ASKED):
        learned.add("expected")  # both teach the logits of the options
    if mllm.scores_from not in learned:
        teaches = {"expected": "option", "ordinal": "ordinal", "regression": "mse"}[mllm.scores_from]
        yield (
            f"model.mllm.scores_from: no term of objective.name ({', '.join(objective.name)}) teaches the "
            f"{mllm.scores_from} scores; add {teaches}, or take {' or '.join(sorted(filter(None, learned)))}"
        )
    if mllm.style == "published" and (objective.name != ["answer"] or mllm.scores_from != "expected"):
        yield (
            "model.mllm.style: the published form learns whole labels as answers and has no score token, so "
            "objective.name=answer and model.mllm.scores_from=expected; for other terms take style=characters"
        )
    if "caption_contrast" in objective.name and (mllm.vision, mllm.projector) == ("frozen", "frozen"):
        yield (
            "objective.name: caption_contrast brings an image's tokens near its caption's words, and model.mllm.vision "
            "and model.mllm.projector are frozen; leave it out, or set model.mllm.projector=full"
        )


def _unread(options: FitOptions, origins: Mapping[str, str]) -> Iterator[str]:
    mllm = options.model.mllm
    for section, wanted, has in (
        ("lora", "model.mllm.language=lora", mllm.language == "lora"),
        ("small", f"model.architecture={SMALL}", options.model.architecture == SMALL),
    ):
        given = [k for k, of in origins.items() if k.startswith(f"model.mllm.{section}.") and of == COMMAND_LINE]
        if given and not has:
            yield f"{', '.join(given)}: nothing reads it without {wanted}"
