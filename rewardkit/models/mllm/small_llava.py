"""The small LLaVA that the demo trains, made from nothing, offline: convolutions, a projector, a narrow Llama."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from rewardkit.models.mllm.small import chatml, scale_weights, text_ends, train_tokenizer

IMAGE_TOKEN = "<image>"
SMALL_GRID = "rewardkit_small_grid"
"""``model_type`` of the vision tower in a saved configuration."""


def small_llava(
    texts: Iterable[str],
    *,
    seed: int = 0,
    width: int = 64,
    layers: int = 2,
    vision_width: int = 24,
    side: int = 64,
    vocabulary: int = 512,
) -> tuple[Any, Any]:
    """A narrow LLaVA with random weights, and its processor.

    Args:
        texts: What the tokenizer is trained on.
        seed: Of the weights; the caller's random numbers stay where they are.
        width: Of the language model, a multiple of 32; heads are 16 wide.
        layers: Of the language model.
        vision_width: Of the vision tower's first convolution, a multiple of 8; a cell is five times as wide.
        side: Of the square that images are squashed to, pixels; a multiple of 16.
        vocabulary: Tokens of the tokenizer.

    Returns:
        ``LlavaForConditionalGeneration`` in float32 and train mode, and ``LlavaProcessor``.
    """
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    from rewardkit.models.mllm.small_vision import STRIDE, SmallGridConfig

    tokenizer = train_tokenizer(
        texts, specials=(IMAGE_TOKEN,), chat_template=chatml(IMAGE_TOKEN), vocabulary=vocabulary
    )
    vision = SmallGridConfig(width=vision_width, image_size=side)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 16,
        num_key_value_heads=max(1, width // 32),
        max_position_embeddings=4096,
        **text_ends(tokenizer),
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=(side // STRIDE) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        scale_weights(model)
    return model.train(), _processor(tokenizer, side)


def has_small_tower(base: Any) -> bool:
    """Whether a model's vision tower is the one that only ``small_vision`` makes known to transformers."""
    vision = getattr(base.config, "vision_config", None)
    return getattr(vision, "model_type", None) == SMALL_GRID


def _processor(tokenizer: Any, side: int) -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    from rewardkit.models.mllm.small_vision import STRIDE

    images = CLIPImageProcessor(size={"height": side, "width": side}, do_center_crop=False)
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=STRIDE,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=0,
    )
