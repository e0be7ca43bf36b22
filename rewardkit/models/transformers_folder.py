"""Reads a folder in transformers' CLIP layout, as PickScore is published, into open_clip's names.

::

    config.json                the towers (model_type clip)
    model.safetensors          or pytorch_model.bin, each also in several files with an index; CLIPModel's names
    preprocessor_config.json   what images go through; without it, CLIP's own
    tokenizer files            if any, they must be CLIP's own

What open_clip's vision transformer CLIP cannot express is refused. ``transformers_clip.py`` writes the same layout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.architecture import Architecture
from rewardkit.models.checkpoints import read_weights, require_fit
from rewardkit.models.clip_vocabulary import CLIP_VOCABULARY, OLD_END

CONFIG = "config.json"

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""What transformers calls weights, the preferred one first; with ``.index.json`` they are in several files."""

_COUNTING = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
"""Rows 0, 1, 2, … that older versions stored as if they were weights."""

_RESAMPLE = {2: "bilinear", 3: "bicubic"}
"""PIL's numbers of interpolations."""

_PROBES = ["a cat", "An Oil-painting of 12 ships; 4K!!", "it's she'll, naïve 日本語"]


def read_transformers_architecture(folder: Path) -> Architecture:
    """The towers and the preprocessing of a folder.

    Raises:
        UserError: The folder holds another kind of model, or a CLIP that open_clip's towers cannot express.
    """
    raw = _read_json(folder / CONFIG)
    kind = raw.get("model_type")
    if kind != "clip":
        raise UserError(
            f"{folder / CONFIG} is of model_type {kind!r}; only transformers' CLIPModel (model_type 'clip': two plain "
            "transformers, as CLIP and PickScore have) can be read as a reward. ResNet, timm and SigLIP towers can be "
            "built through open_clip: model.architecture and model.pretrained"
        )
    try:
        config = CLIPConfig.from_dict(raw)
    except Exception as error:  # transformers' own checks raise many kinds
        raise UserError(f"{folder / CONFIG} is no valid CLIP configuration: {_first_line(error)}") from None
    reasons = _reasons(config)
    if reasons:
        raise UserError(f"{folder} cannot be read as a CLIP reward: {'; '.join(reasons)}")
    _check_tokenizer(folder)
    vision, text = config.vision_config, config.text_config
    model = {
        "embed_dim": int(config.projection_dim),
        "quick_gelu": vision.hidden_act == "quick_gelu",
        "vision_cfg": {
            **_blocks(vision),
            "image_size": int(vision.image_size),
            "patch_size": int(vision.patch_size),
            "head_width": int(vision.hidden_size) // int(vision.num_attention_heads),
        },
        "text_cfg": {
            **_blocks(text),
            "heads": int(text.num_attention_heads),
            "context_length": int(text.max_position_embeddings),
            "vocab_size": int(text.vocab_size),
        },
    }
    return Architecture(_name_of(folder), model, _preprocessing(folder, int(vision.image_size)))


def read_transformers_state(folder: Path) -> dict[str, Tensor]:
    """The folder's weights under open_clip's names, checked against its configuration.

    Raises:
        UserError: There is no weight file.
        CheckpointError: A tensor is missing, unexpected or of another shape; the message has transformers' names.
    """
    config = CLIPConfig.from_dict(_read_json(folder / CONFIG))
    source, state = _read_state(folder)
    with torch.device("meta"):
        own = CLIPModel(config).state_dict()
    given = {name: tensor for name, tensor in state.items() if name not in _COUNTING}
    if given.get("logit_scale") is not None and given["logit_scale"].numel() == 1:
        given["logit_scale"] = given["logit_scale"].reshape(())
    require_fit({name: tensor for name, tensor in own.items() if name not in _COUNTING}, given, source=source)
    return _to_open_clip(given, config)


