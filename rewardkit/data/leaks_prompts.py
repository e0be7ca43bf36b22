"""When two prompts are the same: letter by letter, but for case and punctuation, or nearly.

Similarity is rapidfuzz's ratio of the folded texts (1 - insertions and deletions / letters of both), or that of their
words in alphabetical order where it is higher, 0 to 1. Candidates for it share a rare shingle of five letters, so that
most pairs are never compared.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.leaks_lookup import Postings

SHINGLE = 5
RAREST = 24
"""Shingles of a prompt that are looked up: the rarest that the other set has at all. A prompt of 60 letters at
similarity 0.85 keeps about half of its 60 shingles; that all of its 24 rarest are among the others is unlikely."""

LETTERS = 32
"""Buckets that letters are counted in."""

FUNCTION_WORDS = frozenset(
    ("a", "an", "the", "of", "and", "or", "with", "in", "on", "at", "to", "by", "for", "from", "is", "are", "as", "its")
)
"""Words that do not count when it is asked whether a word was swapped for another."""

TYPO_LENGTH = 5
"""From this length on, two words that differ in one letter are one word with a typo; shorter ones are two words."""

_NOT_ASCII_WORDS = re.compile(r"[^0-9a-z]+")
_COMMAS_AND_SPACES = re.compile(r"[,\s]+")
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def fold(text: str) -> str:
    """A text as words: NFKC, lower case, apostrophes gone, all other punctuation and space one space.

    A text of punctuation alone stays as it is.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    if folded.isascii():
        return _NOT_ASCII_WORDS.sub(" ", folded).strip() or text.strip()
    # Marks belong to their letters (Devanagari, Arabic), and pictographs are words.
    kept = (c if unicodedata.category(c)[0] in "LMN" or ord(c) > 0x2BFF else " " for c in folded)
    return " ".join("".join(kept).split()) or text.strip()


def fold_commas(text: str) -> str:
    """A text but for case, commas and spaces: how prompts change when a web form cuts them into key words."""
    return _COMMAS_AND_SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def text_hash(text: str) -> int:
    """64 bits of a text; 0 for an empty one. Two different texts among a million collide once in 37 million sets."""
    if not text:
        return 0
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def says_the_same(a: str, b: str) -> bool:
    """Whether two similar prompts differ by an edit only: words added or dropped, moved, split or mistyped.

    False where a word of one was swapped for another word ("two red cats", "two red cars"), which is what the prompts
    of one template do: they ask for different pictures.

    Args:
        a: Folded.
        b: Folded.
    """
    words_a, words_b = Counter(a.split()), Counter(b.split())
    only_a = [word for word in (words_a - words_b).elements() if word not in FUNCTION_WORDS]
    only_b = [word for word in (words_b - words_a).elements() if word not in FUNCTION_WORDS]
    if "".join(only_a) == "".join(only_b):
        return True
    left = list(only_b)
    swapped = 0
    for word in only_a:
        match = next((other for other in left if _same_word(word, other)), None)
        if match is None:
            swapped += 1
        else:
            left.remove(match)
    return not swapped or not left


def _same_word(a: str, b: str) -> bool:
    """Whether two words are forms of one: one begins with the other, or they differ in one letter of a long word."""
    from rapidfuzz.distance import OSA

    short, long = sorted((a, b), key=len)
    if any(c.isdigit() for c in a + b):
        return False
    if len(short) >= 3 and long.startswith(short):
        return True
    return len(short) >= TYPO_LENGTH and OSA.distance(a, b, score_cutoff=1) <= 1


