"""Tokens counted word by word are those of open_clip's tokeniser."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit.data.prompt_tokens import prompt_tokens

HARD = [
    "",
    "  a  photo of the dog's 22nd B-52, it'll be  'seen'  ",
    "x" * 500,
    "100% <start_of_text> & <end_of_text>",
    "&amp;lt; café — naïve 東京 🦊",
    "''s '''ll _under_score_ ~!@#$%^*()[]{}|\\/:;?.,",
]


@cache
def tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def open_clip_count(text: str) -> int:
    return len(tokenizer().encode(text)) + 2


@pytest.mark.parametrize("text", HARD)
def test_hard_texts(text: str) -> None:
    assert prompt_tokens(text) == open_clip_count(text)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_any_ascii_text(text: str) -> None:
    assert prompt_tokens(text) == open_clip_count(text)
