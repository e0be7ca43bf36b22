"""Rows of all ranks on every rank, with a gradient back to the rank that they came from.

``torch.distributed.all_gather`` has no gradient and wants equal sizes; ranks have different numbers of candidates.
Every rank has to call these functions as often as the others, in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def ranks() -> int:
    """Number of ranks; 1 outside a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """The rows of all ranks, in the order of ranks.

    The gradient of a row is the sum of what all ranks' losses say of it. So where each rank has its share of the loss
    and gradients of parameters are added over ranks, two ranks get what one gets.

    Args:
        rows: ``[n, ...]``, n may differ between ranks, all else must not.

    Returns:
        ``[sum of n, ...]``, and where this rank's rows start.
    """
    if ranks() == 1:
        return rows, 0
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(ranks())]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    gathered: Tensor = _GatherRows.apply(rows, sizes)
    return gathered, sum(sizes[: dist.get_rank()])


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        start = sum(ctx.sizes[: dist.get_rank()])
        return total[start : start + ctx.sizes[dist.get_rank()]], None
