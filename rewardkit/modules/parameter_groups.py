"""Which parameters decay and which learning rate each takes: every trainable parameter in exactly one group."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

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
) -> list[dict[str, Any]]:
    """Optimiser groups of the trainable parameters; frozen ones are in none.

    Args:
        named: Names and parameters, for example ``model.named_parameters()``.
        lr: Peak learning rate of the towers.
        head_lr: Peak learning rate of parameters whose name starts with one of ``head_prefixes``.
        weight_decay: For decayed parameters; the others get 0.
        head_prefixes: What marks the dimension heads.

    Returns:
        Non-empty groups, each with ``name``, ``params``, ``lr``, ``weight_decay``, in a fixed order.
    """
    groups: dict[str, dict[str, Any]] = {}
    for part, rate in (("towers", lr), ("heads", head_lr)):
        for kind, decay in (("decayed", weight_decay), ("undecayed", 0.0)):
            name = f"{part}/{kind}"
            groups[name] = {"name": name, "params": [], "lr": rate, "weight_decay": decay}
    for name, parameter in named:
        if parameter.requires_grad:
            part = "heads" if name.startswith(head_prefixes) else "towers"
            kind = "decayed" if is_decayed(name, parameter) else "undecayed"
            groups[f"{part}/{kind}"]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]
