"""ImageReward written out by hand in plain torch, under the names of ImageReward.pt: what our BLIP is compared with.

Nothing here is shared with rewardkit or with transformers' BLIP. Sources: salesforce/BLIP ``models/vit.py`` and
``models/med.py`` (a BERT whose layers have a cross-attention behind the self-attention), zai-org/ImageReward
``ImageReward/ImageReward.py``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]

HEAD_WIDTH = 16
"""Width of an attention head in the tests' small model."""


def published_state(
    *,
    image_width: int = 32,
    text_width: int = 32,
    image_blocks: int = 2,
    text_layers: int = 2,
    patch: int = 8,
    side: int = 16,
    words: int = 20,
    positions: int = 24,
    seed: int = 0,
) -> State:
    """Random weights of a small ImageReward, with all tensors that the published file has."""
    draw = torch.Generator().manual_seed(seed)
    state: State = {}

    def normal(name: str, *shape: int, std: float = 0.3, mean: float = 0.0) -> None:
        state[name] = mean + std * torch.randn(*shape, generator=draw)

    def linear(name: str, inputs: int, outputs: int) -> None:
        normal(f"{name}.weight", outputs, inputs, std=1.0 / math.sqrt(inputs))
        normal(f"{name}.bias", outputs, std=0.1)

    def norm(name: str, width: int) -> None:
        normal(f"{name}.weight", width, std=0.2, mean=1.0)
        normal(f"{name}.bias", width, std=0.1)

    image, text = "blip.visual_encoder.", "blip.text_encoder."
    normal(f"{image}cls_token", 1, 1, image_width)
    normal(f"{image}pos_embed", 1, (side // patch) ** 2 + 1, image_width)
    normal(f"{image}patch_embed.proj.weight", image_width, 3, patch, patch, std=0.05)
    normal(f"{image}patch_embed.proj.bias", image_width)
    for n in range(image_blocks):
        block = f"{image}blocks.{n}."
        norm(f"{block}norm1", image_width)
        linear(f"{block}attn.qkv", image_width, 3 * image_width)
        linear(f"{block}attn.proj", image_width, image_width)
        norm(f"{block}norm2", image_width)
        linear(f"{block}mlp.fc1", image_width, 4 * image_width)
        linear(f"{block}mlp.fc2", 4 * image_width, image_width)
    norm(f"{image}norm", image_width)
    state[f"{text}embeddings.position_ids"] = torch.arange(positions).expand(1, -1).clone()
    normal(f"{text}embeddings.word_embeddings.weight", words, text_width)
    normal(f"{text}embeddings.position_embeddings.weight", positions, text_width)
    norm(f"{text}embeddings.LayerNorm", text_width)
    for n in range(text_layers):
        layer = f"{text}encoder.layer.{n}."
        for name, keys in (("attention", text_width), ("crossattention", image_width)):
            linear(f"{layer}{name}.self.query", text_width, text_width)
            linear(f"{layer}{name}.self.key", keys, text_width)
            linear(f"{layer}{name}.self.value", keys, text_width)
            linear(f"{layer}{name}.output.dense", text_width, text_width)
            norm(f"{layer}{name}.output.LayerNorm", text_width)
        linear(f"{layer}intermediate.dense", text_width, 4 * text_width)
        linear(f"{layer}output.dense", 4 * text_width, text_width)
        norm(f"{layer}output.LayerNorm", text_width)
    linear("blip.vision_proj", image_width, 8)
    linear("blip.text_proj", text_width, 8)
    widths = (text_width, 1024, 128, 64, 16, 1)
    for name, inputs, outputs in zip((0, 2, 4, 6, 7), widths, widths[1:], strict=False):
        linear(f"mlp.layers.{name}", inputs, outputs)
    return state


def published_rewards(state: State, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Raw rewards ``[N]`` of normalised images ``[N, 3, S, S]`` under token rows ``[N, L]`` with their mask."""
    image = _image(state, pixels)
    states = _text(state, tokens, mask, image)
    x = states[:, 0]
    for name in (0, 2, 4, 6, 7):
        x = _linear(state, f"mlp.layers.{name}", x)
    return x.squeeze(1)


def _image(state: State, pixels: Tensor) -> Tensor:
    p = "blip.visual_encoder."
    weight = state[f"{p}patch_embed.proj.weight"]
    x = F.conv2d(pixels, weight, state[f"{p}patch_embed.proj.bias"], stride=weight.shape[-1]).flatten(2).mT
    x = torch.cat([state[f"{p}cls_token"].expand(len(x), -1, -1), x], dim=1) + state[f"{p}pos_embed"]
    n = 0
    while f"{p}blocks.{n}.norm1.weight" in state:
        b = f"{p}blocks.{n}."
        q, k, v = _linear(state, f"{b}attn.qkv", _norm(state, f"{b}norm1", x, 1e-6)).chunk(3, dim=-1)
        x = x + _linear(state, f"{b}attn.proj", _attend(q, k, v, None))
        hidden = F.gelu(_linear(state, f"{b}mlp.fc1", _norm(state, f"{b}norm2", x, 1e-6)))
        x = x + _linear(state, f"{b}mlp.fc2", hidden)
        n += 1
    return _norm(state, f"{p}norm", x, 1e-6)


def _text(state: State, tokens: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    p = "blip.text_encoder."
    places = state[f"{p}embeddings.position_embeddings.weight"][: tokens.shape[1]]
    x = _norm(state, f"{p}embeddings.LayerNorm", state[f"{p}embeddings.word_embeddings.weight"][tokens] + places, 1e-12)
    n = 0
    while f"{p}encoder.layer.{n}.output.dense.weight" in state:
        layer = f"{p}encoder.layer.{n}."
        x = _attention(state, f"{layer}attention", x, x, (1.0 - mask.float()) * -10000.0)
        x = _attention(state, f"{layer}crossattention", x, image, None)
        hidden = F.gelu(_linear(state, f"{layer}intermediate.dense", x))
        x = _norm(state, f"{layer}output.LayerNorm", _linear(state, f"{layer}output.dense", hidden) + x, 1e-12)
        n += 1
    return x


def _attention(state: State, name: str, x: Tensor, seen: Tensor, added: Tensor | None) -> Tensor:
    q, k, v = (_linear(state, f"{name}.self.{part}", y) for part, y in (("query", x), ("key", seen), ("value", seen)))
    y = _linear(state, f"{name}.output.dense", _attend(q, k, v, added))
    return _norm(state, f"{name}.output.LayerNorm", y + x, 1e-12)


def _attend(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None) -> Tensor:
    heads = q.shape[-1] // HEAD_WIDTH
    out = []
    for head in range(heads):
        part = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        scores = q[..., part] @ k[..., part].mT / math.sqrt(HEAD_WIDTH)
        if added is not None:
            scores = scores + added.unsqueeze(1)
        out.append(scores.softmax(-1) @ v[..., part])
    return torch.cat(out, dim=-1)


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)
