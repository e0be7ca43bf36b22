"""Which parts of an MLLM train: all of a part, low-rank adapters in the language layers, or nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn

from rewardkit.errors import UserError
from rewardkit.models.mllm.base import LANGUAGE, part
from rewardkit.models.mllm.groups import PROJECTION, mllm_layer_groups

Language = Literal["full", "lora", "frozen"]
Whole = Literal["full", "frozen"]

LANGUAGE_LAYERS = r"self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj"
"""The linear layers of a block of the language model in the families that are known."""


@dataclass(frozen=True, slots=True)
class LoraOptions:
    """Low-rank adapters (arXiv 2106.09685) through peft.

    Attributes:
        rank: r.
        alpha: Adapters are scaled by alpha / r.
        dropout: Of their input, in [0, 1).
        layers: Regular expression of the linear layers, as they are called inside a block of the language model.
    """

    rank: int = 16
    alpha: float = 32
    dropout: float = 0.0
    layers: str = LANGUAGE_LAYERS


def tune(
    model: Any,
    *,
    language: Language = "full",
    vision: Whole = "frozen",
    projector: Whole = "full",
    lora: LoraOptions | None = None,
) -> tuple[str, ...]:
    """Says what trains; the heads and the score token always do.

    Args:
        model: An ``MLLMReward`` without adapters.
        language: The language model with its embeddings and its head over tokens: all of it, adapters, or nothing.
        vision: The vision tower.
        projector: What stands between the two.
        lora: Of ``language=lora``; None: its defaults.

    Returns:
        Names (inside the base) of the layers that got an adapter, none of them in the vision tower; empty without lora.

    Raises:
        UserError: An unknown word, peft is not installed, a pattern that matches nothing or cannot be read.
    """
    for name, value, known in (
        ("language", language, get_args(Language)),
        ("vision", vision, get_args(Whole)),
        ("projector", projector, get_args(Whole)),
    ):
        if value not in known:
            raise UserError(f"{name}={value!r} is not one of {', '.join(known)}")
    matched = add_adapters(model.base, lora or LoraOptions()) if language == "lora" else ()
    for tower, groups in mllm_layer_groups(model).items():
        for group in groups:
            how = language if tower == "text" else projector if group.name == PROJECTION else vision
            for name in group.parameters:
                adapter = is_adapter(name)
                model.get_parameter(name).requires_grad_(how == "full" or (how == "lora" and adapter))
    model.lora = (lora or LoraOptions()) if language == "lora" else None
    model.trained = tuple(name for name, parameter in model.base.named_parameters() if parameter.requires_grad)
    return matched


def add_adapters(base: Any, lora: LoraOptions) -> tuple[str, ...]:
    """Puts adapters into the language layers that match; returns their names.

    Raises:
        UserError: peft is not installed, a pattern that matches nothing or cannot be read.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError("adapters need peft: pip install 'rewardkit[mllm]'") from None
    if any(is_adapter(name) for name, _ in base.named_parameters()):
        raise UserError("the model has adapters already; export it merged to put new ones into it")
    matched = matching_layers(base, lora.layers)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(matched), bias="none"
    )
    inject_adapter_in_model(config, base)
    with_adapter = tuple(name for name, module in base.named_modules() if hasattr(module, "lora_A"))
    assert with_adapter == matched, f"adapters in other layers than asked for: {set(with_adapter) ^ set(matched)}"
    for name, parameter in base.named_parameters():
        if is_adapter(name):
            parameter.data = parameter.data.float()
    return matched


def matching_layers(base: Any, pattern: str) -> tuple[str, ...]:
    """Names of the linear layers of the language model's blocks that match a pattern.

    Raises:
        UserError: None does, or the pattern cannot be read.
    """
    found = part(base, LANGUAGE)
    assert found is not None, "check_family has seen it"
    try:
        whole = re.compile(rf"{re.escape(found[0])}\.layers\.\d+\.(?:{pattern})")
    except re.error as error:
        raise UserError(f"the layers of lora are no regular expression ({error}): {pattern}") from None
    linear = [name for name, module in base.named_modules() if isinstance(module, nn.Linear)]
    matched = tuple(name for name in linear if whole.fullmatch(name))
    if not matched:
        inside = sorted({m.group(1) for n in linear if (m := re.search(r"\.layers\.\d+\.(.*)", n)) and found[0] in n})
        raise UserError(f"lora matches no layer: {pattern} fits none of {', '.join(inside)}")
    return matched


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter."""
    return ".lora_A." in name or ".lora_B." in name


def merged_state(base: nn.Module) -> dict[str, Tensor]:
    """The base's tensors as they are with the adapters added to the weights; the base stays as it is."""
    state = base.state_dict()
    found = {n.replace(".base_layer.", "."): tensor for n, tensor in state.items() if not is_adapter(n)}
    for name, module in base.named_modules():
        if hasattr(module, "lora_A"):
            delta = module.get_delta_weight("default")  # type: ignore[operator]
            weight = found[f"{name}.weight"]
            found[f"{name}.weight"] = (weight + delta.to(weight)).detach()
    return found
