"""Reads BLIP weights of others into a BLIP reward, strictly: ImageReward.pt, BLIP's own files, transformers' BLIP.

Three layouts, told apart by how their names begin (docs/blip.md has the whole table):

============  ======================================================================================================
imagereward   ``blip.visual_encoder.*``, ``blip.text_encoder.*``, ``mlp.layers.*`` (ImageReward.pt, zai-org/ImageReward)
blip          ``visual_encoder.*``, ``text_encoder.*`` under ``model`` (model_large.pth and kin of salesforce/BLIP)
transformers  ``vision_model.*``, ``text_encoder.*`` (``BlipForImageTextRetrieval``: Salesforce/blip-itm-large-coco)
============  ======================================================================================================

The image tower of the first two is timm's; its query, key and value are one matrix in both, so no tensor is reshaped.
Parts that a reward has no use for are left out by name (``LEFT_OUT``); anything else has to fit, or is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rewardkit.errors import CheckpointError
from rewardkit.models.blip_architecture import BlipArchitecture, read_blip_architecture
from rewardkit.models.checkpoints import read_weights

Layout = Literal["imagereward", "blip", "transformers"]

LEFT_OUT: dict[Layout, tuple[str, ...]] = {
    "imagereward": ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids"),
    "blip": (
        "vision_proj.",
        "text_proj.",
        "itm_head.",
        "text_decoder.",
        "visual_encoder_m.",
        "vision_proj_m.",
        "text_encoder_m.",
        "text_proj_m.",
        "image_queue",
        "text_queue",
        "queue_ptr",
        "ptr_queue",
        "idx_queue",
        "temp",
        "text_encoder.embeddings.position_ids",
    ),
    "transformers": (
        "vision_proj.",
        "text_proj.",
        "itm_head.",
        "text_decoder.",
        "text_encoder.pooler.",
        "text_encoder.embeddings.position_ids",
    ),
}
"""Beginnings of the names that are left out: projections of BLIP's contrastive loss, its matching head, its decoder,
its momentum copies and queues, and the counting row that older transformers stored as if it were a weight."""

_STEM = {
    "embeddings.class_embedding": "cls_token",
    "embeddings.position_embedding": "pos_embed",
    "embeddings.patch_embedding.": "patch_embed.proj.",
    "post_layernorm.": "norm.",
}
_BLOCK = {
    "layer_norm1.": "norm1.",
    "self_attn.qkv.": "attn.qkv.",
    "self_attn.projection.": "attn.proj.",
    "layer_norm2.": "norm2.",
    "mlp.": "mlp.",
}
"""transformers' names of the image tower to timm's."""

_SHOWN = 10


def load_blip(towers: nn.Module, head: nn.Module, path: str | Path) -> Layout:
    """Loads a file of any of the three layouts into the towers, and ImageReward's head into the head.

    Returns:
        The layout that the file has. With ``blip`` and ``transformers`` the head keeps its random weights.

    Raises:
        UserError: There is no such file.
        CheckpointError: The file is of no known layout, or a tensor is missing, unexpected or of another shape.
    """
    state = read_weights(path)  # strips the prefix module. that DDP leaves, by name
    layout = layout_of(state, path)
    load_state(towers, head, state, layout=layout, source=str(path))
    return layout


def layout_of(state: Mapping[str, Tensor], source: str | Path) -> Layout:
    """Which layout the names of a file have.

    Raises:
        CheckpointError: None of the three.
    """
    if any(name.startswith("blip.visual_encoder.") for name in state):
        return "imagereward"
    if any(name.startswith("visual_encoder.") for name in state):
        return "blip"
    if any(name.startswith("vision_model.") for name in state):
        return "transformers"
    some = ", ".join(list(state)[:3])
    raise CheckpointError(
        f"{source} is no BLIP: names begin with blip.visual_encoder. (ImageReward.pt), visual_encoder. (BLIP) or "
        f"vision_model. (transformers), but here they are {some}, …"
    )


def load_state(towers: nn.Module, head: nn.Module, state: Mapping[str, Tensor], *, layout: Layout, source: str) -> None:
    """Loads named tensors; messages use the file's names.

    Raises:
        CheckpointError: Lists what is missing, unexpected or of another shape.
    """
    wanted: dict[str, tuple[str, Tensor]] = {
        file_name(name, layout): (name, tensor) for name, tensor in towers.state_dict().items()
    }
    if layout == "imagereward":
        wanted |= {f"mlp.{name}": (f"head.{name}", tensor) for name, tensor in head.state_dict().items()}
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted and not name.startswith(LEFT_OUT[layout])]
    misshapen = [
        f"{name} is {list(state[name].shape)} in the file and {list(tensor.shape)} in the model"
        for name, (_, tensor) in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if missing or unexpected or misshapen:
        lines = [f"{source} (layout {layout}) does not fit the model."]
        lines += _listed("missing in the file", missing)
        lines += _listed("unexpected in the file", unexpected)
        lines += _listed("of another shape", misshapen)
        if any(name.startswith("mlp.") for name in [*missing, *unexpected, *misshapen]):
            lines.append("ImageReward's head has one dimension and five layers: model.blip.head=mlp, one dimension.")
        if any("pos_embed" in line or "position_embedding" in line for line in misshapen):
            lines.append("Positional embeddings are never resized: build the model at the file's image size.")
        raise CheckpointError("\n".join(lines))
    own = {name: state[file] for file, (name, _) in wanted.items()}
    towers.load_state_dict({name: value for name, value in own.items() if not name.startswith("head.")}, strict=True)
    if layout == "imagereward":
        prefix = "head."
        head.load_state_dict(
            {name.removeprefix(prefix): value for name, value in own.items() if name.startswith(prefix)}, strict=True
        )


def file_name(own: str, layout: Layout) -> str:
    """The name in a file of a tower's tensor: of ``vision_model.post_layernorm.bias``, ``visual_encoder.norm.bias``."""
    if layout == "transformers":
        return own
    prefix = "blip." if layout == "imagereward" else ""
    if own.startswith("text_encoder."):
        return prefix + own
    inner = own.removeprefix("vision_model.")
    if inner.startswith("encoder.layers."):
        number, inner = inner.removeprefix("encoder.layers.").split(".", 1)
        return f"{prefix}visual_encoder.blocks.{number}.{_renamed(inner, _BLOCK)}"
    return f"{prefix}visual_encoder.{_renamed(inner, _STEM)}"


