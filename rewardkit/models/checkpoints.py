"""Reads weight files of others and loads them strictly: every tensor fits, or an error names those that do not.

Nothing is resized, skipped or renamed on a guess. Prefixes that wrappers leave behind are stripped by name, and the
scale of the logits is taken with and without an axis.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rewardkit.errors import CheckpointError, UserError

_WRAPPERS = ("module.", "_forward_module.")
"""Prefixes of DistributedDataParallel and DeepSpeed (Lightning)."""

_COMPILED = "_orig_mod."
"""What torch.compile puts before the names of a compiled module, at any depth."""

_NESTED = ("state_dict", "model")
"""Keys under which training scripts keep the tensors of a file."""

_SHOWN = 10
"""Names listed in a message before "and N more"."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads a ``.safetensors`` file, or a ``.pt``/``.pth``/``.bin``/``.ckpt`` file of plain tensors.

    ``HPS_v2_compressed.pt`` and ``HPS_v2.1_compressed.pt`` (hub: xswu/HPSv2) keep their tensors under ``state_dict``,
    BLIP's files (salesforce/BLIP) under ``model``.

    Returns:
        Names to tensors on the CPU, wrappers' prefixes stripped.

    Raises:
        UserError: There is no such file.
        CheckpointError: The file is damaged, holds code instead of tensors, or no tensors at all.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no weight file {path}")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and is not opened, because unpickling it could run code; "
            f"save its state_dict as .safetensors. ({_first_line(error)})"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read as weights: {_first_line(error)}") from None
    if isinstance(content, Mapping):
        content = next((content[key] for key in _NESTED if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a map of names to tensors")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"{path} holds no tensors")
    return strip_wrappers(state)


def strip_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Removes what DDP, DeepSpeed and torch.compile put before names.

    Raises:
        CheckpointError: Two tensors would get the same name.
    """
    stripped: dict[str, Tensor] = {}
    for key, value in state.items():
        name = unwrapped_name(key)
        if name in stripped:
            raise CheckpointError(f"two tensors of the file are both {name!r} once wrappers' prefixes are stripped")
        stripped[name] = value
    return stripped


def unwrapped_name(name: str) -> str:
    """A tensor's name without what DDP, DeepSpeed and torch.compile put before it."""
    name = name.replace(_COMPILED, "")
    while name.startswith(_WRAPPERS):
        name = name.removeprefix(next(wrapper for wrapper in _WRAPPERS if name.startswith(wrapper)))
    return name


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Loads ``state`` into ``module``; every name and every shape has to fit.

    Args:
        module: Receives the weights.
        state: Names to tensors, as ``read_weights`` gives them.
        source: What to call the weights in a message.

    Raises:
        CheckpointError: Lists missing, unexpected and misshapen tensors, and what architecture the weights look like.
    """
    own = module.state_dict()
    given = dict(state)
    for name in ("logit_scale", "logit_bias"):
        for key in [key for key in own if key == name or key.endswith(f".{name}")]:
            if key in given and given[key].numel() == 1:
                given[key] = given[key].reshape(own[key].shape)
    require_fit(own, given, source=source)
    module.load_state_dict(given, strict=True)


def require_fit(own: Mapping[str, Tensor], given: Mapping[str, Tensor], *, source: str) -> None:
    """Compares names and shapes of what a model has with those of a file.

    Args:
        own: The model's tensors; only names and shapes are looked at.
        given: The file's.
        source: What to call the file in a message.

    Raises:
        CheckpointError: See ``load_strictly``.
    """
    missing = [key for key in own if key not in given]
    unexpected = [key for key in given if key not in own]
    misshapen = [key for key in own if key in given and own[key].shape != given[key].shape]
    if not (missing or unexpected or misshapen):
        return
    shapes = (f"{key} is {_shape(given[key])} in the file and {_shape(own[key])} in the model" for key in misshapen)
    lines = [f"{source} does not fit the model."]
    lines += _listed("missing in the file", missing)
    lines += _listed("unexpected in the file", unexpected)
    lines += _listed("of another shape", shapes)
    file_is, model_is = describe_clip(given), describe_clip(own)
    if file_is and model_is and file_is != model_is:
        lines.append(f"The file looks like {file_is}; the model is {model_is}.")
    if misshapen and all("positional_embedding" in key for key in misshapen):
        lines.append("Positional embeddings are never resized: build the model at the file's image size and context.")
    raise CheckpointError("\n".join(lines))


def load_clip(towers: nn.Module, path: str | Path) -> None:
    """Loads open_clip weights (HPS v2, open_clip, OpenAI's layout) into open_clip towers, strictly.

    Weights of ``open_clip.CLIP`` fit ``open_clip.CustomTextCLIP`` too: the text tower's names get the prefix ``text.``.

    Raises:
        UserError: There is no such file.
        CheckpointError: See ``read_weights`` and ``load_strictly``.
    """
    state = convert_state_dict(towers, read_weights(path))
    if "positional_embedding" in state and hasattr(towers, "text"):
        state = convert_to_custom_text_state_dict(state)
    # Older transformers stored this counting row as if it were a weight.
    if "text.transformer.embeddings.position_ids" not in towers.state_dict():
        state.pop("text.transformer.embeddings.position_ids", None)
    load_strictly(towers, state, source=str(path))


def describe_clip(state: Mapping[str, Tensor]) -> str | None:
    """Says which CLIP some weights look like, as "ViT of width 1280, 32 blocks, patch 14, … (ViT-H-14)".

    Returns:
        None where the names are not those of a CLIP with a vision transformer.
    """
    state = {key.removeprefix("clip."): value for key, value in state.items()}
    if "visual.conv1.weight" not in state or "visual.proj" not in state:
        return None
    width, _, patch, _ = state["visual.conv1.weight"].shape
    blocks = _depth(state, "visual.transformer.resblocks.")
    embedding = state["visual.proj"].shape[-1]
    side = "?"
    if "visual.positional_embedding" in state:
        side = str(round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5) * patch)
    prefix = "text." if "text.token_embedding.weight" in state else ""
    text_width = state[f"{prefix}ln_final.weight"].shape[0] if f"{prefix}ln_final.weight" in state else "?"
    text_blocks = _depth(state, f"{prefix}transformer.resblocks.")
    known = [
        name
        for name in open_clip.list_models()
        if _fits(open_clip.get_model_config(name), width, blocks, patch, embedding, text_width, text_blocks)
    ]
    return (
        f"a ViT of width {width}, {blocks} blocks, patch {patch}, {side} px, embedding {embedding}, "
        f"with a text tower of width {text_width}, {text_blocks} blocks" + (f" ({known[0]})" if known else "")
    )


def _fits(config: dict[str, Any], *wanted: object) -> bool:
    vision, text = config["vision_cfg"], config["text_cfg"]
    found = (vision.get("width", 768), vision.get("layers", 12), vision.get("patch_size", 16), config["embed_dim"])
    return (*found, text.get("width", 512), text.get("layers", 12)) == wanted


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    """Number of blocks whose names start with a prefix."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _listed(title: str, names: Iterable[str]) -> list[str]:
    names = list(names)
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {title}: {', '.join(names[:_SHOWN])}{more}"]
