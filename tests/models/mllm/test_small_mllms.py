"""The small models themselves: sizes, tokenizers, and that they read images."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from tiny_mllm import FAMILIES, picture, questions

from rewardkit.models.mllm.small import question_texts, small_qwen2_5_vl


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_is_small_and_reads_images(name: str) -> None:
    FAMILIES[name]()  # imports are not counted
    start = time.process_time()
    base, processor = FAMILIES[name]()
    assert time.process_time() - start < 2, "built in well under a second"
    assert sum(parameter.numel() for parameter in base.parameters()) < 400_000
    messages = [{"role": "user", "content": [{"type": "image", "image": picture(1)}, {"type": "text", "text": "?"}]}]
    made = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
    assert base(**made).logits.shape[:2] == made["input_ids"].shape


def test_the_tokenizer_writes_any_text_and_each_digit_alone() -> None:
    _, processor = small_qwen2_5_vl(question_texts([questions()]))
    tokenizer = processor.tokenizer
    for text in ("an épée, 日本 — 🦊\n\t", "1024"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("1024")["input_ids"]) == 4
    assert len(tokenizer("the picture")["input_ids"]) < len("the picture"), "trained on the questions"


def test_the_seed_draws_the_weights_and_leaves_the_callers_numbers() -> None:
    def weights(seed: int) -> Any:
        return small_qwen2_5_vl(question_texts([questions()]), seed=seed)[0].lm_head.weight

    state = torch.get_rng_state()
    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))
    assert torch.equal(torch.get_rng_state(), state)
