"""The length of a prompt in CLIP's tokens, as the index records it; counted without torch, to keep workers small."""

from __future__ import annotations

import gzip
import html
import importlib.util
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

MAX_LETTERS = 4096
"""Prompts are cut to this before their tokens are counted."""

_SPECIAL = ("<start_of_text>", "<end_of_text>")
_MERGES = 49152 - 256 - 2
"""Merges of CLIP's vocabulary (openai/CLIP, ``simple_tokenizer.py``)."""

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What CLIP's tokeniser splits a text into before byte-pair encoding (the same file)."""

_NOT_PLAIN = frozenset("&<")
"""What begins an HTML entity, or the name of a special token."""

_ASCII_WORDS = re.compile(_WORDS.replace(r"\p{L}", "a-z").replace(r"\p{N}", "0-9")).findall
"""The same for lower-case ASCII."""


def prompt_tokens(prompt: str) -> int:
    """CLIP BPE tokens of a text with start and end, not cut to a context length; equal to open_clip's tokeniser."""
    if prompt.isascii() and prompt.isprintable() and not _NOT_PLAIN.intersection(prompt):
        # Words are encoded one by one, and most prompts are made of words that were met before.
        return sum(map(_tokens_in, _ASCII_WORDS(prompt[:MAX_LETTERS].lower()))) + 2
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(prompt[:MAX_LETTERS])))
    return len(_tokenizer().encode(re.sub(r"\s+", " ", text).strip().lower()).ids) + 2


@lru_cache(maxsize=1 << 14)
def _tokens_in(word: str) -> int:
    return len(_tokenizer().encode(word).ids)


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """CLIP's byte-pair encoding from the vocabulary file that open_clip ships; open_clip itself is not imported."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    package = importlib.util.find_spec("open_clip")
    assert package is not None and package.origin is not None, "open_clip_torch is a dependency"
    file = Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")[1 : _MERGES + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), *_SPECIAL]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer
