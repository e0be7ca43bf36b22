"""Compiles the towers of a model in place, so that the names of its tensors stay what they are in every file."""

from __future__ import annotations

from collections.abc import Callable

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from torch import Tensor, nn

from rewardkit.errors import UserError
from rewardkit.models.blip_architecture import BlipTowers
from rewardkit.models.freezing import towers_of


def compile_towers(model: nn.Module) -> None:
    """``torch.compile`` of what takes a model's time, with free sizes: batches are ragged.

    Compiled are the image tower and the text tower's layers; what is around them (token embeddings, pooling, heads,
    losses) stays as it is. ``Module.compile`` changes no name in ``state_dict``.

    Args:
        model: A reward model.

    Raises:
        UserError: It has no towers, or this machine has no compiler that works.
    """
    parts = compiled_parts(model)
    if not parts:
        raise UserError("trainer.compile=true: this model has no towers to compile; take trainer.compile=false")
    check_compiler(next(parts[0].parameters()).device)
    for part in parts:
        part.compile(dynamic=True)


def compiled_parts(model: nn.Module) -> list[nn.Module]:
    """The modules that ``compile_towers`` compiles."""
    found = towers_of(model)
    if found is None:
        return []
    towers = found[1]
    if isinstance(towers, BlipTowers):
        return [towers.vision_model, towers.text_encoder]
    text = towers if isinstance(towers, open_clip.CLIP) else towers.text
    return [towers.visual, text if isinstance(text, HFTextEncoder) else text.transformer]  # type: ignore[list-item, union-attr]


def check_compiler(device: torch.device) -> None:
    """Compiles two lines, so that a machine without a compiler is told before the run begins.

    Raises:
        UserError: It does not work; the message says why.
    """
    try:
        compiled: Callable[[Tensor], Tensor] = torch.compile(_two_lines)
        compiled(torch.ones(3, device=device))
    except Exception as error:  # torch raises many kinds, by what is missing
        cause = error.__cause__ or error
        reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise UserError(
            f"trainer.compile=true: torch.compile does not work on this machine ({reason}). It needs a C++ compiler "
            "(g++, or the one that CXX names), and Triton on a GPU; install them, or take trainer.compile=false"
        ) from None


def _two_lines(x: Tensor) -> Tensor:
    return (x.sin() + x.cos()).sum()
