"""Tiny random MLLMs of four families with their processors, built offline in well under a second each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from rewardkit.data.questions import QuestionSet, read_questions
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.saving import save_evaluator
from rewardkit.models.mllm.small import (
    QWEN_IMAGE,
    chatml,
    question_texts,
    qwen_ids,
    qwen_processor,
    small_qwen2_5_vl,
    train_tokenizer,
)

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}


@functools.cache
def questions() -> QuestionSet:
    return read_questions("evalalign")


def picture(seed: int, width: int = 84, height: int = 56) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(values.numpy())


def qwen2_5_vl() -> tuple[Any, Any]:
    return small_qwen2_5_vl(question_texts([questions()]))


def evaluator_bundle(folder: Path) -> Path:
    """A bundle with EvalAlign's questions; its weights are large enough that answers differ from each other."""
    torch.manual_seed(0)
    base, processor = qwen2_5_vl()
    with torch.no_grad():
        for parameter in base.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    dimensions = [question.dimension for question in questions().questions]
    model = MLLMReward(base, processor, dimensions, scores_from="expected")
    return save_evaluator(folder, model, [questions()])


def qwen3_vl() -> tuple[Any, Any]:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    tokenizer = train_tokenizer(question_texts([questions()]), chat_template=chatml(QWEN_IMAGE))
    ends = _ends(tokenizer)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [2, 3, 3],
            "mrope_interleaved": True,
        },
        "pad_token_id": ends["pad_token_id"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 16,
        "out_hidden_size": 64,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **qwen_ids(tokenizer), **ends)
    torch.manual_seed(0)
    return Qwen3VLForConditionalGeneration(config), _qwen3_processor(tokenizer)


def _qwen3_processor(tokenizer: Any) -> Any:
    from transformers import Qwen3VLProcessor, Qwen3VLVideoProcessor

    inner = qwen_processor(tokenizer, patch=16, cells=(1, 16)).image_processor
    video = Qwen3VLVideoProcessor(patch_size=16, merge_size=2)
    return Qwen3VLProcessor(inner, tokenizer, video, chat_template=tokenizer.chat_template)


def smolvlm() -> tuple[Any, Any]:
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    places = [f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)]
    specials = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *places)
    tokenizer = train_tokenizer(question_texts([questions()]), specials=specials, chat_template=chatml("<image>"))
    tokenizer.image_token = "<image>"
    tokenizer.fake_image_token = "<fake_token_around_image>"
    tokenizer.global_image_token = "<global-img>"
    tokenizer.end_of_utterance_token = "<end_of_utterance>"
    text = {**LLAMA, "vocab_size": len(tokenizer), **_ends(tokenizer)}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    config = SmolVLMConfig(
        text_config=text,
        vision_config=vision,
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = SmolVLMForConditionalGeneration(config)
    images = SmolVLMImageProcessor(
        size={"longest_edge": 112}, max_image_size={"longest_edge": 56}, do_image_splitting=True
    )
    video = SmolVLMVideoProcessor()
    processor = SmolVLMProcessor(images, tokenizer, video, image_seq_len=4, chat_template=tokenizer.chat_template)
    return model, processor


def llava_next() -> tuple[Any, Any]:
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessor,
        LlavaNextProcessor,
    )

    tokenizer = train_tokenizer(question_texts([questions()]), specials=("<image>",), chat_template=chatml("<image>\n"))
    pinpoints = [[28, 56], [56, 28], [56, 56]]
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "projection_dim": 32,
    }
    config = LlavaNextConfig(
        text_config={**LLAMA, "vocab_size": len(tokenizer), **_ends(tokenizer)},
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
    )
    torch.manual_seed(0)
    model = LlavaNextForConditionalGeneration(config)
    images = LlavaNextImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=pinpoints
    )
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=tokenizer.chat_template,
        num_additional_image_tokens=1,
    )
    return model, processor


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "smolvlm": smolvlm,
    "llava_next": llava_next,
}


def _ends(tokenizer: Any) -> dict[str, int]:
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    return {"bos_token_id": end, "eos_token_id": end, "pad_token_id": pad}