class NearPrompts:
    """Finds near-equal prompts among the held ones; holds their texts, about 500 bytes each.

    Args:
        texts: Folded, distinct, not empty.
        similarity: Smallest similarity that counts, above 0.5, up to 1.
    """

    def __init__(self, texts: Sequence[str], similarity: float) -> None:
        self.texts, self.similarity = list(texts), similarity
        keys, owners = shingles(self.texts)
        self._postings = Postings(keys, owners)
        self._lengths = np.array([len(text) for text in self.texts], np.int64)
        self._letters = count_letters(self.texts)

    @cached_property
    def _sorted(self) -> list[str]:
        return [_sort_words(text) for text in self.texts]

    def find(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """All near-equal pairs of some texts with the held ones.

        Args:
            texts: Folded; at most some thousands at once.

        Yields:
            Rows of ``texts``, rows of the held texts, similarities.
        """
        keys, rows = shingles(texts)
        starts, counts = self._postings.find(keys)
        picked = _rarest(rows, counts)
        rows, starts, counts = rows[picked], starts[picked], counts[picked]
        lengths, letters = np.array([len(text) for text in texts], np.int64), count_letters(texts)
        by_words: list[str] | None = None
        least = (self.similarity / (2 - self.similarity)) * lengths - 1e-6  # all of the shorter text in the longer one
        longest = ((2 - self.similarity) / self.similarity) * lengths + 1e-6

        def of_fitting_length(mine: NDArray[np.int64], theirs: NDArray[np.int64]) -> NDArray[np.bool_]:
            length = self._lengths[theirs]
            return (length >= least[mine]) & (length <= longest[mine])

        for mine, theirs in self._postings.pairs(rows, starts, counts, of_fitting_length):
            most = (1 - self.similarity) * (lengths[mine] + self._lengths[theirs]) + 1e-6
            # Each insertion or deletion changes one letter's count by one.
            changed = np.abs(letters[mine].astype(np.int16) - self._letters[theirs]).sum(axis=1)
            mine, theirs = mine[changed <= most], theirs[changed <= most]
            if not len(mine):
                continue
            similar = _ratios([texts[n] for n in mine], [self.texts[n] for n in theirs])
            low = np.flatnonzero(similar < self.similarity)
            if len(low):
                by_words = by_words or [_sort_words(text) for text in texts]
                again = _ratios([by_words[n] for n in mine[low]], [self._sorted[n] for n in theirs[low]])
                similar[low] = np.maximum(similar[low], again)
            found = similar >= self.similarity - 1e-6
            yield mine[found], theirs[found], similar[found]


def shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The distinct runs of five letters of each text, spaces at both ends counted, as hashes with the text's number.

    Returns:
        Hashes uint64 ``[N]`` and rows int64 ``[N]``, rows ascending.
    """
    padded = [f" {text} ".ljust(SHINGLE) for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if not len(codes):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    lengths = np.array([len(text) for text in padded])
    rows = np.repeat(np.arange(len(padded)), lengths)
    n = len(codes) - SHINGLE + 1
    hashes = np.zeros(n, np.uint64)
    for k in range(SHINGLE):
        hashes = (hashes ^ codes[k : k + n]) * _PRIME
        hashes ^= hashes >> np.uint64(29)
    inside = rows[:n] == rows[SHINGLE - 1 :]
    hashes, rows = hashes[inside], rows[:n][inside]
    order = np.lexsort((hashes, rows))
    hashes, rows = hashes[order], rows[order]
    fresh = np.ones(len(hashes), bool)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    return hashes[fresh], rows[fresh]


def count_letters(texts: Sequence[str]) -> NDArray[np.uint8]:
    """How often each letter stands in each text: uint8 ``[n, 32]``, letters 32 apart together, counts up to 255."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    rows = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    counts = np.bincount(rows * LETTERS + codes % LETTERS, minlength=len(texts) * LETTERS)
    return np.minimum(counts, 255).astype(np.uint8).reshape(len(texts), LETTERS)


def _rarest(rows: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the ``RAREST`` shingles of each row that somebody holds, rows ascending."""
    held = np.flatnonzero(counts)
    order = held[np.lexsort((counts[held], rows[held]))]
    row = rows[order]
    first = np.searchsorted(row, row)
    return order[np.arange(len(order)) - first < RAREST]


def _ratios(a: list[str], b: list[str]) -> NDArray[np.float32]:
    from rapidfuzz import fuzz, process

    found: NDArray[np.float32] = process.cpdist(a, b, scorer=fuzz.ratio, dtype=np.float32)
    return np.divide(found, 100, dtype=np.float32)


def _sort_words(text: str) -> str:
    return " ".join(sorted(text.split()))
