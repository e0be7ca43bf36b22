"""Options of ``fit`` that the other kind of model has: refused, so that none is ignored in silence."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rewardkit.config.blip_options import BlipOptions
from rewardkit.config.model_options import ModelOptions
from rewardkit.config.schema import FitOptions

_ONLY_CLIP = {
    "head": "a BLIP's head is model.blip.head",
    "gate_width": "it has no gate",
    "uncertainty": "it has no standard deviation of a score",
    "max_logit_scale": "a BLIP has no logit scale",
    "patch_dropout": "its image tower always reads every patch; leave it at null, or take model.blip.drop_path",
    "drop_path": "a BLIP's stochastic depth is model.blip.drop_path",
}
"""Options of ``model`` that a BLIP does not have, and what to say."""

_OUTPUTS = {"clip": ("cosine", "cosine100", "logit"), "blip": ("logit", "normalised")}


def kind_problems(options: FitOptions) -> list[str]:
    """What ``model.kind`` contradicts, one message each."""
    model = options.model
    problems = []
    if model.kind != "blip":
        problems += [
            f"model.blip.{name}: only model.kind=blip has it, but model.kind is {model.kind}"
            for name in changed(model.blip, BlipOptions())
        ]
    if model.kind == "mllm":
        return problems
    outputs = _OUTPUTS[model.kind]
    if model.output is not None and model.output not in outputs:
        problems.append(f"model.output: a {model.kind} gives {' or '.join(outputs)}, not {model.output}")
    if model.kind == "clip":
        return problems
    names = changed(model, ModelOptions())
    problems += [f"model.{name}: model.kind is blip, and {why}" for name, why in _ONLY_CLIP.items() if name in names]
    if model.overall == "gate":
        problems.append(
            "model.overall: a gate reads the prompt alone, which a BLIP never does; take mean or combination"
        )
    if model.output == "normalised" and not _changed_normalisation(model.blip):
        problems.append(
            "model.output: normalised needs model.blip.reward_mean and model.blip.reward_std; with 0 and 1 it is the "
            "logit, so write model.output=logit"
        )
    if len(model.blip.head_dropout) != 3 or not all(0 <= rate < 1 for rate in model.blip.head_dropout):
        problems.append(
            f"model.blip.head_dropout: expects three numbers from 0 up to below 1, got {model.blip.head_dropout}"
        )
    if options.data.features:
        problems.append(
            "data.features: a BLIP reads the prompt with the image, so there are no features of the image alone; set "
            "data.features=false, or take model.kind=clip"
        )
    if "caption_contrast" in options.objective.name:
        problems.append(
            "objective.name: caption_contrast compares features of the image with those of its caption, which a BLIP "
            "does not have; leave it out, or take model.kind=clip"
        )
    return problems


def changed(section: Any, default: Any) -> list[str]:
    """Names of the fields that are not at their default; of plain fields only."""
    names = [item.name for item in fields(section)]
    return [name for name in names if getattr(section, name) != getattr(default, name)]


def _changed_normalisation(blip: BlipOptions) -> bool:
    return (blip.reward_mean, blip.reward_std) != (0.0, 1.0)
