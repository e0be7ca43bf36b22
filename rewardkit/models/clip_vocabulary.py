"""CLIP's vocabulary, as open_clip ships it, in transformers' words."""

from __future__ import annotations

from typing import Any

import open_clip

OLD_END = 2
"""What transformers' CLIP configurations say of the end token where they are older than its pull request 24773 (2023).
Such a model pools at the largest id of a row, which is CLIP's true end token."""


class _Vocabulary:
    """open_clip's tokenizer, for its tables."""

    def __init__(self) -> None:
        self._tokenizer: Any = open_clip.tokenizer._tokenizer
        self.start: int = self._tokenizer.sot_token_id
        self.end: int = self._tokenizer.eot_token_id
        self.ranks: dict[tuple[str, str], int] = self._tokenizer.bpe_ranks

    def tokens(self) -> dict[str, int]:
        """Each token's number; start and end under transformers' names for them."""
        names = {self.start: "<|startoftext|>", self.end: "<|endoftext|>"}
        return {names.get(index, token): index for token, index in self._tokenizer.encoder.items()}

    def ids(self, text: str) -> list[int]:
        """A text's numbers, with start and end."""
        return [self.start, *self._tokenizer.encode(text), self.end]


CLIP_VOCABULARY = _Vocabulary()