def _read_state(folder: Path) -> tuple[str, dict[str, Tensor]]:
    """What to call the weights, and the weights under transformers' names."""
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return str(folder / name), read_weights(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            state: dict[str, Tensor] = {}
            for part in sorted(set(_read_json(index)["weight_map"].values())):
                state |= read_weights(folder / part)
            return str(index), state
    raise UserError(f"{folder} has no weights: neither {' nor '.join(_WEIGHTS)}")


def _to_open_clip(state: Mapping[str, Tensor], config: CLIPConfig) -> dict[str, Tensor]:
    """The names and shapes of ``open_clip.CLIP``: the opposite of ``transformers_clip.to_transformers``."""
    converted = {
        "logit_scale": state["logit_scale"],
        "visual.proj": state["visual_projection.weight"].T,
        "text_projection": state["text_projection.weight"].T,
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    for tower, prefix, blocks in (
        ("visual.transformer", "vision_model", config.vision_config.num_hidden_layers),
        ("transformer", "text_model", config.text_config.num_hidden_layers),
    ):
        for n in range(blocks):
            ours, theirs = f"{tower}.resblocks.{n}", f"{prefix}.encoder.layers.{n}"
            for kind in ("weight", "bias"):
                rows = [state[f"{theirs}.self_attn.{name}_proj.{kind}"] for name in "qkv"]
                converted[f"{ours}.attn.in_proj_{kind}"] = torch.cat(rows)
            norms |= {
                f"{ours}.attn.out_proj": f"{theirs}.self_attn.out_proj",
                f"{ours}.ln_1": f"{theirs}.layer_norm1",
                f"{ours}.ln_2": f"{theirs}.layer_norm2",
                f"{ours}.mlp.c_fc": f"{theirs}.mlp.fc1",
                f"{ours}.mlp.c_proj": f"{theirs}.mlp.fc2",
            }
    for ours, theirs in norms.items():
        for kind in ("weight", "bias"):
            converted[f"{ours}.{kind}"] = state[f"{theirs}.{kind}"]
    return converted


def _blocks(tower: Any) -> dict[str, Any]:
    """What both towers' configurations say of their blocks, in open_clip's words."""
    width, inner = int(tower.hidden_size), int(tower.intermediate_size)
    ratio = inner / width
    if int(width * ratio) != inner:  # open_clip rounds down
        ratio = (inner + 0.5) / width
    said: dict[str, Any] = {"width": width, "layers": int(tower.num_hidden_layers), "mlp_ratio": ratio}
    if tower.layer_norm_eps != 1e-5:
        said["norm_kwargs"] = {"eps": float(tower.layer_norm_eps)}
    return said


def _reasons(config: CLIPConfig) -> list[str]:
    """Why open_clip's towers cannot be this CLIP; empty where they can."""
    vision, text = config.vision_config, config.text_config
    reasons = []
    acts = {vision.hidden_act, text.hidden_act}
    if len(acts) > 1:
        reasons.append(f"its towers have two activations ({vision.hidden_act} and {text.hidden_act})")
    elif not acts <= {"gelu", "quick_gelu"}:
        reasons.append(f"its activation is {vision.hidden_act}, and only gelu and quick_gelu are known")
    if int(vision.num_channels) != 3:
        reasons.append(f"its images have {vision.num_channels} channels, not 3")
    if int(text.vocab_size) < len(CLIP_VOCABULARY.tokens()):
        reasons.append(
            f"its text tower knows {text.vocab_size} tokens, and CLIP's tokenizer has {len(CLIP_VOCABULARY.tokens())}"
        )
    # transformers reads the end token's place off the largest id where the configuration says 2, as old ones do.
    if text.eos_token_id not in (OLD_END, CLIP_VOCABULARY.end):
        reasons.append(
            f"its text tower pools at token {text.eos_token_id}, and the end token of CLIP's tokenizer is "
            f"{CLIP_VOCABULARY.end}"
        )
    return reasons


def _check_tokenizer(folder: Path) -> None:
    """Refuses a tokenizer that is not CLIP's own; a folder without one is taken to mean CLIP's."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return
    try:
        theirs = CLIPTokenizer.from_pretrained(folder)
    except Exception as error:  # transformers and tokenizers raise many kinds
        raise UserError(f"the tokenizer in {folder} cannot be read: {_first_line(error)}") from None
    ours = CLIP_VOCABULARY.tokens()
    found = theirs.get_vocab()
    different = sum(found.get(token) != index for token, index in ours.items())
    if different or [theirs(text)["input_ids"] for text in _PROBES] != [CLIP_VOCABULARY.ids(text) for text in _PROBES]:
        raise UserError(
            f"the tokenizer in {folder} is not CLIP's: {different} of its {len(ours)} tokens have another number or "
            "are missing" + ("" if different else ", but it cuts texts into other tokens")
        )


def _preprocessing(folder: Path, side: int) -> dict[str, Any]:
    """``preprocessor_config.json`` in the words of open_clip's ``preprocess_cfg``.

    Images that are not resized (``do_resize`` false) have to come at the towers' size, or padded to a square of it;
    padding does that for those that do not.

    Raises:
        UserError: What it does to images has no name here.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {"mean": list(OPENAI_DATASET_MEAN), "std": list(OPENAI_DATASET_STD), "resize_mode": "shortest"}
    said = _read_json(path)
    resizes, crops = said.get("do_resize", True), said.get("do_center_crop", True)
    size, crop = _sides(said.get("size", side)), _sides(said.get("crop_size", side))
    if not resizes:
        mode = "longest"
    elif crops and len(size) == 1 and set(crop) == set(size):  # an older crop_size is one number
        mode = "shortest"
    elif size == [side] * 2:
        mode = "squash"
    else:
        mode = ""
    if not mode or (resizes and size[0] != side) or said.get("resample", 3) not in _RESAMPLE:
        raise UserError(
            f"{path}: no transform resizes to {said.get('size')}, crops to {said.get('crop_size') if crops else None}, "
            f"with resample {said.get('resample', 3)}, for towers of {side} px; those that there are fit the shortest "
            "side and crop the centre, fit both sides, or pad, bilinear (2) or bicubic (3)"
        )
    if not (said.get("do_rescale", True) and said.get("do_normalize", True)):
        raise UserError(f"{path}: do_rescale or do_normalize is false, and rewardkit always does both")
    return {
        "mean": list(said.get("image_mean", OPENAI_DATASET_MEAN)),
        "std": list(said.get("image_std", OPENAI_DATASET_STD)),
        "interpolation": _RESAMPLE[said.get("resample", 3)],
        "resize_mode": mode,
    }


def _sides(size: Any) -> list[int]:
    """One number where it is the shortest side's, two where it is height and width."""
    if isinstance(size, Mapping):
        return [int(size["shortest_edge"])] if "shortest_edge" in size else [int(size["height"]), int(size["width"])]
    return [int(size)]


def _name_of(folder: Path) -> str:
    return folder.resolve().name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is a {type(content).__name__}, not an object")
    return content


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
