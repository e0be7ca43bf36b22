"""The options that only an evaluator on a multimodal language model has: the section ``model.mllm`` of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option


@dataclass
class LoraOptions:
    """Low-rank adapters in the language model's blocks, with model.mllm.language=lora (arXiv 2106.09685)."""

    rank: int = option(16, at_least=1)
    """Their rank."""
    alpha: float = option(32.0, above=0)
    """Adapters are scaled by alpha / rank."""
    dropout: float = option(0.0, at_least=0, at_most=0.99)
    """Dropout of their input."""
    layers: str | None = option(None)
    """Regular expression of the linear layers that get one, as they are called inside a block
    (`self_attn\\.(q|v)_proj`). Default: all of the attention and of the MLP."""


@dataclass
class SmallOptions:
    """With model.architecture=small: a narrow LLaVA made from nothing, and its tokenizer from the questions."""

    width: int = option(64, at_least=32)
    """Width of the language model, a multiple of 32."""
    layers: int = option(2, at_least=1)
    """Blocks of the language model."""
    vision_width: int = option(24, at_least=8)
    """Channels of the vision tower's first convolution, a multiple of 8; the last has five times as many."""
    side: int = option(64, at_least=16)
    """Side of the square that images are squashed to, a multiple of 16 pixels; 16 x 16 of them are one image token."""
    vocabulary: int = option(512, at_least=300)
    """Tokens of the tokenizer, which is trained on the questions."""


@dataclass
class MllmOptions:
    """For model.kind=mllm: what trains, how images are read, how questions are put and what a score is."""

    language: str = option("full", choices=("full", "lora", "frozen"))
    """What trains of the language model: all of it, low-rank adapters, or nothing. Heads and score token always do."""
    vision: str = option("frozen", choices=("full", "frozen"))
    """What trains of the vision tower."""
    projector: str = option("full", choices=("full", "frozen"))
    """What trains of the projector between the two."""
    vision_lr_factor: float = option(1.0, above=0)
    """Learning rate of the vision tower, as a factor of optim.lr."""
    projector_lr_factor: float = option(1.0, above=0)
    """Learning rate of the projector, likewise."""
    dtype: str = option("float32", choices=("float32", "bfloat16", "float16"))
    """What the base's weights are kept in. Adapters, heads and the score token are always float32."""
    min_pixels: int | None = option(None, at_least=1)
    """Fewest pixels of an image, to which the processor enlarges smaller ones. Default: the processor's own."""
    max_pixels: int | None = option(None, at_least=1)
    """Most pixels of an image, to which the processor shrinks larger ones: the budget that decides how many tokens an
    image has (Qwen-VL). Default: the processor's own."""
    max_tokens: int = option(2048, at_least=16)
    """The longest row of tokens. A longer one is a bad sample; nothing is ever cut off."""
    style: str = option("characters", choices=("characters", "published"))
    """characters: options are one character each, and a score token stands behind the question. published: word for
    word as the question set has it, without a score token, so without ordinal and regression heads."""
    ask: list[str] = option([])
    """Only these questions of the set, by their keys. Default: all."""
    prompt_for: list[str] = option(["all"])
    """Which questions see the prompt: all, none, or their keys. The published style never adds it."""
    scores_from: str = option("expected", choices=("expected", "ordinal", "regression"))
    """What a score is: the expected worth of a question's options, or what the ordinal or regression head says."""
    share_prefix: bool | None = option(None)
    """Read what all questions of an image begin with once. Default: where the family can."""
    lora: LoraOptions = option(LoraOptions())
    small: SmallOptions = option(SmallOptions())
