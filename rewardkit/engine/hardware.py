"""What a run uses: machines, processes, and how these share the work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rewardkit.errors import UserError

ZERO_STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}
"""The recipe's names of DeepSpeed's ZeRO stages (arXiv 1910.02054)."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a run uses.

    Attributes:
        devices: Processes on this machine.
        nodes: Machines.
        strategy: ``auto``, ``ddp``, ``zero1``, ``zero2``, ``zero3`` or ``fsdp``.
        precision: ``32``, ``bf16`` or ``16``.
        offload_optimizer: Where ZeRO keeps the optimiser's state: ``none``, ``cpu`` or ``nvme``.
        offload_parameters: Where ZeRO-3 keeps weights that are not in use, likewise.
        nvme_path: Folder for what is offloaded to ``nvme``.
        bucket_mb: Megabytes exchanged at once; None takes the strategy's own.
        communication: In what gradients travel: ``32`` or ``bf16``.
        deepspeed: A whole DeepSpeed configuration instead of ours, already compared with the recipe.
    """

    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: str = "32"
    offload_optimizer: str = "none"
    offload_parameters: str = "none"
    nvme_path: str | None = None
    bucket_mb: float | None = None
    communication: str = "32"
    deepspeed: Mapping[str, Any] | None = None

    @property
    def ranks(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes

    @property
    def zero_stage(self) -> int:
        """DeepSpeed's stage; 0 where another strategy is asked for."""
        return ZERO_STAGES.get(self.strategy, 0)


def count_devices(devices: str) -> int:
    """``trainer.devices`` as a number: all GPUs, or one process on a machine without.

    Raises:
        UserError: It is neither ``auto`` nor a positive whole number, or there are fewer GPUs.
    """
    gpus = torch.cuda.device_count()
    if devices == "auto":
        return max(1, gpus)
    if not devices.isdigit() or int(devices) < 1:
        raise UserError(f"trainer.devices: expects auto or a whole number from 1, got {devices!r}")
    if gpus and int(devices) > gpus:
        raise UserError(f"trainer.devices: {devices} asked for, this machine has {gpus} GPUs")
    return int(devices)
