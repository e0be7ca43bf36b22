"""Images and texts as one vector each: means over what is there, whatever fills the batch up."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from rewardkit.models.mllm.alignment import pooled_images, pooled_texts


def test_images_of_different_sizes_are_the_means_of_their_tokens() -> None:
    tokens = (torch.randn(4, 8), torch.randn(9, 8))
    found = pooled_images(SimpleNamespace(pooler_output=tokens))
    assert torch.allclose(found, torch.stack([tokens[0].mean(0), tokens[1].mean(0)]))


def test_texts_are_the_means_of_their_words_and_filling_changes_nothing() -> None:
    embedding = nn.Embedding(10, 8)
    found = pooled_texts(embedding, torch.tensor([[3, 4, 9, 9], [5, 5, 6, 1], [9, 9, 9, 9]]), pad_id=9)
    word = embedding.weight
    assert torch.allclose(found[0], (word[3] + word[4]) / 2)
    assert torch.allclose(found[1], (word[5] * 2 + word[6] + word[1]) / 4)
    assert torch.equal(found[2], torch.zeros(8))
