"""Checkpoints of an FSDP run: each rank writes its rows of each parameter, and reads the rows that it needs.

What lies in the files: ``models/stored/row_folder.py``. Any number of ranks goes on from them, and any strategy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from rewardkit.engine.checkpoint_files import FileWriter
from rewardkit.engine.loading_across import load_rest, reader_of, take_values
from rewardkit.models.stored.interface import MOMENTS, WEIGHT, StoredTraining
from rewardkit.models.stored.row_folder import WHOLE, name_of_rank


def save_rows(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    record: Mapping[str, Any],
    folder: Path,
    writer: FileWriter,
    *,
    leave_out_frozen: bool,
) -> None:
    """Writes this rank's part of a checkpoint; all ranks call it.

    Args:
        module: The sharded LightningModule.
        optimizer: Its optimiser.
        record: What Lightning keeps besides weights and optimiser.
        folder: The checkpoint.
        writer: Writes the files.
        leave_out_frozen: Leave frozen weights out.
    """
    rank = torch.distributed.get_rank()
    writer.make_folder(folder)
    names = _first_names(module)
    kept = {n: p for p, n in names.items() if p.requires_grad or not leave_out_frozen}
    own = {n: p for n, p in kept.items() if isinstance(p, DTensor) or rank == 0}
    rows = {name: _rows(parameter) for name, parameter in own.items()}
    tensors = {n: {WEIGHT: _local(p), **_local_state(optimizer, p)} for n, p in own.items()}
    writer.save({"rows": rows, "tensors": tensors}, folder / name_of_rank(rank))
    if rank:
        return
    parameters = dict(module.named_parameters(remove_duplicate=False))
    whole = {
        "record": dict(record),
        "ranks": torch.distributed.get_world_size(),
        "shapes": {name: list(parameter.shape) for name, parameter in kept.items()},
        "tied": {name: names[p] for name, p in parameters.items() if names[p] != name and names[p] in kept},
        "tensors": {n: t for n, t in module.state_dict().items() if n not in parameters},
        "trained": [name for name, parameter in kept.items() if parameter.requires_grad],
        "groups": [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups],
    }
    writer.save(whole, folder / WHOLE)


@torch.no_grad()
def load_rows(module: nn.Module, optimizer: torch.optim.Optimizer, stored: StoredTraining) -> dict[str, Any]:
    """Takes this rank's rows of weights and optimiser state from what any strategy has written.

    Args:
        module: The sharded LightningModule.
        optimizer: Its optimiser.
        stored: The training to go on with.

    Returns:
        What Lightning kept besides.

    Raises:
        CheckpointError: A parameter is missing or of another shape.
    """
    read, given = reader_of(stored), set(stored)
    names = _first_names(module)
    load_rest(module, stored)
    for parameter, name in names.items():
        if parameter.requires_grad:
            _local(parameter).copy_(_own_rows(read(name, WEIGHT, parameter.shape), parameter))
        elif name in given:
            _local(parameter).copy_(_own_rows(stored[name], parameter))
    take_values(optimizer.param_groups, stored)
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        steps = stored.steps(names[parameter])
        if steps is None:
            continue
        state: dict[str, Tensor] = {"step": torch.tensor(steps)}
        for what in MOMENTS:
            state[what] = torch.zeros_like(parameter)
            _local(state[what]).copy_(_own_rows(read(names[parameter], what, parameter.shape), parameter))
        optimizer.state[parameter] = state
    return dict(stored.record)


def _first_names(module: nn.Module) -> dict[nn.Parameter, str]:
    """Parameter to its name; of tied ones the first."""
    return {parameter: name for name, parameter in module.named_parameters()}


def _local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this rank holds; writing to it writes to the tensor."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor.detach()


def _local_state(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """This rank's part of a parameter's optimiser state; empty before its first step."""
    return {what: _local(value) for what, value in optimizer.state.get(parameter, {}).items()}


def _rows(tensor: Tensor) -> list[int]:
    """First row of this rank and the one behind its last. Torch cuts the first axis as ``torch.chunk`` does."""
    if not isinstance(tensor, DTensor):
        return [0, tensor.shape[0] if tensor.dim() else 1]
    (mesh,), placements = [tensor.device_mesh], tensor.placements
    assert len(placements) == 1 and placements[0].is_shard(0), f"cut in another way than by rows: {placements}"
    length = -(-tensor.shape[0] // mesh.size())
    first = min(tensor.shape[0], mesh.get_local_rank() * length)
    end = min(tensor.shape[0], first + length)
    assert end - first == tensor.to_local().shape[0]
    return [first, end]


def _own_rows(whole: Tensor, of: Tensor) -> Tensor:
    """The rows of a whole tensor that this rank holds of the tensor ``of``."""
    if not isinstance(of, DTensor):
        return whole
    first, end = _rows(of)
    return whole[first:end]
