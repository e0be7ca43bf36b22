"""An exponential moving average of the weights (Polyak averaging), which is what is validated and exported.

After each optimiser step from ``from_step`` on, with n the updates before this one (from 0) and w the weights::

    average = d average + (1 - d) w,    d = min(decay, (1 + n) / (10 + n)) with warm-up, else decay

The warm-up is TensorFlow's (``ExponentialMovingAverage``, ``num_updates``) and timm's: without it the first
1 / (1 - decay) steps are mostly the weights of the beginning.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from rewardkit.models.sharded import gather_anew, share_like, share_of, whole_from_share


def kept_share(decay: float, updates: int, *, warmup: bool) -> float:
    """The share d of the old average that the update after ``updates`` others keeps."""
    return min(decay, (1 + updates) / (10 + updates)) if warmup else decay


class EMA(Callback):
    """Averages what trains; validations, bundle and their figures are the average's, training goes on with the weights.

    Averaged are the model's trainable parameters and the running statistics of its batch norms in train mode. Frozen
    ones are left out, and stay as they are bit for bit. The average is in the checkpoint, beside the weights. A rank
    averages what it holds: all weights, or its share of them (zero3, fsdp); the checkpoint has whole tensors.

    Args:
        decay: In (0, 1).
        from_step: The average starts as the weights after this step; validations before it see the weights.
        warmup: Keep less of it at first.
    """

    def __init__(self, *, decay: float, from_step: int = 0, warmup: bool = True) -> None:
        self.decay = decay
        self.from_step = from_step
        self.warmup = warmup
        self.average: dict[str, Tensor] = {}
        self.updates = 0
        self.swapped = False
        self._tensors: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Starts the average from the first weights, unless it starts later or a checkpoint brought one."""
        self._tensors = averaged_tensors(module.model)
        if self.average:
            self.average = {name: share_like(self._tensors[name], whole) for name, whole in self.average.items()}
        elif trainer.global_step >= self.from_step:
            self._start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Takes the weights after an optimiser step into the average."""
        if (index + 1) % trainer.accumulate_grad_batches or trainer.global_step < self.from_step:
            return
        if not self.average:
            self._start()
            return
        kept = kept_share(self.decay, self.updates, warmup=self.warmup)
        with torch.no_grad():
            for name, tensor in self._tensors.items():
                self.average[name].mul_(kept).add_(share_of(tensor), alpha=1 - kept)
        self.updates += 1

    def on_validation_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Puts the average into the model."""
        self._swap(module)

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Puts the weights back, before the checkpoint is written."""
        self._swap(module)

    def state_dict(self) -> dict[str, Any]:
        """The average by the name of its tensor in the model, whole, and the updates in it; all ranks must ask."""
        assert not self.swapped, "a checkpoint of the middle of a validation would hold the average as the weights"
        whole = {name: whole_from_share(self._tensors[name], share) for name, share in self.average.items()}
        return {"average": whole, "updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them back."""
        self.average = {name: tensor.clone() for name, tensor in state_dict["average"].items()}
        self.updates = state_dict["updates"]

    def _start(self) -> None:
        self.average = {name: share_of(tensor).clone() for name, tensor in self._tensors.items()}

    @torch.no_grad()
    def _swap(self, module: nn.Module) -> None:
        """Exchanges the model's tensors and the average, one after the other; twice is as before."""
        if not self.average:
            return
        for name, tensor in self._tensors.items():
            share = share_of(tensor)
            held = share.clone()
            share.copy_(self.average[name])
            self.average[name] = held
        gather_anew(module)
        self.swapped = not self.swapped


def averaged_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What is averaged: trainable parameters, and running statistics of batch norms with trainable parameters."""
    tensors: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for prefix, part in model.named_modules():
        own = list(part.parameters(recurse=False))
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and any(p.requires_grad for p in own):
            named = part.named_buffers(prefix=prefix, recurse=False)
            tensors |= {name: buffer for name, buffer in named if buffer.is_floating_point()}
    return tensors
