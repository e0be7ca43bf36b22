"""Parameters that ranks share among them (ZeRO-3, FSDP2), and those whose float32 original lies elsewhere (ZeRO).

Everything here also works on ordinary parameters, so that a module or a callback need not know the strategy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


def is_shared(parameter: Tensor) -> bool:
    """Whether this rank holds only a part of the parameter between its uses."""
    return isinstance(parameter, DTensor) or hasattr(parameter, "ds_tensor")


def share_of(parameter: Any) -> Tensor:
    """What this rank holds of a parameter between its uses, without a copy; the whole of an ordinary one.

    All ranks' shares together, element by element, are the parameter (with ZeRO-3 flat, and padded at the end).
    """
    if isinstance(parameter, DTensor):
        return cast(DTensor, parameter.detach()).to_local()
    if hasattr(parameter, "ds_tensor"):
        share: Tensor = parameter.ds_tensor.data
        return share
    return parameter.detach()


def whole_of(parameter: Any) -> Tensor:
    """The whole parameter, a copy on the CPU where it is shared. All ranks must ask for the same one."""
    if isinstance(parameter, DTensor):
        return cast(DTensor, parameter.detach()).full_tensor().cpu()
    if hasattr(parameter, "ds_tensor"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().cpu().clone()
    return parameter.detach()


def whole_from_share(parameter: Any, share: Tensor) -> Tensor:
    """What all ranks' shares, each as ``share_of(parameter)`` is laid out, are together; all ranks must ask.

    Args:
        parameter: How it is laid out.
        share: This rank's.
    """
    if isinstance(parameter, DTensor):
        mesh, placements = parameter.device_mesh, parameter.placements
        shape, stride = parameter.shape, parameter.stride()
        return DTensor.from_local(share, mesh, placements, run_check=False, shape=shape, stride=stride).full_tensor()
    if hasattr(parameter, "ds_tensor"):
        mine = share.reshape(-1).to(parameter.device)
        group = parameter.ds_process_group
        gathered = mine.new_empty(mine.numel() * torch.distributed.get_world_size(group))
        torch.distributed.all_gather_into_tensor(gathered, mine, group=group)
        return gathered[: parameter.ds_numel].view(parameter.ds_shape)
    return share


@torch.no_grad()
def gather_anew(module: nn.Module) -> None:
    """After shares of ``module`` were changed in place: what is kept gathered is brought up to date on all ranks.

    FSDP leaves the parameters of its root gathered behind a validation, ZeRO-3 small ones always.
    """
    _reshard(module)
    for parameter in module.parameters():
        status = getattr(parameter, "ds_status", None)
        if status is not None and status.name == "AVAILABLE":
            parameter.data.copy_(whole_from_share(parameter, share_of(parameter)))


def _reshard(module: nn.Module) -> None:
    """Takes back what FSDP has left gathered."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def share_like(parameter: Any, whole: Tensor) -> Tensor:
    """What this rank would hold of ``whole`` if it lay as ``parameter`` does; on the parameter's device, a copy."""
    if isinstance(parameter, DTensor):
        from torch.distributed.tensor import distribute_tensor

        whole = whole.to(parameter.to_local().device, copy=True)
        placed = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
        return placed.to_local().clone()
    if hasattr(parameter, "ds_tensor"):
        own: Tensor = parameter.ds_tensor
        start = torch.distributed.get_rank(parameter.ds_process_group) * own.numel()
        share = torch.zeros_like(own.data)
        found = whole.reshape(-1)[start : start + own.numel()]
        share.reshape(-1)[: found.numel()].copy_(found)
        return share
    return whole.to(parameter.device, copy=True)


@contextmanager
def whole_parameters(model: nn.Module, *, here: bool) -> Iterator[None]:
    """Inside, shared parameters of ``model`` are whole on the ranks that ask for it; all ranks must enter.

    One parameter after the other is gathered, and kept in main memory by those that ask. The model may be read inside
    (saved, exported), not trained.

    Args:
        model: The whole of what the strategy was given: FSDP's root has to be in it, since what the root left gathered
            would be shared again by the first ``state_dict`` inside.
        here: Whether this rank wants them.
    """
    _reshard(model)
    replaced: list[tuple[nn.Module, str, Any]] = []
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or not is_shared(parameter):
                continue
            if id(parameter) not in made:
                whole = whole_of(parameter)
                made[id(parameter)] = nn.Parameter(whole if here else whole[:0], requires_grad=parameter.requires_grad)
            replaced.append((module, name, parameter))
    try:
        if here:
            for module, name, parameter in replaced:
                module._parameters[name] = made[id(parameter)]
        yield
    finally:
        if here:
            for module, name, parameter in replaced:
                module._parameters[name] = parameter


@torch.no_grad()
def clamp_parameter(parameter: Any, low: float, high: float) -> None:
    """Clamps a parameter for good, wherever its values lie: ZeRO takes its steps on a float32 copy of its own."""
    share_of(parameter).clamp_(low, high)
    if hasattr(parameter, "ds_tensor"):
        from deepspeed.utils import safe_get_local_fp32_param, safe_set_local_fp32_param

        parameter.data.clamp_(low, high)  # small ones stay gathered
        safe_set_local_fp32_param(parameter, safe_get_local_fp32_param(parameter).clamp(low, high))
    elif getattr(parameter, "_hp_mapping", None) is not None:
        parameter._hp_mapping.hp_fragment.clamp_(low, high)
