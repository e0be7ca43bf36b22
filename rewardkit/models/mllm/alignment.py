"""An image and a text as one vector each, in the language model's input: what the caption contrast compares.

A language model reads an image as tokens beside those of the words. One that starts from nothing has no reason to put
"red" and a red image token near each other, and answers to questions hardly teach it. The caption contrast
(``rewardkit/objectives/caption_contrast.py``) on these vectors does, without a pass through the language model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def pooled_images(encoded: Any) -> Tensor:
    """The mean of each image's tokens, ``[N, H]``; ``encoded`` is what ``encode_images`` gave."""
    return torch.stack([tokens.mean(dim=0) for tokens in encoded.pooler_output])


def pooled_texts(embedding: nn.Module, tokens: Tensor, pad_id: int) -> Tensor:
    """The mean of the input embeddings of each text's tokens.

    Args:
        embedding: Of the language model.
        tokens: int64 ``[C, L]``, filled up with ``pad_id``.
        pad_id: No text holds it.

    Returns:
        ``[C, H]``; zeros for a text without tokens.
    """
    there = (tokens != pad_id).unsqueeze(-1)  # [C, L, 1]
    states: Tensor = embedding(tokens)  # [C, L, H]
    return (states * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
