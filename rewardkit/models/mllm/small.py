"""Small MLLMs made from nothing and offline: a tokenizer trained on question texts, and a narrow Qwen2.5-VL.

Tests build the other families around the same tokenizer; the demo trains that of ``small_llava.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from rewardkit.data.questions import QuestionSet

CHAT_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""The end of a text (also padding), of a turn, and its start: ChatML, as Qwen's tokenizers have it."""

ROLES = ("user", "assistant")
"""Who speaks in a chat, as its template names them."""

QWEN_SPECIALS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")

QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
"""What an image's place is in a Qwen-VL's chat template, before it is made as long as the image."""

PATCH = 14
MERGE = 2
CELL = PATCH * MERGE
"""Pixels a side of what becomes one image token (Qwen2.5-VL)."""


def chatml(image: str) -> str:
    """A ChatML template: ``<|im_start|>role``, the turn, ``<|im_end|>``; what an assistant says is marked as generated.

    Args:
        image: What stands where an image is.
    """
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['role'] == 'assistant' %}{% generation %}"
        "{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
        "<|im_end|>{% endgeneration %}\n"
        "{% else %}{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
        "<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def question_texts(sets: Iterable[QuestionSet]) -> Iterator[str]:
    """All that question sets say: what a small tokenizer is trained on."""
    for questions in sets:
        for question in questions.questions:
            yield question.text
            yield from (f"{option.label}. {option.text}" for option in question.options)


def train_tokenizer(
    texts: Iterable[str], *, specials: Sequence[str] = QWEN_SPECIALS, chat_template: str, vocabulary: int = 512
) -> Any:
    """A byte-level BPE trained on texts: every text can be written in it, and each digit is a token of its own.

    Args:
        texts: What the pairs are learned from.
        specials: Control tokens beside those of the chat.
        chat_template: The Jinja template of a conversation.
        vocabulary: Tokens, the 256 bytes and the control tokens included.

    Returns:
        A transformers tokenizer that pads on the right.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*CHAT_SPECIALS, *specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=[*specials, "<|im_start|>"],
        chat_template=chat_template,
        padding_side="right",
    )


def qwen_ids(tokenizer: Any) -> dict[str, int]:
    """The control tokens that the top of a Qwen-VL's configuration names."""
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return {key: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in zip(keys, names, strict=True)}


def small_qwen2_5_vl(
    texts: Iterable[str],
    *,
    seed: int = 0,
    width: int = 64,
    layers: int = 2,
    vision_width: int = 32,
    vision_layers: int = 2,
    cells: tuple[int, int] = (1, 16),
    vocabulary: int = 512,
    scaled: bool = False,
) -> tuple[Any, Any]:
    """A narrow Qwen2.5-VL with random weights, and its processor.

    Args:
        texts: What the tokenizer is trained on.
        seed: Of the weights; the caller's random numbers stay where they are.
        width: Of the language model, a multiple of 32; heads are 16 wide.
        layers: Of the language model.
        vision_width: Of the vision tower, a multiple of 16.
        vision_layers: Of the vision tower; the last looks at the whole image, the others at windows of 112 px.
        cells: Fewest and most image tokens of an image: the budget of pixels is so many cells of 28 × 28.
        vocabulary: Tokens of the tokenizer.
        scaled: Give the weights of each layer a standard deviation of 1 over the root of its inputs, with which a
            narrow model learns. False: 0.02 for all, as wide ones have it, which leaves it nearly linear.

    Returns:
        ``Qwen2_5_VLForConditionalGeneration`` in float32 and train mode, and ``Qwen2_5_VLProcessor``.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = train_tokenizer(texts, chat_template=chatml(QWEN_IMAGE), vocabulary=vocabulary)
    head = 16
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // head,
        "num_key_value_heads": max(1, width // head // 2),
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        **text_ends(tokenizer),
    }
    vision = {
        "depth": vision_layers,
        "hidden_size": vision_width,
        "intermediate_size": 2 * vision_width,
        "num_heads": vision_width // head,
        "out_hidden_size": width,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "window_size": 112,
        "fullatt_block_indexes": [vision_layers - 1],
    }
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=False, **qwen_ids(tokenizer), **text_ends(tokenizer)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
        if scaled:
            scale_weights(model)
    return model.train(), qwen_processor(tokenizer, patch=PATCH, cells=cells)


@torch.no_grad()
def scale_weights(model: nn.Module) -> None:
    """Draws the weights of each linear map anew, with a standard deviation of 1 over the root of its inputs."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            module.weight.normal_(std=module.weight[0].numel() ** -0.5)


def qwen_processor(tokenizer: Any, *, patch: int, cells: tuple[int, int]) -> Any:
    """The processor of a Qwen2.5-VL (the class is also Qwen3-VL's) with a budget of so many image tokens."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    area = (patch * MERGE) ** 2
    size = {"shortest_edge": cells[0] * area, "longest_edge": cells[1] * area}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, patch_size=patch, merge_size=MERGE),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size, patch_size=patch, merge_size=MERGE),
        chat_template=tokenizer.chat_template,
    )


def text_ends(tokenizer: Any) -> dict[str, int]:
    """The ids that end and fill texts; their defaults lie outside a small vocabulary."""
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    return {"bos_token_id": end, "eos_token_id": end, "pad_token_id": pad}
