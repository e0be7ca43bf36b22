"""A run goes on with another strategy, or another number of ranks, than wrote its checkpoint: what all of them need.

Everything goes by the names of parameters. ``optimizer_state`` puts a stored training together for a strategy whose
ranks hold the whole optimiser; ``zero_checkpoints`` and ``fsdp_checkpoints`` cut it into their parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from rewardkit.errors import CheckpointError
from rewardkit.models.stored.interface import MOMENTS, WEIGHT, StoredTraining
from rewardkit.models.stored.single_file import PARAMETERS

Read = Callable[[str, str, torch.Size], Tensor]
"""Name, what (``weight`` or a moment) and expected shape to the tensor."""


def reader_of(stored: StoredTraining) -> Read:
    """Reads tensors of trained parameters; a moment that is not there yet is zero."""
    trained = set(stored.trained)

    def read(name: str, what: str, shape: torch.Size) -> Tensor:
        tensor = stored.read(name, what) if name in trained else None
        if tensor is None and what == WEIGHT:
            raise CheckpointError(f"the checkpoint does not hold {name}, which trains now")
        if tensor is None:
            return torch.zeros(shape)
        if tensor.shape != shape:
            raise CheckpointError(f"{name} is {list(tensor.shape)} in the checkpoint and {list(shape)} in the model")
        return tensor

    return read


def load_rest(module: nn.Module, stored: StoredTraining) -> None:
    """Loads what a module's state_dict has besides parameters: buffers, and counts of metrics."""
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    given = set(stored)
    rest = {name: stored[name] for name in module.state_dict() if name in given and name not in parameters}
    module.load_state_dict(rest, strict=False)


def take_values(groups: list[dict[str, Any]], stored: StoredTraining) -> None:
    """Takes over learning rates and the like into an optimiser's groups, by the groups' names.

    Whether AdamW is fused is not taken over: that depends on where it runs now.
    """
    values = {group["name"]: group for group in stored.group_values}
    for group in groups:
        group.update({key: value for key, value in values[group["name"]].items() if key not in ("params", "fused")})


def parameter_names(module: pl.LightningModule, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """The names of an optimiser's parameters, group by group, in the order in which its state_dict numbers them."""
    names = {parameter: name for name, parameter in module.named_parameters()}
    return [[names[parameter] for parameter in group["params"]] for group in optimizer.param_groups]


def optimizer_state(module: pl.LightningModule, stored: StoredTraining) -> dict[str, Any]:
    """The optimiser's state_dict for a module that no strategy has cut up."""
    configured: Any = module.configure_optimizers()
    optimizer: torch.optim.Optimizer = configured["optimizer"]
    own = optimizer.state_dict()
    take_values(own["param_groups"], stored)
    names = [name for group in parameter_names(module, optimizer) for name in group]
    state = {}
    for number, name in enumerate(names):
        steps = stored.steps(name)
        if steps is not None:
            moments = {what: stored.read(name, what) for what in MOMENTS}
            state[number] = {"step": torch.tensor(steps), **moments}
    return {"state": state, "param_groups": own["param_groups"]}


def note_parameters(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Adds the names of the optimiser's parameters to a checkpoint that numbers them."""
    if checkpoint.get("optimizer_states"):
        checkpoint[PARAMETERS] = parameter_names(trainer.lightning_module, trainer.optimizers[0])
