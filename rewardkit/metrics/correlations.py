"""Kendall's tau-b, Spearman and Pearson along the last axis of arrays: many short lists at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

_CELLS_AT_ONCE = 8_000_000


def pearson(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Pearson's correlation ``[...]`` of ``[..., K]``; NaN where a side is constant."""
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    constant = (a.max(axis=-1) == a.min(axis=-1)) | (b.max(axis=-1) == b.min(axis=-1))
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    whole = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    undefined = constant | (whole == 0)
    found = np.divide((a * b).sum(axis=-1), whole, out=np.full(np.shape(whole), np.nan), where=~undefined)
    return np.clip(found, -1.0, 1.0)


def spearman(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Spearman's correlation ``[...]`` of ``[..., K]``, with average ranks for ties; NaN where a side is constant."""
    return pearson(_ranks(x), _ranks(y))


def kendall_tau_b(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Kendall's tau-b ``[...]`` of ``[..., K]``; NaN where a side is constant.

    (C - D) / sqrt((C + D + Tx)(C + D + Ty)): pairs in the same and in the opposite order, and tied in one of them only.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    i, j = np.triu_indices(a.shape[-1], 1)
    shape = a.shape[:-1]
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    found = np.full(len(a), np.nan)
    step = max(1, _CELLS_AT_ONCE // max(1, len(i)))
    for start in range(0, len(a), step):
        part = slice(start, start + step)
        over_x, over_y = np.sign(a[part][:, i] - a[part][:, j]), np.sign(b[part][:, i] - b[part][:, j])
        whole = np.sqrt(np.abs(over_x).sum(axis=-1) * np.abs(over_y).sum(axis=-1))
        found[part] = np.divide((over_x * over_y).sum(axis=-1), whole, out=found[part], where=whole > 0)
    return found.reshape(shape)


def _ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Average ranks along the last axis. Pandas' instead of scipy's, whose import takes two seconds."""
    array = np.asarray(values, dtype=float)
    lists = array.reshape(-1, array.shape[-1])
    return pd.DataFrame(lists).rank(axis=1).to_numpy().reshape(array.shape)
