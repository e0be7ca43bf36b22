"""From a run's hardware to Lightning's strategy: how ranks share the work."""

from __future__ import annotations

import torch
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import _compress_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from rewardkit.engine.hardware import Hardware
from rewardkit.errors import UserError

DDP_BUCKET_MB = 25.0
"""Default of ``trainer.bucket_mb`` with DDP: torch's own."""


class DDP(DDPStrategy):
    """Lightning's, which registers a communication hook on GPUs only and ignores it elsewhere."""

    def _register_ddp_hooks(self) -> None:
        if self._ddp_comm_hook is not None:
            assert isinstance(self.model, DistributedDataParallel)
            hook = self._ddp_comm_hook
            # In a lambda: DDP looks at the types in a hook's annotations, and those of this module are text.
            self.model.register_comm_hook(self._ddp_comm_state, lambda group, bucket: hook(group, bucket))


def in_bfloat16(group: torch.distributed.ProcessGroup | None, bucket: torch.distributed.GradBucket) -> Future[Tensor]:
    """Exchanges a bucket of gradients in bfloat16. Torch's ``bf16_compress_hook`` is the same, refused without NCCL."""
    group = group or torch.distributed.group.WORLD
    assert group is not None
    exchanged: Future[Tensor] = _compress_hook(torch.bfloat16, group, bucket)
    return exchanged


def make_strategy(hardware: Hardware) -> str | Strategy:
    """Lightning's strategy; ``auto`` is DDP where there is more than one rank.

    Raises:
        UserError: The strategy's library is missing, or the strategy cannot compute in this precision.
    """
    if hardware.strategy == "auto" and hardware.ranks == 1:
        return "auto"
    if hardware.zero_stage:
        return _zero(hardware)
    if hardware.strategy == "fsdp":
        return _fsdp(hardware)
    return _ddp(hardware)


def _ddp(hardware: Hardware) -> Strategy:
    return DDP(
        process_group_backend="nccl" if torch.cuda.is_available() else "gloo",
        # A tower may hold parameters that its output does not depend on: some get no gradient on any rank.
        find_unused_parameters=True,
        bucket_cap_mb=hardware.bucket_mb or DDP_BUCKET_MB,
        ddp_comm_hook=in_bfloat16 if hardware.communication == "bf16" else None,
    )


def _zero(hardware: Hardware) -> Strategy:
    from rewardkit.engine.deepspeed_config import deepspeed_config
    from rewardkit.engine.deepspeed_strategy import ZeRO

    if hardware.precision == "16":
        raise UserError(f"trainer.precision: 16 is not to be had with {hardware.strategy}; take bf16 or 32")
    return ZeRO(deepspeed_config(hardware, on_gpu=torch.cuda.is_available()))


def _fsdp(hardware: Hardware) -> Strategy:
    from rewardkit.engine.fsdp_strategy import FSDP

    if hardware.precision == "16":
        raise UserError("trainer.precision: 16 is not to be had with fsdp; take bf16 or 32")
    return FSDP(ranks=hardware.ranks, communication=hardware.communication)
