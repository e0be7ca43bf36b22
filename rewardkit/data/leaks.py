"""What two sets have in common: an evaluation on prompts or images that were trained on flatters the model.

The smaller set's texts and image hashes are held in memory, the larger set passes by; of it, 34 bytes a group stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.leaks_found import KINDS, Collector, Leaks, Match, is_in
from rewardkit.data.leaks_images import Looks, NearImages, looks
from rewardkit.data.leaks_prompts import NearPrompts, fold, fold_commas, says_the_same, text_hash
from rewardkit.data.leaks_sides import Side

CHUNK = 2000
"""Prompts that are looked up at once."""

Display = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(slots=True)
class _Read:
    """The hashes of one side's records, n of them: id, then the three forms of the prompt; 0 says nothing."""

    hashes: NDArray[np.uint64]  # [n, 4]
    unreadable: int = 0


def find_leaks(
    a: Side,
    b: Side,
    *,
    prompts: Literal["near", "exact", "none"] = "near",
    similarity: float = 0.85,
    images: Literal["near", "exact", "none"] = "near",
    distance: int = 4,
    workers: int = 2,
    sink: Callable[[Match], None] | None = None,
    display: Display = lambda what, total: nullcontext(lambda groups: None),
) -> Leaks:
    """Compares ids, prompts and images of two sets.

    Args:
        a: One set.
        b: The other.
        prompts: ``near`` also compares prompts by their similarity, ``exact`` only by their text (and folded text).
        similarity: See ``NearPrompts``.
        images: ``near`` also compares by perceptual hash, which reads and decodes all images of both sets.
        distance: See ``NearImages``.
        workers: Threads that decode images.
        sink: Receives every match, once, under its strictest kind. Without one only examples are looked up.
        display: Makes a progress display from a title and a total.

    Raises:
        DataError: A shard cannot be read at all.
    """
    found = Leaks()
    collect = Collector(a, b, found, sink)
    near = similarity if prompts == "near" else None
    read_a, read_b = _read_both(a, b, near, collect, display)
    found.unreadable = read_a.unreadable + read_b.unreadable
    if a.has_ids and b.has_ids:
        collect.equal("id", read_a.hashes[:, 0], read_b.hashes[:, 0])
        for in_a, in_b in collect.pairs(read_a.hashes[:, 0], read_b.hashes[:, 0]):
            collect.texts("id", in_a, in_b)
    if prompts != "none":
        for column, kind in enumerate(("prompt", "commas", "folded"), 1):
            collect.equal(kind, read_a.hashes[:, column], read_b.hashes[:, column])
        for in_a, in_b in collect.pairs(read_a.hashes[:, 3], read_b.hashes[:, 3]):
            equal = read_a.hashes[in_a] == read_b.hashes[in_b]
            collect.texts("prompt" if equal[1] else "commas" if equal[2] else "folded", in_a, in_b)
        collect.finish_near(near is not None, read_a.hashes[:, 3], read_b.hashes[:, 3])
    if images != "none" and a.index is not None and b.index is not None:
        _compare_images(a, b, images == "near", distance, workers, collect, display)
    found.shared = {kind: found.shared[kind] for kind in KINDS if kind in found.shared}
    return found


def _read_both(a: Side, b: Side, similarity: float | None, collect: Collector, display: Display) -> tuple[_Read, _Read]:
    """Reads the smaller side, then the larger one, which meets the near prompts of the smaller on the way."""
    swapped = len(a) < len(b)
    held, passing = (a, b) if swapped else (b, a)
    names = ("a", "b") if swapped else ("b", "a")
    texts: dict[str, list[int]] = {}

    def hold(start: int, folded: list[str]) -> None:
        for n, text in enumerate(folded, start):
            if text:
                texts.setdefault(text, []).append(n)

    def nothing(start: int, folded: list[str]) -> None:
        pass

    with display(f"reading {names[0]}:", len(held)) as progress:
        read_held = _read(held, nothing if similarity is None else hold, progress)
    look_up = nothing if similarity is None else _LookUp(texts, similarity, swapped, collect)
    with display(f"reading and comparing {names[1]}:", len(passing)) as progress:
        read_passing = _read(passing, look_up, progress)
    return (read_held, read_passing) if swapped else (read_passing, read_held)


