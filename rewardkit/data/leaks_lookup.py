"""An inverted list in flat arrays: which texts or images hold a given key, for many keys at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

BUDGET = 2_000_000
"""Most entries that are laid out at once: about 100 MB while they are compared."""


class Postings:
    """Key to the owners that hold it.

    Args:
        keys: uint64 ``[N]``.
        owners: int ``[N]``, the owner of each key, below 2**31.
    """

    def __init__(self, keys: NDArray[np.uint64], owners: NDArray[np.int64]) -> None:
        order = np.argsort(keys, kind="stable")
        self.keys, self.starts, self.counts = np.unique(keys[order], return_index=True, return_counts=True)
        self._owners = owners[order].astype(np.int32)

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First entry and number of entries of each key, ``[len(keys)]``; 0 of a key that nobody holds."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        counts = np.where(self.keys[at] == keys, self.counts[at], 0)
        return self.starts[at], counts

    def pairs(
        self,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        counts: NDArray[np.int64],
        keep: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]],
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Distinct (row, owner) pairs of the entries that ``find`` gave, each pair once.

        Args:
            rows: The asker of each key, ascending.
            starts: From ``find``.
            counts: From ``find``.
            keep: Which of some rows and owners can be a match; asked before the pairs are sorted, which costs most.

        Yields:
            Rows and owners, no more than ``BUDGET`` entries laid out at once; a row is never cut in two.
        """
        kept = counts > 0
        rows, starts, counts = rows[kept], starts[kept], counts[kept]
        begin = 0
        while begin < len(rows):
            until = np.cumsum(counts[begin:])
            end = begin + max(1, int(np.searchsorted(until, BUDGET, side="right")))
            last = rows[end - 1]
            if end < len(rows) and rows[end] == last:  # the row goes on: leave it to the next turn, or take all of it
                first_of_last = begin + int(np.searchsorted(rows[begin:end], last))
                end = first_of_last if first_of_last > begin else int(np.searchsorted(rows, last, side="right"))
            laid_rows, owners = self._lay_out(rows[begin:end], starts[begin:end], counts[begin:end])
            kept = keep(laid_rows, owners)
            both = np.unique((laid_rows[kept] << 32) | owners[kept])
            yield both >> 32, both & 0xFFFFFFFF
            begin = end

    def _lay_out(
        self, rows: NDArray[np.int64], starts: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        offset = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = self._owners[np.repeat(starts, counts) + offset].astype(np.int64)
        return np.repeat(rows, counts), owners
