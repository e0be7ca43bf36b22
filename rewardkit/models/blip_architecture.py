"""What a BLIP is built from, and the two towers of a BLIP reward, which are transformers'.

The text tower is a BERT whose layers look at the prompt's tokens (both ways) and then at the image's (cross-attention).
BLIP is arXiv 2201.12086; its weights and ImageReward's use ``layer_norm_eps`` 1e-6 in the image tower and 12 heads in
the text tower, which are not the defaults of transformers' configuration classes, so every number is written out here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from rewardkit.errors import UserError

OPEN_CLIP = "open_clip"
"""The tokenizer that open_clip ships: needs no files."""

_VISION: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
}
_TEXT: dict[str, Any] = {
    "vocab_size": 30524,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "pad_token_id": 0,
}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}

ARCHITECTURES: dict[str, dict[str, dict[str, Any]]] = {
    "blip-base": {"vision_config": _VISION, "text_config": _TEXT},
    "blip-large": {"vision_config": {**_VISION, **_LARGE}, "text_config": _TEXT},
}
"""BLIP's two sizes (``configs/bert_config.json``, ``models/blip.py`` of salesforce/BLIP). ImageReward is the large."""


@dataclass(frozen=True, slots=True)
class BlipArchitecture:
    """What the towers are built from.

    Attributes:
        name: ``blip-large``, or the stem of the JSON file.
        vision: transformers' ``BlipVisionConfig`` as plain values, every one of ``ARCHITECTURES``' keys.
        text: transformers' ``BlipTextConfig``, likewise.
        tokenizer: ``open_clip``, a transformers tokenizer's folder, or its name on the hub.
    """

    name: str
    vision: dict[str, Any]
    text: dict[str, Any]
    tokenizer: str = "bert-base-uncased"

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        return int(self.vision["image_size"])


def read_blip_architecture(
    source: str | Path | Mapping[str, Any], *, name: str | None = None, image_size: int | None = None
) -> BlipArchitecture:
    """The architecture behind a name or a JSON file.

    Args:
        source: One of ``ARCHITECTURES``; the path of a JSON file with ``vision_config``, ``text_config`` and optionally
            ``tokenizer`` (a path there is taken from the file's folder); or such a map. Keys that are left out are
            those of ``blip-base``.
        name: What to call it. Default: the name, or the file's stem.
        image_size: Side of the input in pixels, where it shall differ.

    Raises:
        UserError: There is no such name or file, or it is no BLIP configuration.
    """
    folder = None
    if isinstance(source, Mapping):
        content, found = dict(source), "custom"
    elif str(source) in ARCHITECTURES:
        content, found = dict(ARCHITECTURES[str(source)]), str(source)
    elif str(source).endswith(".json"):
        path = Path(source)
        content, found, folder = _read_json(path), path.stem, path.resolve().parent
    else:
        near = get_close_matches(str(source), ARCHITECTURES, n=1, cutoff=0.0)[0]
        raise UserError(
            f"there is no BLIP architecture {str(source)!r} (the nearest is {near}); with model.kind=blip, "
            f"model.architecture is {', '.join(ARCHITECTURES)}, or the path of a JSON configuration (ending in .json)"
        )
    name = name or found
    vision = _section(name, content, "vision_config", _VISION)
    text = _section(name, content, "text_config", _TEXT)
    if image_size is not None:
        vision["image_size"] = image_size
    if vision["image_size"] % vision["patch_size"]:
        raise UserError(f"{name}: patches of {vision['patch_size']} px do not fill {vision['image_size']} px")
    tokenizer = str(content.get("tokenizer", "bert-base-uncased"))
    if folder is not None and (folder / tokenizer).is_dir():
        tokenizer = str(folder / tokenizer)
    return BlipArchitecture(name, vision, text, tokenizer)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the architecture {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"the architecture {path} is not valid JSON: {error}") from None
    if not isinstance(content, dict) or not ({"vision_config", "text_config"} <= set(content)):
        hint = "; it is an open_clip configuration (model.kind=clip)" if "embed_dim" in content else ""
        raise UserError(f"the architecture {path} lacks vision_config or text_config, so it is no BLIP{hint}")
    return content


def _section(name: str, content: Mapping[str, Any], key: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """The known keys of one tower; what transformers adds to a saved configuration is not kept."""
    given = dict(content.get(key) or {})
    unknown = [k for k in given if k not in known and k not in _OF_TRANSFORMERS]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1, cutoff=0.0)[0]
        raise UserError(f"{name}: {key} has no key {unknown[0]!r}; the nearest is {near}")
    return {**known, **{k: value for k, value in given.items() if k in known}}


_OF_TRANSFORMERS = (
    *("architectures", "bos_token_id", "dtype", "encoder_hidden_size", "eos_token_id", "is_decoder", "label_smoothing"),
    *("model_type", "num_channels", "projection_dim", "sep_token_id", "tie_word_embeddings", "torch_dtype"),
    *("transformers_version", "use_cache"),
)
"""Keys that a saved transformers configuration also has, and that say nothing about a reward's towers."""


