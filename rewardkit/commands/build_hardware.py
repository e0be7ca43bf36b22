"""From the options of ``trainer`` to what a run uses."""

from __future__ import annotations

from rewardkit.config.optim_options import TrainerOptions
from rewardkit.engine.deepspeed_config import read_deepspeed_config
from rewardkit.engine.hardware import Hardware, count_devices
from rewardkit.engine.precision import find_precision


def build_hardware(asked: TrainerOptions, *, planned: bool = False) -> Hardware:
    """Machines, processes, and how these share the work.

    Args:
        asked: Of the recipe.
        planned: The run will be elsewhere: a number of devices is taken as it is, whatever this machine has.

    Raises:
        UserError: This machine has too few devices, or the given DeepSpeed configuration cannot be read.
    """
    counted = planned and asked.devices.isdigit() and int(asked.devices) > 0
    return Hardware(
        int(asked.devices) if counted else count_devices(asked.devices),
        asked.nodes,
        asked.strategy,
        find_precision(asked.precision),
        offload_optimizer=asked.offload_optimizer,
        offload_parameters=asked.offload_parameters,
        nvme_path=asked.nvme_path,
        bucket_mb=asked.bucket_mb,
        communication=asked.communication,
        deepspeed=read_deepspeed_config(asked.deepspeed_config) if asked.deepspeed_config else None,
    )


def is_elsewhere(asked: TrainerOptions) -> bool:
    """Whether more machines, or more devices of one, are asked for than this machine has GPUs (without any: one)."""
    here = count_devices("auto")
    return asked.nodes > 1 or (asked.devices.isdigit() and int(asked.devices) > here)
