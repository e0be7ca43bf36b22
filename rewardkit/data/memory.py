"""What a loader's process remembers from epoch to epoch; it saves time and changes nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from rewardkit.data.batch import Tokenizer
from rewardkit.data.collate import LoadedGroup

MAX_TEXTS = 50_000
"""Texts whose tokens are remembered; about 30 MB at CLIP's 77 tokens."""

MAX_DECODED_BYTES = 2**28
"""Data sets whose decoded images all fit into this are kept decoded, in each loader process."""


class TokenMemory:
    """A tokenizer that remembers its first ``MAX_TEXTS`` texts: prompts come again each epoch, captions each step.

    Args:
        tokenizer: The model's.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.pad_id = tokenizer.pad_id
        self._tokenizer = tokenizer
        self._rows: dict[str, Tensor] = {}

    def __call__(self, texts: list[str]) -> Tensor:
        """int64 ``[len(texts), context_length]``, as the tokenizer gives it."""
        unknown = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if not unknown:
            return torch.stack([self._rows[text] for text in texts])
        if len(self._rows) + len(unknown) > MAX_TEXTS:
            return self._tokenizer(texts)
        self._rows.update(zip(unknown, self._tokenizer(unknown), strict=True))
        return torch.stack([self._rows[text] for text in texts])


class GroupMemory:
    """Decoded groups by position, where the whole data set fits.

    Args:
        images: In the whole data set.
        size: Side of a decoded image, pixels.
    """

    def __init__(self, *, images: int, size: int) -> None:
        self._fits = images * 3 * size * size <= MAX_DECODED_BYTES
        self._groups: dict[int, LoadedGroup] = {}

    def get(self, position: int) -> LoadedGroup | None:
        """The group, if it has been decoded before."""
        return self._groups.get(position)

    def put(self, group: LoadedGroup) -> LoadedGroup:
        """Remembers a group, if all would fit; returns it."""
        if self._fits:
            self._groups[group.position] = group
        return group
