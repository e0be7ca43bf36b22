"""Which parameters decay and which learning rate each takes: every trainable parameter in exactly one group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from rewardkit.models.freezing import groups_of_model, rate_factors, towers_of
from rewardkit.models.mllm.groups import part_factors

OBJECTIVE = "objective"
"""What the names of the objective's own parameters begin with (tie thresholds, cut points)."""

_UNDECAYED = re.compile(r"(^|[._])(bn|ln|norm|bias|logit_scale)")
"""HPS v2 (``src/training/main.py``) leaves out names that contain bn, ln, bias or logit_scale; ``norm`` is ours, for
towers of other libraries. Matched at the start of a word of the name, so that ``kernel`` is not taken for an ``ln``."""


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: at least 2 axes, and no normalisation, bias or logit scale by name.

    For ViT-H-14 frozen as published this gives 122 decayed and 245 undecayed tensors.
    """
    return parameter.ndim >= 2 and not _UNDECAYED.search(name)


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    *,
    lr: float,
    head_lr: float,
    weight_decay: float,
    head_prefixes: tuple[str, ...] = ("head.",),
    factors: Mapping[str, float] | None = None,
    layers: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Optimiser groups of the trainable parameters; frozen ones are in none, each other one in exactly one.

    Args:
        named: Names and parameters, for example ``model.named_parameters()``; those of the objective begin with
            ``objective.``.
        lr: Peak learning rate of the towers.
        head_lr: Peak learning rate of the objective's parameters, which never decay, and of those whose name starts
            with one of ``head_prefixes``.
        weight_decay: For decayed parameters; the others get 0.
        head_prefixes: What marks the dimension heads.
        factors: Name of a layer group to the factor of its rate; a layer with another factor than 1 gets optimiser
            groups of its own.
        layers: Name of a parameter to its layer group.

    Returns:
        Non-empty groups, each with ``name``, ``params``, ``lr``, ``weight_decay``, in a fixed order: towers at the full
        rate, heads, objective, then layers from head to input.
    """
    factors, layers = factors or {}, layers or {}
    groups: dict[str, dict[str, Any]] = {}

    def add(part: str, rate: float) -> None:
        for kind, decay in (("decayed", weight_decay), ("undecayed", 0.0)):
            name = f"{part}/{kind}"
            groups[name] = {"name": name, "params": [], "lr": rate, "weight_decay": decay}

    add("towers", lr)
    add("heads", head_lr)
    add(OBJECTIVE, head_lr)
    slowed = [layer for layer, factor in factors.items() if factor != 1.0]
    for layer in reversed(slowed):
        add(layer, lr * factors[layer])
    seen: set[int] = set()
    for name, parameter in named:
        if not parameter.requires_grad or id(parameter) in seen:  # a tied parameter goes where it is met first
            continue
        seen.add(id(parameter))
        kind = "decayed" if is_decayed(name, parameter) else "undecayed"
        if name.startswith(f"{OBJECTIVE}."):
            part, kind = OBJECTIVE, "undecayed"
        elif name.startswith(head_prefixes):
            part = "heads"
        else:
            layer = layers.get(name, "")
            part = layer if factors.get(layer, 1.0) != 1.0 else "towers"
        groups[f"{part}/{kind}"]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def head_prefixes(model: nn.Module) -> tuple[str, ...]:
    """What the names of a reward model's heads begin with: as it says itself, else all children but the towers."""
    told: tuple[str, ...] | None = getattr(model, "head_prefixes", None)
    if told is not None:
        return told
    found = towers_of(model)
    return tuple(f"{name}." for name, _ in model.named_children() if found is None or name != found[0])


def model_parameter_groups(
    model: nn.Module,
    objective: nn.Module,
    *,
    lr: float,
    head_lr: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    vision_factor: float = 1.0,
    projector_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """``parameter_groups`` of a reward model and its objective, with learning rates by layer and by part.

    Args:
        model: The reward.
        objective: With parameters of its own, or none.
        lr: See ``parameter_groups``.
        head_lr: Likewise.
        weight_decay: Likewise.
        layer_decay: See ``rate_factors``.
        vision_factor: Of an evaluator: factor of the rate of its vision tower.
        projector_factor: Likewise of its projector.

    Raises:
        UserError: ``layer_decay`` is not 1, and the layers of a tower are not known.
    """
    named = [*model.named_parameters(), *objective.named_parameters(prefix=OBJECTIVE)]
    factors, layers = layer_rates(
        model, layer_decay=layer_decay, vision_factor=vision_factor, projector_factor=projector_factor
    )
    return parameter_groups(
        named,
        lr=lr,
        head_lr=head_lr,
        weight_decay=weight_decay,
        head_prefixes=head_prefixes(model),
        factors=factors,
        layers=layers,
    )


def layer_rates(
    model: nn.Module, *, layer_decay: float = 1.0, vision_factor: float = 1.0, projector_factor: float = 1.0
) -> tuple[dict[str, float], dict[str, str]]:
    """Name of a layer group to the factor of its learning rate, and name of a parameter to its layer group.

    Raises:
        UserError: A factor is not 1, and the layers of a tower are not known.
    """
    if layer_decay == vision_factor == projector_factor == 1.0:
        return {}, {}
    groups = groups_of_model(model)
    factors = rate_factors(groups, layer_decay)
    if vision_factor != 1.0 or projector_factor != 1.0:
        parts = part_factors(groups, vision=vision_factor, projector=projector_factor)
        factors = {name: factor * parts[name] for name, factor in factors.items()}
    return factors, {name: group.name for tower in groups.values() for group in tower for name in group.parameters}
