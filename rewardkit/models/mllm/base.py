"""What differs between the families of MLLMs: where their parts are, positions of tokens, images encoded once.

Families are told by what their modules are called, not by name of class, so that a new one that is built alike works.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from rewardkit.errors import UserError
from rewardkit.models.sharded import is_shared

VISION = ("visual", "vision_tower", "vision_model")
PROJECTOR = ("multi_modal_projector", "connector")
LANGUAGE = ("language_model", "text_model")
MERGERS = ("merger", "deepstack_merger_list")
"""A Qwen-VL's projectors, which lie inside its vision tower."""


def part(base: Any, names: tuple[str, ...]) -> tuple[str, nn.Module] | None:
    """The first child of ``base.model`` of these names, with its full name."""
    return next(((f"model.{name}", getattr(base.model, name)) for name in names if hasattr(base.model, name)), None)


def check_family(base: Any) -> None:
    """Raises ``UserError`` unless the model has a vision tower, a language model and one head over tokens."""
    named = type(base).__name__
    if not hasattr(base, "model") or not hasattr(base, "lm_head"):
        raise UserError(f"{named} is not built as an image-text-to-text model of transformers 5: no model or lm_head")
    if part(base, VISION) is None or part(base, LANGUAGE) is None or not hasattr(base.model, "get_image_features"):
        raise UserError(f"{named} has no vision tower and language model under the names that are known")


def encode_images(base: Any, images: dict[str, Tensor]) -> Any:
    """Every image through the vision tower and the projector once; what ``mm_encoder_outputs`` takes."""
    # Not every family casts pixels to the kind of number that its tower computes in.
    ready = {name: value.to(base.dtype) if value.is_floating_point() else value for name, value in images.items()}
    return base.model.get_image_features(**ready, return_dict=True)


def encoding_of(encoded: Any, index: Tensor) -> Any:
    """The encoding of images ``index`` ``[R]``, with repetitions: one for each row of tokens."""
    picked, rows = copy.copy(encoded), index.tolist()
    picked.pooler_output = tuple(encoded.pooler_output[n] for n in rows)
    deep = getattr(encoded, "deepstack_features", None)
    if deep is not None:
        picked.deepstack_features = [tuple(layer[n] for n in rows) for layer in deep]
    return picked


def token_positions(
    base: Any, ids: Tensor, mask: Tensor, types: Tensor, images: dict[str, Tensor], row_image: Tensor
) -> Tensor:
    """Positions of the tokens of full rows, whatever side they are padded on.

    Args:
        base: The model.
        ids: int64 ``[R, L]``.
        mask: int64 ``[R, L]``.
        types: ``mm_token_type_ids`` int64 ``[R, L]``.
        images: The image processor's tensors.
        row_image: int64 ``[R]``.

    Returns:
        int64 ``[R, L]``, or ``[3, R, L]`` for models that place an image's tokens in time, height and width.
    """
    if not hasattr(base.model, "get_rope_index"):
        return (mask.cumsum(dim=-1) - 1).clamp(min=0)
    positions, _ = base.model.get_rope_index(
        input_ids=ids,
        mm_token_type_ids=types,
        image_grid_thw=images["image_grid_thw"][row_image],
        attention_mask=mask,
    )
    return positions


def can_share_prefix(base: Any) -> bool:
    """Whether the rows of an image can go on from one cache: only plain attention keeps all that it has read.

    Not while layers are gathered one after the other for a backward pass (ZeRO-3, FSDP): a layer is told of that pass
    by what it returned, and a gradient that comes through the cache passes it by.
    """
    config = base.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    # The property of the model that says so has two names, and one of them warns at each call.
    checkpointing = base.training and any(getattr(part, "gradient_checkpointing", False) for part in base.modules())
    gathering = torch.is_grad_enabled() and any(is_shared(parameter) for parameter in base.parameters())
    return all(kind == "full_attention" for kind in kinds) and not checkpointing and not gathering


def cache_argument(base: Any) -> str:
    """What this transformers calls the cache: ``cache`` since 5.24, ``past_key_values`` before."""
    return "cache" if "cache" in inspect.signature(type(base.model).forward).parameters else "past_key_values"


def width_of(base: Any) -> int:
    """H, the width of the language model."""
    return int(base.config.get_text_config().hidden_size)


def gathered(values: Tensor, index: Tensor) -> Tensor:
    """``values`` ``[…, R, L]`` at places ``[R, M]`` of each row: ``[…, R, M]``; places outside give the row's ends."""
    index = index.clamp(0, values.shape[-1] - 1)
    return torch.gather(values, -1, index.expand(*values.shape[:-1], index.shape[-1]))
