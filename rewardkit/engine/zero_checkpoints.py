"""Checkpoints of a ZeRO run: DeepSpeed's own folders, written durably, and loaded from any other strategy's as well.

Imports DeepSpeed, so only ``deepspeed_strategy`` may import this, once DeepSpeed is set up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address
from torch import Tensor, nn

from rewardkit.engine.checkpoint_files import FileWriter
from rewardkit.engine.loading_across import Read, load_rest, reader_of, take_values
from rewardkit.errors import CheckpointError
from rewardkit.models.stored.interface import MOMENTS, WEIGHT, StoredTraining
from rewardkit.models.stored.zero_folder import LATEST

TAG = "checkpoint"
"""DeepSpeed's name of the folder inside a checkpoint; Lightning's choice, so that its tools read ours."""

_OWN_OBJECTS = [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]
"""What DeepSpeed keeps in its files beside tensors and plain values."""


class DurableShards(CheckpointEngine):  # type: ignore[misc]  # deepspeed is untyped
    """DeepSpeed's door to files: written through a ``FileWriter``, read without unpickling anything that could run.

    Args:
        writer: Writes this rank's files.
    """

    def __init__(self, writer: FileWriter) -> None:
        super().__init__()
        self.writer = writer

    def create(self, info: Any) -> None:
        """Nothing to prepare."""

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Makes a folder."""
        self.writer.make_folder(Path(path))

    def save(self, state_dict: Any, path: str) -> None:
        """Writes one file, or starts to."""
        self.writer.save(state_dict, Path(path))

    def load(self, path: str, map_location: Any = None) -> Any:
        """Reads one file into memory."""
        with torch.serialization.safe_globals(_OWN_OBJECTS):
            return torch.load(path, map_location=map_location, weights_only=True)

    def commit(self, info: Any) -> bool:
        """The run's own callback gives a checkpoint its name."""
        return True


def save_zero(
    engine: Any, record: Mapping[str, Any], folder: Path, writer: FileWriter, *, leave_out_frozen: bool
) -> None:
    """Writes this rank's part of a checkpoint; all ranks call it.

    Args:
        engine: DeepSpeed's engine.
        record: What Lightning keeps besides weights and optimiser.
        folder: The checkpoint.
        writer: Writes the files.
        leave_out_frozen: Leave frozen weights out.
    """
    engine.checkpoint_engine = DurableShards(writer)
    engine._copy_recovery_script = lambda *arguments: None  # programs have no place in a checkpoint
    engine.save_checkpoint(
        str(folder), tag=TAG, client_state=dict(record), save_latest=False, exclude_frozen_parameters=leave_out_frozen
    )
    if engine.global_rank == 0:
        writer.save_text(TAG, folder / LATEST)
    swapped = folder / TAG / "offloaded_tensors" / f"rank{engine.global_rank:02d}"
    for path in swapped.rglob("*") if swapped.is_dir() else ():
        if path.is_file():
            writer.note(path)


def load_across(engine: Any, module: nn.Module, stored: StoredTraining) -> dict[str, Any]:
    """Takes weights and optimiser state from what another strategy, or another number of ranks, has written.

    Args:
        engine: DeepSpeed's engine around ``module``.
        module: The LightningModule.
        stored: The training to go on with.

    Returns:
        What Lightning kept besides.

    Raises:
        CheckpointError: A parameter is missing or of another shape, or the optimiser's state lies on an NVMe disk.
    """
    if engine.zero_nvme_offload_optimizer():
        raise CheckpointError(
            "with trainer.offload_optimizer=nvme, a run goes on with the strategy and number of ranks that it had"
        )
    names = {parameter: name for name, parameter in module.named_parameters() if parameter.requires_grad}
    optimizer, read = engine.optimizer, reader_of(stored)
    if engine._optimizer_has_ckpt_event_prologue():  # stage 3 puts back what it holds gathered
        optimizer.checkpoint_event_prologue()
    _load_rest(module, stored, trained=set(names.values()))
    own = optimizer.state_dict()
    if engine.zero_optimization_partition_weights():
        groups, take = optimizer.fp16_groups, _of_parameters
        weights, state = own["fp32_flat_groups"], own["optimizer_state_dict"]
    else:
        groups, take = optimizer.round_robin_bit16_groups, _of_group
        weights, state = own["single_partition_of_fp32_groups"], own["base_optimizer_state"]
        for parameter, name in names.items():
            parameter.data.copy_(read(name, WEIGHT, parameter.shape))
    take_values(state["param_groups"], stored)
    for number, group in enumerate(groups):
        named = [(names[parameter], parameter) for parameter in group]
        weights[number] = take(optimizer, number, named, read, WEIGHT)
        state["state"][number] = {what: take(optimizer, number, named, read, what) for what in MOMENTS}
        steps = max((stored.steps(name) or 0.0 for name, _ in named), default=0.0)
        state["state"][number]["step"] = torch.tensor(steps)
    parts: list[Any] = [None] * engine.dp_world_size
    parts[engine.global_rank] = own
    optimizer.load_state_dict(parts, load_optimizer_states=True, load_from_fp32_weights=True)
    if engine._optimizer_has_ckpt_event_epilogue():
        optimizer.checkpoint_event_epilogue()
    engine.global_steps = int(stored.record["global_step"])
    return dict(stored.record)


def _load_rest(module: nn.Module, stored: StoredTraining, *, trained: set[str]) -> None:
    """Loads buffers and counts, and frozen weights where they are there."""
    load_rest(module, stored)
    given = set(stored)
    for name, parameter in module.named_parameters():
        if name in trained or name not in given:
            continue
        part = getattr(parameter, "ds_tensor", None)
        if part is None:
            parameter.data.copy_(stored[name])
        else:
            part.data.copy_(_cut(stored[name], part.numel(), torch.distributed.get_rank()))


def _of_group(optimizer: Any, number: int, named: Sequence[tuple[str, Any]], read: Read, what: str) -> Tensor:
    """This rank's part of a group's long vector (stages 1 and 2)."""
    size = int(optimizer.partition_size[number])
    first = size * torch.distributed.get_rank(group=optimizer.real_dp_process_group[number])
    vector, start = torch.zeros(size), 0
    for name, parameter in named:
        end = start + parameter.numel()
        low, high = max(start, first), min(end, first + size)
        if low < high:
            tensor = read(name, what, parameter.shape).reshape(-1)
            vector[low - first : high - first] = tensor[low - start : high - start]
        start = end
    return vector


def _of_parameters(optimizer: Any, number: int, named: Sequence[tuple[str, Any]], read: Read, what: str) -> Tensor:
    """This rank's part of each parameter of a group, joined (stage 3)."""
    rank = torch.distributed.get_rank(group=optimizer.dp_process_group)
    return torch.cat([_cut(read(name, what, p.ds_shape), p.ds_tensor.numel(), rank) for name, p in named])


def _cut(tensor: Tensor, length: int, rank: int) -> Tensor:
    """A rank's part of a tensor, filled up with zeros where the tensor ends."""
    part = torch.zeros(length, dtype=tensor.dtype)
    own = tensor.reshape(-1)[rank * length : (rank + 1) * length]
    part[: len(own)] = own
    return part
