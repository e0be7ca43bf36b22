"""Which images stand behind a mean: the best, the worst, those around the median; and their pictures in a budget.

A page cannot hold tens of thousands of images. It holds a stated number for each cell of its table, and pictures are
given out in rounds: the best of every cell first, then the worst of every cell and so on, so that a small budget leaves
each cell with about as many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from rewardkit.report.thumbnails import thumbnail_uri

KINDS = ("Best", "Around the median", "Worst")
"""In the order in which a cell shows them."""

_SIDE = 192
_QUALITY = 74


def choose_examples(scores: ArrayLike, count: int) -> dict[str, list[int]]:
    """Places of the images to show of each kind, ``count`` each, no image twice; of equals those that come first.

    Args:
        scores: ``[P]``, NaN where there is no image.
        count: Of each kind; 0 or more.

    Returns:
        Kind to places, best score first; kinds without an image are left out.
    """
    values = np.asarray(scores, dtype=float).reshape(-1)
    order = [n for n in np.argsort(-values, kind="stable").tolist() if np.isfinite(values[n])]
    if len(order) <= 3 * count:
        found = dict(zip(KINDS, _thirds(order), strict=True))
    else:
        start = (len(order) - count) // 2
        found = {
            "Best": order[:count],
            "Around the median": order[start : start + count],
            "Worst": order[len(order) - count :],
        }
    return {kind: places for kind, places in found.items() if places}


def _thirds(order: list[int]) -> list[list[int]]:
    """Few images: all of them, the upper, the middle and the lower ones."""
    outer = -(-len(order) // 3)
    return [order[:outer], order[outer : max(outer, len(order) - outer)], order[max(outer, len(order) - outer) :]]


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a page.

    Attributes:
        uris: Data URIs, each once.
        number: File to its place in ``uris``.
        over_budget: Files that were not taken in since the budget was spent.
        unreadable: Files that are gone or cannot be decoded.
    """

    uris: list[str]
    number: dict[Path, int]
    over_budget: int
    unreadable: int


def in_rounds(wishes: Sequence[Sequence[Path]]) -> list[Path]:
    """The first wish of everybody, then the second of everybody, and so on; each file once."""
    longest = max((len(one) for one in wishes), default=0)
    return list(dict.fromkeys(one[turn] for turn in range(longest) for one in wishes if turn < len(one)))


def take_pictures(files: Iterable[Path], *, max_bytes: int) -> Pictures:
    """Small JPEGs of the files, in their order, until they come to ``max_bytes`` characters.

    Args:
        files: Of images, each once.
        max_bytes: Of all data URIs together.
    """
    taken = Pictures([], {}, 0, 0)
    left, over, unreadable = max_bytes, 0, 0
    for file in files:
        if left <= 0:
            over += 1
            continue
        uri = _read(file)
        if uri is None:
            unreadable += 1
        elif len(uri) > left:
            over, left = over + 1, 0
        else:
            taken.number[file] = len(taken.uris)
            taken.uris.append(uri)
            left -= len(uri)
    return Pictures(taken.uris, taken.number, over, unreadable)


def _read(file: Path) -> str | None:
    try:
        data = file.read_bytes()
    except OSError:
        return None
    return thumbnail_uri(data, side=_SIDE, quality=_QUALITY, decode="scaled")
