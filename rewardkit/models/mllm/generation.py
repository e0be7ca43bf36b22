"""An evaluator's answers as it writes them: greedy generation, one text for each question of each image.

The third way of answering, beside the option probabilities and the heads: for comparison with published programs, which
know no other, and for rationales. Images are encoded once; each question is read and answered by itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace

import torch

from rewardkit.models.mllm.base import encode_images, encoding_of
from rewardkit.models.mllm.batch import ImageRows, Row
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.text import encode_template

MOST_TOKENS = 16
"""Of a written answer: enough for an option in the published form; a rationale needs more."""


@torch.no_grad()
def written_answers(
    model: MLLMReward, rows: QuestionRows, images: Sequence[ImageRows], *, most_tokens: int = MOST_TOKENS
) -> list[str]:
    """What the model writes behind each question, without control tokens.

    Args:
        model: The evaluator, in eval mode.
        rows: What made the rows.
        images: Of several images.
        most_tokens: Where a text is broken off.

    Returns:
        One text for each question of each image, in their order.
    """
    from transformers import GenerationConfig

    # Generated rows have to end together, so they are padded on the left; they end with the prompt.
    batch = rows.collate([_prompts(image) for image in images], padding_side="left").to(model.device)
    base = model.base
    takes = inspect.signature(type(base).forward).parameters
    aside = {"mm_token_type_ids": batch.mm_token_type_ids} if "mm_token_type_ids" in takes else {}
    if "image_grid_thw" in batch.images:
        aside["image_grid_thw"] = batch.images["image_grid_thw"][batch.row_image]
    ends = {int(token) for token in (*encode_template(rows.tokenizer, rows.parts.end), rows.tokenizer.eos_token_id)}
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=most_tokens, eos_token_id=sorted(ends), pad_token_id=rows.pad_id
    )
    found = base.generate(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        mm_encoder_outputs={"image": encoding_of(encode_images(base, batch.images), batch.row_image)},
        generation_config=settings,
        **aside,
    )
    new = found[:, batch.input_ids.shape[1] :]  # never a guess about how many tokens a prompt begins with
    return [str(text) for text in rows.tokenizer.batch_decode(new, skip_special_tokens=True)]


def _prompts(image: ImageRows) -> ImageRows:
    """One row for each question, cut behind the prompt (the published form has one for each option)."""
    first: dict[int, Row] = {}
    for row in image.rows:
        first.setdefault(row.asked, row)
    cut = [replace(row, ids=row.ids[: row.prompt], supervised=0, label=False, column=-1) for row in first.values()]
    return replace(image, rows=cut)
