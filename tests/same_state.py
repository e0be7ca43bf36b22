"""Whether two states (of checkpoints, of models) are equal, bit for bit."""

from __future__ import annotations

from typing import Any

import torch


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Compares nested maps, lists, tensors and plain values; tensors in type, shape and every bit."""
    assert type(a) is type(b), f"{where}: {type(a)} and {type(b)}"
    if isinstance(a, dict):
        assert a.keys() == b.keys(), f"{where}: {sorted(map(str, a.keys() ^ b.keys()))}"
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), f"{where}: {len(a)} and {len(b)} items"
        for n, (mine, theirs) in enumerate(zip(a, b, strict=True)):
            assert_same(mine, theirs, f"{where}/{n}")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), f"{where}: tensors differ"
    else:
        assert a == b or (a != a and b != b), f"{where}: {a!r} and {b!r}"
