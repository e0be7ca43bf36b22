"""Running statistics of batch norms are rank 0's on every rank, whatever the strategy.

Each rank's batch norms follow its own share of the batch. DDP gives all of them rank 0's before each forward; ZeRO and
FSDP leave them apart. Ranks would then validate different models, and a run that goes on from a checkpoint, which has
rank 0's, would validate another one than a run that was never interrupted. In training they have no effect.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn


class SharedRunningStatistics(Callback):
    """Takes rank 0's statistics after each optimiser step, before they are averaged, validated or saved."""

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Finds them; there are none to share on a single rank."""
        self._buffers = running_statistics(module) if trainer.world_size > 1 else []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """All ranks come here after each forward; the last one of a step is followed by its optimiser step."""
        if (index + 1) % trainer.accumulate_grad_batches == 0:
            share_from_first(self._buffers)


def running_statistics(module: nn.Module) -> list[Tensor]:
    """Buffers of the batch norms that follow the data; frozen ones are in eval mode and change nowhere."""
    return [
        buffer
        for part in module.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training
        for buffer in part.buffers(recurse=False)
    ]


@torch.no_grad()
def share_from_first(buffers: list[Tensor]) -> None:
    """Overwrites floating-point buffers with those of rank 0, all in one message; every rank calls it."""
    floats = [buffer for buffer in buffers if buffer.is_floating_point()]
    if not floats:
        return
    flat = torch.cat([buffer.reshape(-1) for buffer in floats])
    torch.distributed.broadcast(flat, src=0)
    for buffer, values in zip(floats, flat.split([buffer.numel() for buffer in floats]), strict=True):
        buffer.copy_(values.view_as(buffer))
