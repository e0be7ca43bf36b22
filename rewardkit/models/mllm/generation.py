"""An evaluator's answers as it writes them: greedy generation, one text for each question of each image.

The third way of answering, beside the option probabilities and the heads: for comparison with published programs, which
know no other, and for rationales. Images are encoded once; each question is read and answered by itself.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from rewardkit.models.mllm.base import encode_images, encoding_of, gathered
from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.models.mllm.model import MLLMReward, first_rows
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.text import encode_template

MOST_TOKENS = 16
"""Of a written answer: enough for an option in the published form; a rationale needs more."""


@torch.no_grad()
def written_answers(
    model: MLLMReward, rows: QuestionRows, batch: QuestionBatch, *, most_tokens: int = MOST_TOKENS
) -> list[str]:
    """What the model writes behind each question, without control tokens.

    Args:
        model: The evaluator, in eval mode.
        rows: What made the batch.
        batch: On the model's device; answers that stand in its rows are not read.
        most_tokens: Where a text is broken off.

    Returns:
        One text for each question of the batch, in its order.
    """
    from transformers import GenerationConfig

    base, images = model.base, batch.asked_image
    ids, mask = _prompts(batch, rows.pad_id)
    takes = inspect.signature(type(base).forward).parameters
    aside = {"mm_token_type_ids": (ids == rows.image_token_id).long() * mask} if "mm_token_type_ids" in takes else {}
    if "image_grid_thw" in batch.images:
        aside["image_grid_thw"] = batch.images["image_grid_thw"][images]
    ends = {int(token) for token in (*encode_template(rows.tokenizer, rows.parts.end), rows.tokenizer.eos_token_id)}
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=most_tokens, eos_token_id=sorted(ends), pad_token_id=rows.pad_id
    )
    found = base.generate(
        input_ids=ids,
        attention_mask=mask,
        mm_encoder_outputs={"image": encoding_of(encode_images(base, batch.images), images)},
        generation_config=settings,
        **aside,
    )
    new = found[:, ids.shape[1] :]  # never a guess about how many tokens a prompt begins with
    return [str(text) for text in rows.tokenizer.batch_decode(new, skip_special_tokens=True)]


def _prompts(batch: QuestionBatch, pad_id: int) -> tuple[Tensor, Tensor]:
    """The prompt of each question, padded on the left so that all rows end together: ids and mask ``[A, L']``."""
    first = first_rows(batch)  # the published form has a row for each option
    start = batch.attention_mask[first].argmax(dim=-1)
    length = batch.last_prompt[first] + 1 - start
    longest = int(length.max())
    column = torch.arange(longest, device=length.device) - (longest - length).unsqueeze(-1)  # [A, L']
    there = column >= 0
    ids = torch.where(there, gathered(batch.input_ids[first], start.unsqueeze(-1) + column), pad_id)
    return ids, there.long()
