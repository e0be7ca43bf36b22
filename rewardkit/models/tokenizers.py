"""The tokenizer of a CLIP reward, as ``rewardkit.data.batch.Tokenizer`` asks for it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch.nn.functional as F
from torch import Tensor

from rewardkit.errors import UserError
from rewardkit.models.architecture import Architecture


class TextTokenizer:
    """Texts to token rows, through one of open_clip's tokenizers.

    Attributes:
        pad_id: Fills the rows behind the end of a text.
        context_length: Longest row; what goes beyond is cut off, the end token kept.
    """

    def __init__(self, tokenizer: Any, *, context_length: int) -> None:
        self._tokenizer = tokenizer
        self.context_length = context_length
        inner = getattr(tokenizer, "tokenizer", None)
        pad_id = getattr(inner, "pad_token_id", None) if inner is not None else 0
        if pad_id is None:
            raise UserError("the tokenizer has no padding token; set one in its tokenizer_config.json")
        self.pad_id: int = int(pad_id)

    def __call__(self, texts: list[str]) -> Tensor:
        """int64 ``[len(texts), context_length]``, padded with ``pad_id``."""
        tokens: Tensor = self._tokenizer(list(texts), context_length=self.context_length)
        return tokens

    def lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text before anything is cut off, start and end tokens included."""
        inner = getattr(self._tokenizer, "tokenizer", None)
        if inner is None:
            return [len(self._tokenizer.encode(text)) + 2 for text in texts]
        cleaned = [self._tokenizer.clean_fn(text) for text in texts]
        return [len(row) for row in inner(cleaned, truncation=False)["input_ids"]]

    def save(self, folder: Path) -> bool:
        """Writes a transformers tokenizer's files; False for the CLIP tokenizer, which open_clip ships itself."""
        if not hasattr(self._tokenizer, "save_pretrained"):
            return False
        self._tokenizer.save_pretrained(folder)
        return True


def read_tokenizer(architecture: Architecture) -> TextTokenizer:
    """The tokenizer that an architecture's text tower was made for.

    Raises:
        UserError: The tokenizer's files cannot be found.
    """
    text = architecture.config["text_cfg"]
    options = dict(text.get("tokenizer_kwargs") or {})
    source = text.get("hf_tokenizer_name")
    if not source:
        length = architecture.context_length
        own = open_clip.SimpleTokenizer(context_length=length, **options) if options else _clip_tokenizer(length)
        return TextTokenizer(own, context_length=length)
    try:
        tokenizer = open_clip.tokenizer.HFTokenizer(
            source,
            context_length=architecture.context_length,
            tokenizer_mode=text.get("tokenizer_mode"),
            **options,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"the tokenizer {source!r} of {architecture.name} cannot be read: {error}") from error
    return TextTokenizer(tokenizer, context_length=architecture.context_length)


@lru_cache(maxsize=4)
def _clip_tokenizer(context_length: int) -> open_clip.SimpleTokenizer:
    """CLIP's own, whose merges take a while to be read; several models share one."""
    return open_clip.SimpleTokenizer(context_length=context_length)


def cut_padding(tokens: Tensor, pad_id: int) -> Tensor:
    """Cuts the columns behind the longest text: int64 ``[G, L]`` to ``[G, L']``, ``L' >= 1``."""
    used = (tokens != pad_id).any(dim=0).nonzero()
    return tokens[:, : int(used.max()) + 1] if used.numel() else tokens[:, :1]


def fill_padding(tokens: Tensor, length: int, pad_id: int) -> Tensor:
    """The opposite of ``cut_padding``: int64 ``[G, L]`` to ``[G, length]``."""
    return F.pad(tokens, (0, length - tokens.shape[1]), value=pad_id)