def architecture_of(
    state: Mapping[str, Tensor], *, name: str, text_config: Mapping[str, Any] | None = None
) -> BlipArchitecture:
    """The architecture that an ImageReward.pt's shapes tell.

    Args:
        state: Tensors in the layout ``imagereward``.
        name: What to call it.
        text_config: What shapes cannot tell of the text tower (``num_attention_heads``, ``layer_norm_eps``, dropout),
            as ImageReward's ``med_config.json`` has it. Default: BLIP's, with heads of 64.

    Raises:
        CheckpointError: A tensor that the shapes are read from is missing.
    """
    image, text = "blip.visual_encoder.", "blip.text_encoder."
    needed = {
        "patch": f"{image}patch_embed.proj.weight",
        "places": f"{image}pos_embed",
        "words": f"{text}embeddings.word_embeddings.weight",
        "positions": f"{text}embeddings.position_embeddings.weight",
        "image_inner": f"{image}blocks.0.mlp.fc1.weight",
        "text_inner": f"{text}encoder.layer.0.intermediate.dense.weight",
    }
    missing = [key for key in needed.values() if key not in state]
    if missing:
        raise CheckpointError(f"{name} does not fit ImageReward's layout: it lacks {', '.join(missing)}")
    shape = {key: state[place].shape for key, place in needed.items()}
    width, patch, text_width = shape["patch"][0], shape["patch"][2], shape["words"][1]
    given = {key: value for key, value in (text_config or {}).items() if key in _TOLD}
    return read_blip_architecture(
        {
            "vision_config": {
                "hidden_size": width,
                "intermediate_size": shape["image_inner"][0],
                "num_hidden_layers": _depth(state, f"{image}blocks."),
                "num_attention_heads": max(1, width // 64),
                "image_size": patch * math.isqrt(shape["places"][1] - 1),
                "patch_size": patch,
            },
            "text_config": {
                "vocab_size": shape["words"][0],
                "hidden_size": text_width,
                "intermediate_size": shape["text_inner"][0],
                "num_hidden_layers": _depth(state, f"{text}encoder.layer."),
                "num_attention_heads": max(1, text_width // 64),
                "max_position_embeddings": shape["positions"][0],
                **given,
            },
        },
        name=name,
    )


_TOLD = ("num_attention_heads", "layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob", "hidden_act")


def _renamed(inner: str, names: Mapping[str, str]) -> str:
    own = next(own for own in names if inner.startswith(own))
    return names[own] + inner.removeprefix(own)


def _depth(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _listed(title: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {title}: {', '.join(names[:_SHOWN])}{more}"] if names else []
