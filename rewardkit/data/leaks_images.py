"""When two images are nearly the same: perceptual hashes close to each other, and much the same colours.

The hash is ``phash`` of the imagehash library: 64 bits of the lowest frequencies of the grey image, which survive
another size, format or quality. Different drawings of one layout can share it, so a thumbnail of 8 x 8 colours must
agree too. An image of one flat colour has no frequencies, hence no hash: such images are compared by their bytes only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rewardkit.data.images import decode_image
from rewardkit.data.index import ShardIndex
from rewardkit.data.leaks_lookup import Postings
from rewardkit.errors import BadSample

BITS = 64
SIDE = 8
"""Side of the thumbnail."""

MAX_MEAN_DIFFERENCE, MAX_DIFFERENCE = 8, 64
"""Mean and largest difference of the thumbnails' values, of 255, up to which images can be nearly the same. Another
quality or size changes the mean by less than 3; two drawings of one scene in two colours differ by 9 and more."""

FLAT = 2.0
"""Standard deviation of grey levels up to which an image counts as flat."""

CHUNK = 4096
"""Images that are looked up at once."""

_DECODE_SIDE = 128


@dataclass(frozen=True, slots=True)
class Looks:
    """How some images look, n of them.

    Attributes:
        rows: int64 ``[n]``, their rows among all images of the set.
        hashes: uint64 ``[n]``.
        colours: uint8 ``[n, 192]``.
    """

    rows: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    colours: NDArray[np.uint8]


@dataclass(slots=True)
class LookCounts:
    """Images that were not compared by their looks.

    Attributes:
        flat: Of one colour.
        unreadable: That cannot be decoded.
    """

    flat: int = 0
    unreadable: int = 0


def look(data: bytes) -> tuple[int, NDArray[np.uint8]] | None:
    """Perceptual hash and thumbnail of an image file; None for a flat one.

    Raises:
        BadSample: It cannot be decoded.
    """
    import imagehash

    pixels = decode_image(data, decode="scaled", size=_DECODE_SIDE)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    small = image.convert("L").resize((32, 32), Image.Resampling.BOX)
    if float(np.asarray(small, np.float32).std()) <= FLAT:
        return None
    bits = imagehash.phash(image).hash.ravel()
    value = int.from_bytes(np.packbits(bits).tobytes(), "big")
    return value, np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.uint8).ravel()


def looks(
    index: ShardIndex, counts: LookCounts, *, workers: int, progress: Callable[[int], None] = lambda groups: None
) -> Iterator[Looks]:
    """Reads all images of a shard set, in chunks of about ``CHUNK``; equal bytes are decoded once.

    Args:
        index: The shard set's.
        counts: Receives what was left out.
        workers: Threads that decode.
        progress: Called with the number of groups so far.
    """
    _, first = np.unique(index.each_candidate_hash, return_index=True)
    fresh = np.zeros(len(index.each_candidate_hash), bool)
    fresh[first] = True
    starts = index.starts(index.candidates)
    rows: list[int] = []
    found: list[tuple[int, NDArray[np.uint8]]] = []
    with ThreadPoolExecutor(workers) as pool:
        for position, seen in _in_order(pool, index, fresh, starts, workers):
            for row, said in seen:
                if said is False:
                    counts.unreadable += 1
                elif said is None:
                    counts.flat += 1
                else:
                    rows.append(row)
                    found.append(said)  # type: ignore[arg-type]  # neither of the other two
            progress(position + 1)
            if len(rows) >= CHUNK:
                yield _as_looks(rows, found)
                rows, found = [], []
    if rows:
        yield _as_looks(rows, found)


def _as_looks(rows: list[int], found: list[tuple[int, NDArray[np.uint8]]]) -> Looks:
    return Looks(
        np.array(rows, np.int64),
        np.array([value for value, _ in found], np.uint64),
        np.stack([colours for _, colours in found]),
    )


_Seen = list[tuple[int, "tuple[int, NDArray[np.uint8]] | bool | None"]]


def _in_order(
    pool: ThreadPoolExecutor, index: ShardIndex, fresh: NDArray[np.bool_], starts: NDArray[np.int64], workers: int
) -> Iterator[tuple[int, _Seen]]:
    """The looks of each group's fresh images, groups in order, a few groups ahead."""
    waiting: deque[tuple[int, Future[_Seen]]] = deque()
    for position in range(len(index)):
        new = [int(row) for row in range(*starts[position : position + 2]) if fresh[row]]
        if not new:
            continue
        waiting.append((position, pool.submit(_look_at_group, index, position, new, int(starts[position]))))
        if len(waiting) > 4 * workers:
            done, future = waiting.popleft()
            yield done, future.result()
    for done, future in waiting:
        yield done, future.result()


def _look_at_group(index: ShardIndex, position: int, rows: Sequence[int], start: int) -> _Seen:
    """False stands for an image that cannot be read."""
    try:
        images = index.sample(position).images
    except BadSample:
        return [(row, False) for row in rows]
    seen: _Seen = []
    for row in rows:
        try:
            seen.append((row, look(images[row - start])))
        except BadSample:
            seen.append((row, False))
    return seen


class NearImages:
    """Finds near-equal images among the held ones, about 400 bytes each.

    Hashes that differ in at most t of 64 bits are equal in one of t + 1 bands of bits, so that only the images that
    share a band are compared.

    Args:
        held: Their looks.
        distance: Most bits that may differ, t.
    """

    def __init__(self, held: Sequence[Looks], distance: int) -> None:
        self.distance = distance
        self.rows = np.concatenate([part.rows for part in held] or [np.zeros(0, np.int64)])
        self._hashes = np.concatenate([part.hashes for part in held] or [np.zeros(0, np.uint64)])
        self._colours = np.concatenate([part.colours for part in held] or [np.zeros((0, SIDE * SIDE * 3), np.uint8)])
        keys = self._bands(self._hashes)
        self._postings = Postings(keys.ravel(), np.repeat(np.arange(len(self._hashes)), keys.shape[1]))

    def find(self, asked: Looks) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
        """All near-equal pairs.

        Yields:
            Rows of the images asked for, rows of the held ones (both among all images of their sets), and distances.
        """
        keys = self._bands(asked.hashes)
        starts, counts = self._postings.find(keys.ravel())

        def near(mine: NDArray[np.int64], theirs: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.bitwise_count(asked.hashes[mine] ^ self._hashes[theirs]) <= self.distance

        for mine, theirs in self._postings.pairs(
            np.repeat(np.arange(len(asked.hashes)), keys.shape[1]), starts, counts, near
        ):
            difference = np.abs(asked.colours[mine].astype(np.int16) - self._colours[theirs])
            alike = (difference.mean(axis=1) <= MAX_MEAN_DIFFERENCE) & (difference.max(axis=1) <= MAX_DIFFERENCE)
            mine, theirs = mine[alike], theirs[alike]
            distances = np.bitwise_count(asked.hashes[mine] ^ self._hashes[theirs]).astype(np.int64)
            yield asked.rows[mine], self.rows[theirs], distances

    def _bands(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The bits of each band with the band's number mixed in: uint64 ``[n, t + 1]``."""
        edges = np.linspace(0, BITS, self.distance + 2).astype(int)
        bands = []
        for n, (low, high) in enumerate(pairwise(edges)):
            bits = (hashes >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
            bands.append((bits + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(n << 56))
        return np.stack(bands, axis=1)
