"""What the evaluator's benches ask and whom: EvalAlign's five faithfulness questions, and a random Qwen2.5-VL.

A real Qwen2.5-VL-7B spends about 0.4 of its language model's arithmetic for an image token on the vision tower, 4
patches for each; the small one is shaped to do the same (``vision_share``). Its tokenizer, trained on the questions,
makes a little more tokens of them (164 to 201) than a real one would (140 to 177 with SmolLM2's), so that what is read
once weighs rather less here than with real models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from rewardkit.data.questions import Question, QuestionSet, read_questions
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.small import CELL, MERGE, question_texts, small_qwen2_5_vl

KEYS = ("body", "Hand", "face", "object", "common")
"""EvalAlign's questions of faithfulness; it asks them of every image."""

GRIDS = {144: (12, 12), 256: (16, 16), 576: (24, 24), 1024: (32, 32), 1500: (30, 50)}
"""Image tokens to rows and columns of cells of 28 pixels."""


@dataclass(frozen=True)
class Shape:
    """The size of a Qwen2.5-VL.

    Attributes:
        width: Of the language model.
        layers: Of it.
        language: Parameters of its blocks.
        vision_width: Of the vision tower.
        vision_layers: Of it.
        vision_full: Those of them that look at the whole image; the others at windows of 64 patches.
        vision: Parameters of its blocks.
        merger: Parameters of the projector.
    """

    width: int
    layers: int
    language: float
    vision_width: int
    vision_layers: int
    vision_full: int
    vision: float
    merger: float

    def see(self, tokens: int) -> float:
        """Arithmetic (FLOPs) of an image of so many tokens in the vision tower and the projector."""
        patches = MERGE**2 * tokens
        context = 64 * (self.vision_layers - self.vision_full) + patches * self.vision_full
        return 2 * patches * self.vision + 2 * tokens * self.merger + 4 * patches * context * self.vision_width

    def read(self, tokens: int, behind: int = 0) -> float:
        """Arithmetic of so many tokens in the language model, behind others that are in its cache."""
        context = behind + tokens / 2
        return 2 * tokens * self.language + 4 * tokens * context * self.width * self.layers

    def gain(self, image: int, shared: int, rests: Sequence[int], new_tokens: int) -> float:
        """How many times the arithmetic of one reading is that of a ``generate`` call for each question.

        Args:
            image: Image tokens.
            shared: Tokens that all rows begin with, the image's among them.
            rests: Tokens of each question behind those.
            new_tokens: That a call generates; the last is not read.
        """
        calls = sum(self.see(image) + self.read(shared + rest + new_tokens - 1) for rest in rests)
        return calls / (self.see(image) + self.read(shared) + sum(self.read(rest, shared) for rest in rests))


QWEN2_5_VL_7B = Shape(
    width=3584,
    layers=28,
    language=28 * (3584 * (3584 * 2 + 512 * 2) + 3 * 3584 * 18944),
    vision_width=1280,
    vision_layers=32,
    vision_full=4,
    vision=32 * (4 * 1280**2 + 3 * 1280 * 3420),
    merger=5120 * (5120 + 3584),
)
"""From its published config.json."""


def small_shape(width: int, layers: int, vision_width: int, vision_layers: int) -> Shape:
    """The size of what ``small_qwen2_5_vl`` makes of these."""
    merged = MERGE**2 * vision_width
    return Shape(
        width,
        layers,
        9 * layers * width**2,  # attention with half as many key heads 3, a gated MLP of twice the width 6
        vision_width,
        vision_layers,
        1,
        10 * vision_layers * vision_width**2,  # attention 4, a gated MLP of twice the width 6
        merged * (merged + width),
    )


BENCH_SHAPE = small_shape(width=512, layers=4, vision_width=96, vision_layers=6)
"""Of the benches: 9.4 million parameters in the language model's blocks."""


def vision_share(shape: Shape, image: int) -> float:
    """Arithmetic of the vision tower, of that of the language model, for the image's tokens."""
    return shape.see(image) / shape.read(image)


def bench_model(shape: Shape, vocabulary: int = 1024) -> MLLMReward:
    """A random evaluator of this size, in eval mode, on the dimensions of the five questions."""
    torch.manual_seed(0)
    base, processor = small_qwen2_5_vl(
        question_texts([read_questions("evalalign")]),
        width=shape.width,
        layers=shape.layers,
        vision_width=shape.vision_width,
        vision_layers=shape.vision_layers,
        cells=(1, max(GRIDS)),
        vocabulary=min(vocabulary, 1024),
    )
    base = type(base)(with_wide_heads(base.config))
    if vocabulary > 1024:
        base.resize_token_embeddings(vocabulary, mean_resizing=False)
    return MLLMReward(base, processor, [question.dimension for question in faithfulness().questions]).eval()


def with_wide_heads(config: Any) -> Any:
    """Attention heads of up to 64 numbers in the language model and 48 in the vision tower (7B: 128 and 80).

    The small model's own are 16 wide, on which attention takes a share of the time that no real model gives it.
    """
    text, vision = config.text_config, config.vision_config
    width = min(64, text.hidden_size // 2)
    text.num_attention_heads = text.hidden_size // width
    text.num_key_value_heads = text.num_attention_heads // 2
    text.rope_parameters = {**text.rope_parameters, "mrope_section": [width // 8, 3 * width // 16, 3 * width // 16]}
    vision.num_heads = max(1, vision.hidden_size // 48)
    return config


def faithfulness() -> QuestionSet:
    """The five questions."""
    whole = read_questions("evalalign")
    return QuestionSet("faithfulness", whole.about, tuple(whole[key] for key in KEYS))


def questions() -> tuple[Question, ...]:
    """The five questions, in their order."""
    return faithfulness().questions


def noise(tokens: int, seed: int = 0) -> Image.Image:
    """A picture that becomes so many image tokens."""
    rows, columns = GRIDS[tokens]
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (rows * CELL, columns * CELL, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(values.numpy())


def on_one_thread() -> dict[str, Any]:
    """Computes on one thread, so that processor time is the time of an idle machine; what the settings say of it."""
    torch.set_num_threads(1)
    return {"threads": 1, "torch": torch.__version__}
