"""What ``data leaks`` found: kinds of match, their counts, and the matches themselves as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.leaks_images import LookCounts
from rewardkit.data.leaks_sides import Side

KINDS: Mapping[str, str] = {
    "id": "id",
    "prompt": "prompt, equal",
    "commas": "prompt, but for case, commas, spaces",
    "folded": "prompt, but for case, punctuation, spaces",
    "edited": "prompt, edited",
    "similar": "prompt, similar",
    "image": "image, equal bytes",
    "near_image": "image, nearly equal",
}
"""Kinds of match as tables name them; each prompt kind includes those above it, and so do the images."""

NO_LEAK = ("similar",)
"""Kinds that are shown but share nothing: prompts of one template resemble each other and ask for other pictures."""

EXAMPLES = 3
"""Examples of each kind."""


@dataclass(frozen=True, slots=True)
class Match:
    """One pair that is in both sets.

    Attributes:
        kind: The strictest of ``KINDS`` that holds.
        a_id: Group of ``a``.
        b_id: Group of ``b``.
        a: Its prompt, or the image's name; the id itself for equal ids.
        b: Likewise.
        similarity: Of near prompts, 0 to 1.
        bits: In which the hashes of near images differ.
    """

    kind: str
    a_id: str
    b_id: str
    a: str
    b: str
    similarity: float | None = None
    bits: int | None = None


@dataclass(slots=True)
class Shared:
    """One kind of match, counted.

    Attributes:
        in_a: Groups (of images: images) of ``a`` with a match.
        in_b: Of ``b``.
        of_a: All of them.
        of_b: All of them.
        examples: The first few whose strictest kind this is.
    """

    in_a: int
    in_b: int
    of_a: int
    of_b: int
    examples: list[Match] = field(default_factory=list)


@dataclass(slots=True)
class Leaks:
    """What was found.

    Attributes:
        shared: Kind to counts, for the kinds that were looked for.
        unreadable: Records of either set that could not be read.
        looks: Images that were not compared by their looks.
    """

    shared: dict[str, Shared] = field(default_factory=dict)
    unreadable: int = 0
    looks: LookCounts = field(default_factory=LookCounts)

    def __bool__(self) -> bool:
        return any(found.in_b for kind, found in self.shared.items() if kind not in NO_LEAK)


class Collector:
    """Counts, keeps the first examples and hands every match on."""

    def __init__(self, a: Side, b: Side, found: Leaks, sink: Callable[[Match], None] | None) -> None:
        self.a, self.b, self.found, self._sink = a, b, found, sink
        self.listing = sink is not None
        self._examples: dict[str, list[Match]] = {kind: [] for kind in KINDS}
        self._text_a, self._text_b = lru_cache(4096)(a.text), lru_cache(4096)(b.text)
        self.near = {kind: (np.zeros(len(a), bool), np.zeros(len(b), bool)) for kind in ("edited", "similar")}

    def count(self, kind: str, in_a: NDArray[np.bool_], in_b: NDArray[np.bool_]) -> None:
        """Flags of all records (or images) of each side."""
        shared = Shared(int(in_a.sum()), int(in_b.sum()), len(in_a), len(in_b), self._examples[kind])
        self.found.shared[kind] = shared

    def equal(self, kind: str, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> None:
        """Counts equal hashes; 0 equals nothing."""
        self.count(kind, is_in(a, b), is_in(b, a))

    def pairs(self, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
        """Pairs of rows with equal hashes: all of them for a list, else the first of each hash."""
        if self.listing:
            yield from _equal_pairs(a, b)
            return
        equal, rows_a, rows_b = np.intersect1d(a, b, return_indices=True)
        yield from zip(rows_a[equal != 0].tolist(), rows_b[equal != 0].tolist(), strict=True)

    def wants(self, kind: str) -> bool:
        """Whether another match of a kind is of use."""
        return self.listing or len(self._examples[kind]) < EXAMPLES

    def texts(self, kind: str, in_a: int, in_b: int, similarity: float | None = None) -> None:
        """A match of two records."""
        if not self.wants(kind):
            return
        (a_id, a), (b_id, b) = self._text_a(in_a) or ("", ""), self._text_b(in_b) or ("", "")
        self._add(Match(kind, a_id, b_id, a, b, similarity))

    def images(self, kind: str, in_a: int, in_b: int, bits: int | None = None) -> None:
        """A match of two images, by their rows."""
        if not self.wants(kind):
            return
        (a_id, a), (b_id, b) = self.a.image(in_a), self.b.image(in_b)
        self._add(Match(kind, a_id, b_id, a, b, None, bits))

    def finish_near(self, looked: bool, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> None:
        """Near kinds include equal folded texts; a similar one includes an edited one."""
        if not looked:
            return
        flags = [is_in(a, b), is_in(b, a)]
        for kind in ("edited", "similar"):
            flags = [flags[side] | self.near[kind][side] for side in range(2)]
            self.count(kind, flags[0], flags[1])

    def _add(self, match: Match) -> None:
        if len(self._examples[match.kind]) < EXAMPLES:
            self._examples[match.kind].append(match)
        if self._sink is not None:
            self._sink(match)


def is_in(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of some hashes are among the others; 0 is in nothing."""
    return np.isin(some, others) & (some != 0)


def _equal_pairs(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """All pairs of rows with equal hashes, in the order of a."""
    rows = np.flatnonzero(is_in(b, a))
    order = rows[np.argsort(b[rows], kind="stable")]
    held = b[order]
    for row in np.flatnonzero(is_in(a, b)):
        for other in order[slice(*np.searchsorted(held, [a[row], a[row] + np.uint64(1)]))]:
            yield int(row), int(other)