class _LookUp:
    """Looks the prompts of the passing side up among the held ones."""

    def __init__(self, texts: Mapping[str, list[int]], similarity: float, swapped: bool, collect: Collector) -> None:
        self._texts, self._records = list(texts), list(texts.values())
        self._letters = [text.replace(" ", "") for text in self._texts]
        self._near = NearPrompts(self._texts, similarity)
        self._swapped, self._collect = swapped, collect

    def __call__(self, start: int, folded: list[str]) -> None:
        mine: dict[str, list[int]] = {}
        for n, text in enumerate(folded, start):
            if text:
                mine.setdefault(text, []).append(n)
        asked = list(mine)
        for rows, owners, similar in self._near.find(asked):
            for row, owner, value in zip(rows.tolist(), owners.tolist(), similar.tolist(), strict=True):
                if asked[row].replace(" ", "") == self._letters[owner]:
                    continue  # equal but for punctuation: counted and listed as that
                kind = "edited" if says_the_same(asked[row], self._texts[owner]) else "similar"
                self._add(kind, mine[asked[row]], self._records[owner], round(value, 4))

    def _add(self, kind: str, passing: list[int], held: list[int], similarity: float) -> None:
        in_a, in_b = (held, passing) if self._swapped else (passing, held)
        flags_a, flags_b = self._collect.near[kind]
        flags_a[in_a], flags_b[in_b] = True, True
        for record_a in in_a if self._collect.listing else in_a[:1]:
            for record_b in in_b if self._collect.listing else in_b[:1]:
                self._collect.texts(kind, record_a, record_b, similarity)


def _read(side: Side, chunk_done: Callable[[int, list[str]], None], progress: Callable[[int], None]) -> _Read:
    """One pass over a side; hands its folded prompts on in chunks (empty where there is no prompt)."""
    read = _Read(np.zeros((len(side), 4), np.uint64))
    start, folded = 0, list[str]()
    for position, said in enumerate(side.texts()):
        prompt = said[1].strip() if said else ""
        words = fold(prompt) if prompt else ""
        folded.append(words)
        if said is None:
            read.unreadable += 1
        else:
            forms = (said[0], prompt, fold_commas(prompt), words.replace(" ", ""))
            read.hashes[position] = [text_hash(form) for form in forms]
        if len(folded) == CHUNK:
            chunk_done(start, folded)
            start, folded = position + 1, []
            progress(start)
    chunk_done(start, folded)
    progress(len(side))
    return read


def _compare_images(
    a: Side, b: Side, near: bool, distance: int, workers: int, collect: Collector, display: Display
) -> None:
    assert a.index is not None and b.index is not None
    hash_a, hash_b = np.asarray(a.index.each_candidate_hash), np.asarray(b.index.each_candidate_hash)
    in_a, in_b = is_in(hash_a, hash_b), is_in(hash_b, hash_a)
    collect.count("image", in_a, in_b)
    for row_a, row_b in collect.pairs(hash_a, hash_b):
        collect.images("image", row_a, row_b)
    if not near:
        return
    swapped = len(hash_a) < len(hash_b)
    (held, hold_name), (passing, pass_name) = ((a, "a"), (b, "b")) if swapped else ((b, "b"), (a, "a"))
    assert held.index is not None and passing.index is not None
    counts = collect.found.looks
    with display(f"hashing images of {hold_name}:", len(held)) as progress:
        kept: list[Looks] = list(looks(held.index, counts, workers=workers, progress=progress))
    by_looks = NearImages(kept, distance)
    matched: tuple[set[int], set[int]] = (set(), set())
    with display(f"hashing images of {pass_name}:", len(passing)) as progress:
        for part in looks(passing.index, counts, workers=workers, progress=progress):
            for mine, theirs, bits in by_looks.find(part):
                rows: tuple[NDArray[Any], NDArray[Any]] = (theirs, mine) if swapped else (mine, theirs)
                for row_a, row_b, value in zip(*(r.tolist() for r in rows), bits.tolist(), strict=True):
                    if hash_a[row_a] != hash_b[row_b]:
                        matched[0].add(int(hash_a[row_a]))
                        matched[1].add(int(hash_b[row_b]))
                        collect.images("near_image", row_a, row_b, value)
    near_a, near_b = (np.fromiter(found, np.uint64, len(found)) for found in matched)
    collect.count("near_image", in_a | np.isin(hash_a, near_a), in_b | np.isin(hash_b, near_b))