class BlipTowers(nn.Module):
    """The image tower and the text tower, under transformers' own names (``vision_model``, ``text_encoder``).

    Args:
        architecture: What to build.
        drop_path: Stochastic depth of the image tower: share of residual branches left out in training, rising linearly
            from 0 in the first block to this in the last (BLIP-large and ImageReward: 0.1).
    """

    def __init__(self, architecture: BlipArchitecture, *, drop_path: float = 0.0) -> None:
        super().__init__()
        vision = BlipVisionConfig(**architecture.vision)
        # is_decoder gives the layers their cross-attention; the mask stays that of an encoder (see ``read``).
        text = BlipTextConfig(**architecture.text, encoder_hidden_size=vision.hidden_size, is_decoder=True)
        # transformers writes BLIP's attention out by hand, and that form takes masks that are added.
        vision._attn_implementation = text._attn_implementation = "eager"
        self.vision_model = BlipVisionModel(vision)
        self.text_encoder = BlipTextModel(text, add_pooling_layer=False)
        self.width = int(text.hidden_size)
        layers = list(self.vision_model.encoder.layers)
        for number, layer in enumerate(layers):
            rate = drop_path * number / max(1, len(layers) - 1)
            if rate:
                layer.self_attn.register_forward_hook(partial(_drop_branch, rate=rate))
                layer.mlp.register_forward_hook(partial(_drop_branch, rate=rate))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised images float ``[N, 3, S, S]`` to the tokens that the text tower looks at, ``[N, T, V]``."""
        tokens: Tensor = self.vision_model(pixel_values=pixels).last_hidden_state
        return tokens

    def read(self, tokens: Tensor, used: Tensor, image: Tensor) -> Tensor:
        """Reads each text with its image; the first token's state ``[N, E]``.

        Args:
            tokens: int64 ``[N, L]``, one row for each image.
            used: bool ``[N, L]``, False where a row is padding, which then changes nothing.
            image: From ``encode_image``, ``[N, T, V]``.
        """
        states: Tensor = self.text_encoder(
            input_ids=tokens, attention_mask=used.long(), encoder_hidden_states=image, is_decoder=False
        ).last_hidden_state
        # [CLS] stands first wherever the padding is. (ImageReward's own pair trainer reads position -1 instead, its
        # inference position 0; see docs/blip.md.)
        return states[:, 0]

    def grouped_parameters(self) -> dict[str, list[tuple[str, tuple[str, ...], Literal["by_depth", "frozen"]]]]:
        """The parameters from input to head, for ``rewardkit.models.freezing``.

        Image: stem | each block but the last | last block and the final norm. Text: the embeddings, which never train
        in a tower that is being frozen | each layer, its cross-attention included.

        Returns:
            Tower to rows of the group's name, its parameters and how it is frozen.
        """
        image: dict[str, list[str]] = {}
        text: dict[str, list[str]] = {}
        last = len(self.vision_model.encoder.layers) - 1
        for name, _ in self.named_parameters():
            if name.startswith("text_encoder."):
                layer = name.removeprefix("text_encoder.encoder.layer.")
                place = "text.embeddings" if layer == name else f"text.block.{layer.split('.')[0]}"
                text.setdefault(place, []).append(name)
                continue
            layer = name.removeprefix("vision_model.encoder.layers.")
            if layer != name:
                place = f"image.block.{layer.split('.')[0]}"
            else:
                place = "image.stem" if ".embeddings." in name else f"image.block.{last}"
            image.setdefault(place, []).append(name)
        return {
            tower: [
                (place, tuple(names), "frozen" if place == "text.embeddings" else "by_depth")
                for place, names in found.items()
            ]
            for tower, found in (("image", image), ("text", text))
        }

    def checkpoint_gradients(self) -> None:
        """Recompute activations in the backward pass."""
        again: Callable[..., Any] = partial(checkpoint, use_reentrant=False)
        for layer in (*self.vision_model.encoder.layers, *self.text_encoder.encoder.layer):
            layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = again


def build_blip_towers(architecture: BlipArchitecture, *, drop_path: float = 0.0) -> BlipTowers:
    """The towers with random weights, on the default device.

    Raises:
        UserError: transformers refuses the configuration.
    """
    try:
        return BlipTowers(architecture, drop_path=drop_path)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(f"transformers cannot build the architecture {architecture.name}: {error}") from error


def _drop_branch(module: nn.Module, _: Any, output: Any, *, rate: float) -> Any:
    """Leaves a residual branch out for a share of the images (stochastic depth, arXiv 1603.09382), keeping its mean."""
    if not module.training:
        return output
    branch: Tensor = output[0] if isinstance(output, tuple) else output
    kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= rate
    branch = branch * (kept / (1.0 - rate)).to(branch.dtype)
    return (branch, *output[1:]) if isinstance(output, tuple) else branch
