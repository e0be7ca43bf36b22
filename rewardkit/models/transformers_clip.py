"""open_clip's standard vision-transformer CLIP in the names and shapes of transformers' ``CLIPModel``."""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from open_clip.transformer import (
    QuickGELU,
    ResidualAttentionBlock,
    TextTransformer,
    VisionTransformer,
)
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from rewardkit.data.images import ImageTransform
from rewardkit.errors import UserError
from rewardkit.models.clip import CLIPReward
from rewardkit.models.clip_vocabulary import CLIP_VOCABULARY

_ACTIVATIONS: dict[type, str] = {nn.GELU: "gelu", QuickGELU: "quick_gelu"}
"""open_clip's activations and transformers' names for them."""


def to_transformers(towers: Any, model: CLIPReward) -> CLIPModel:
    """A ``CLIPModel`` with the same features.

    Args:
        towers: ``open_clip.CLIP`` or ``open_clip.CustomTextCLIP``.
        model: The reward they belong to.

    Raises:
        UserError: transformers' CLIP cannot express the towers; the message says why.
    """
    inside = isinstance(towers, open_clip.CLIP)
    text = towers if inside else towers.text
    reasons = [*_image_reasons(towers.visual), *_text_reasons(text, inside, model)]
    if reasons:
        raise UserError(
            f"transformers' CLIPModel cannot express {model.architecture.name}: {'; '.join(reasons)}. "
            "Export to=open_clip or to=bundle instead."
        )
    visual = towers.visual
    image_state, image_config = _blocks(visual.transformer, "vision_model", visual.ln_post)
    text_state, text_config = _blocks(text.transformer, "text_model", text.ln_final)
    width = int(visual.proj.shape[1])
    image_config |= {"image_size": int(visual.image_size[0]), "patch_size": int(visual.patch_size[0])}
    text_config |= {
        "vocab_size": int(text.vocab_size),
        "max_position_embeddings": int(text.context_length),
        "bos_token_id": CLIP_VOCABULARY.start,
        "eos_token_id": CLIP_VOCABULARY.end,
        "pad_token_id": CLIP_VOCABULARY.end,
    }
    config = CLIPConfig(
        projection_dim=width,
        vision_config={**image_config, "projection_dim": width},
        text_config={**text_config, "projection_dim": width},
    )
    state = {**image_state, **text_state, **_around_the_blocks(visual, text), "logit_scale": towers.logit_scale}
    state["logit_scale"] = state["logit_scale"].reshape(())
    with torch.random.fork_rng(devices=[]):
        converted = CLIPModel(config)
    converted.load_state_dict({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    return converted.eval()  # type: ignore[no-any-return]


def _around_the_blocks(visual: Any, text: Any) -> dict[str, Tensor]:
    """Embeddings, outer norms and projections of both towers."""
    state = {
        "visual_projection.weight": visual.proj.T,
        "text_projection.weight": text.text_projection.T,
        "vision_model.embeddings.class_embedding": visual.class_embedding,
        "vision_model.embeddings.patch_embedding.weight": visual.conv1.weight,
        "vision_model.embeddings.position_embedding.weight": visual.positional_embedding,
        "text_model.embeddings.token_embedding.weight": text.token_embedding.weight,
        "text_model.embeddings.position_embedding.weight": text.positional_embedding,
    }
    norms = {
        "vision_model.pre_layrnorm": visual.ln_pre,
        "vision_model.post_layernorm": visual.ln_post,
        "text_model.final_layer_norm": text.ln_final,
    }
    for name, norm in norms.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = norm.weight, norm.bias
    return state


def transformers_tokenizer(model: CLIPReward) -> CLIPTokenizer:
    """The CLIP tokenizer that open_clip ships, as transformers writes it: the same ids for the same words."""
    ranks = CLIP_VOCABULARY.ranks
    merges = [f"{first} {second}" for first, second in sorted(ranks, key=ranks.__getitem__)]
    return CLIPTokenizer(
        vocab=CLIP_VOCABULARY.tokens(),
        merges=[tuple(merge.split()) for merge in merges],
        model_max_length=model.tokenizer.context_length,
    )


def processor_config(transform: ImageTransform) -> dict[str, Any]:
    """``preprocessor_config.json`` of a ``CLIPImageProcessor``.

    That processor cannot pad: with ``resize: pad`` it only normalises, and images have to come padded to the square.
    """
    square = {"height": transform.size, "width": transform.size}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": transform.resize != "pad",
        "size": {"shortest_edge": transform.size} if transform.resize == "crop" else square,
        "resample": 2 if transform.interpolation == "bilinear" else 3,
        "do_center_crop": transform.resize == "crop",
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(transform.mean),
        "image_std": list(transform.std),
    }


def _image_reasons(visual: Any) -> list[str]:
    if not isinstance(visual, VisionTransformer):
        return [f"its image tower is a {type(visual).__name__}, not a vision transformer"]
    reasons = _block_reasons(visual.transformer, "image")
    if visual.attn_pool is not None or visual.pool_type != "tok":
        reasons.append("its image tower does not pool at the class token")
    if not isinstance(visual.ln_pre, nn.LayerNorm):
        reasons.append("its image tower has no norm before the blocks")
    if visual.proj is None:
        reasons.append("its image tower has no projection")
    return reasons


def _text_reasons(text: Any, inside: bool, model: CLIPReward) -> list[str]:
    if not inside and not isinstance(text, TextTransformer):
        return [f"its text tower is a {type(text).__name__}, not open_clip's text transformer"]
    reasons = _block_reasons(text.transformer, "text")
    pool = text.text_pool_type if inside else text.pool_type
    if text.attn_mask is None or getattr(text, "cls_emb", None) is not None or pool != "argmax":
        reasons.append("its text tower is not causal or does not pool at the end token")
    if not isinstance(text.text_projection, nn.Parameter):
        reasons.append("its text projection is not a plain matrix")
    if model.architecture.config["text_cfg"].get("hf_tokenizer_name"):
        reasons.append("its tokenizer is not CLIP's")
    return reasons


def _block_reasons(transformer: Any, tower: str) -> list[str]:
    blocks = list(transformer.resblocks)
    if not all(isinstance(block, ResidualAttentionBlock) for block in blocks):
        return [f"the blocks of its {tower} tower are not CLIP's"]
    reasons = []
    if any(not isinstance(block.ls_1, nn.Identity) for block in blocks):
        reasons.append(f"the blocks of its {tower} tower have layer scales")
    if any(type(block.mlp.gelu) not in _ACTIVATIONS for block in blocks):
        reasons.append(f"the activation of its {tower} tower is unknown")
    elif any(getattr(block.mlp.gelu, "approximate", "none") != "none" for block in blocks):
        reasons.append(f"the activation of its {tower} tower is an approximation")
    return reasons


def _blocks(transformer: Any, prefix: str, norm: nn.LayerNorm) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and configuration of a stack of blocks."""
    state: dict[str, Tensor] = {}
    for n, block in enumerate(transformer.resblocks):
        layer = f"{prefix}.encoder.layers.{n}"
        weights, biases = block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3)
        for name, weight, bias in zip("qkv", weights, biases, strict=True):
            state[f"{layer}.self_attn.{name}_proj.weight"] = weight
            state[f"{layer}.self_attn.{name}_proj.bias"] = bias
        for theirs, ours in (
            ("self_attn.out_proj", block.attn.out_proj),
            ("layer_norm1", block.ln_1),
            ("layer_norm2", block.ln_2),
            ("mlp.fc1", block.mlp.c_fc),
            ("mlp.fc2", block.mlp.c_proj),
        ):
            state[f"{layer}.{theirs}.weight"] = ours.weight
            state[f"{layer}.{theirs}.bias"] = ours.bias
    first = transformer.resblocks[0]
    return state, {
        "hidden_size": int(transformer.width),
        "num_hidden_layers": len(transformer.resblocks),
        "num_attention_heads": int(first.attn.num_heads),
        "intermediate_size": int(first.mlp.c_fc.out_features),
        "hidden_act": _ACTIVATIONS[type(first.mlp.gelu)],
        "layer_norm_eps": float(norm.eps),
    }
