"""The tokenizers of a BLIP reward: BERT's WordPiece as BLIP extends it, or open_clip's, which needs no files."""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from torch import Tensor

from rewardkit.errors import UserError
from rewardkit.models.blip_architecture import OPEN_CLIP
from rewardkit.models.tokenizers import TextTokenizer


class WordPieceTokenizer(TextTokenizer):
    """A transformers tokenizer, called as ImageReward calls it: text as it is, padded and cut to one length."""

    def __init__(self, tokenizer: Any, *, context_length: int) -> None:
        if tokenizer.pad_token_id is None or tokenizer.cls_token_id is None:
            raise UserError("the tokenizer has no padding token or no [CLS] token, so it is no BERT tokenizer")
        self._tokenizer = tokenizer
        self.context_length = context_length
        self.pad_id = int(tokenizer.pad_token_id)

    @property
    def vocabulary(self) -> int:
        """Number of tokens, added ones included."""
        return len(self._tokenizer)

    def __call__(self, texts: list[str]) -> Tensor:
        """int64 ``[len(texts), context_length]``, padded behind the text with ``pad_id``; [CLS] stands first."""
        rows = self._tokenizer(
            list(texts),
            padding="max_length",
            padding_side="right",
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )["input_ids"]
        return rows if isinstance(rows, Tensor) else torch.as_tensor(rows)

    def lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text before anything is cut off, [CLS] and [SEP] included."""
        return [len(row) for row in self._tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]


def read_blip_tokenizer(source: str, *, context_length: int) -> TextTokenizer:
    """The tokenizer of a BLIP reward.

    Args:
        source: ``open_clip``; or a folder with a BERT tokenizer's files; or its name on the hub
            (``bert-base-uncased``), taken from transformers' cache or fetched. BLIP's two tokens are added where they
            are not there yet: [DEC] as the beginning of a sentence and [ENC] (``init_tokenizer`` of
            salesforce/BLIP), 30 524 tokens in all. Neither is put into a prompt.
        context_length: Longest row.

    Raises:
        UserError: The tokenizer's files cannot be found.
    """
    if source == OPEN_CLIP:
        return TextTokenizer(open_clip.SimpleTokenizer(context_length=context_length), context_length=context_length)
    from transformers import BertTokenizer

    try:
        tokenizer = BertTokenizer.from_pretrained(source)
        # Where there are no files, transformers makes a tokenizer of special tokens alone, without a word.
        said = "" if tokenizer.vocab_size > len(tokenizer.all_special_tokens) else "no vocabulary was found there"
    except (OSError, ValueError, TypeError) as error:
        said = str(error).splitlines()[0]
    if said:
        raise UserError(
            f"the tokenizer {source!r} cannot be read: {said}. Give a folder that holds bert-base-uncased's vocab.txt "
            "as model.blip.tokenizer=FOLDER (for ImageReward.pt: put vocab.txt beside it)"
        )
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return WordPieceTokenizer(tokenizer, context_length=context_length)


def used_tokens(tokens: Tensor, pad_id: int) -> Tensor:
    """Which places of rows int64 ``[G, L]`` are text: all up to the last that is not padding; bool ``[G, L]``.

    By place and not by value, since the padding's number may also stand inside a text (open_clip's 0 is "!").
    """
    places = torch.arange(tokens.shape[1], device=tokens.device)
    last = torch.where(tokens != pad_id, places, 0).amax(dim=1, keepdim=True)  # [G, 1]
    return places <= last
