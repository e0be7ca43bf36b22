"""``fit dry_run=true``: what a run would do, without training: parameters, batch shapes, steps, memory."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn

from rewardkit.commands.build_data import build_data, mixing
from rewardkit.commands.build_model import build_model
from rewardkit.commands.build_module import build_module
from rewardkit.commands.check_objective import check_labels
from rewardkit.config.schema import FitOptions
from rewardkit.data.batch import Batch
from rewardkit.engine.hardware import count_devices
from rewardkit.errors import EXIT_DONE, UserError
from rewardkit.models.freezing import LayerGroup, groups_of_model, rate_factors
from rewardkit.modules.parameter_groups import head_prefixes

_ADAM_STATES = 2
"""Tensors of the parameter's size that AdamW keeps for each trained parameter."""
_BYTES = 4


def dry_run(options: FitOptions, origins: Mapping[str, str]) -> int:
    """Builds model and data, runs one forward and backward pass, and prints what it found.

    Args:
        options: Of ``fit``.
        origins: Key to where its value was set.
    """
    console = Console()
    ranks = count_devices(options.trainer.devices) * options.trainer.nodes
    model = build_model(options)
    data = build_data(options, model, ranks=ranks, errors_path=None, console=console)
    assert data.train_data is not None
    for note in check_labels(options.objective, data.train_data, origins, option_labels=data.option_labels):
        print(f"note: {note}", file=sys.stderr)
    module = build_module(options, model, data)
    console.print(parameter_table(model, module.objective, layer_decay=options.optim.layer_decay))
    batch = next(iter(data.train_dataloader()))
    console.print(batch_table(batch))
    console.print(optimiser_table(module.configure_optimizers()["optimizer"].param_groups))
    assert data.schedule is not None
    steps, per_epoch = options.trainer.max_steps, data.schedule.steps_per_epoch
    console.print(
        f"{steps} steps of {options.data.batch_groups} "
        f"{'comparisons' if options.data.pairing == 'pairs' else 'groups'} = {steps / per_epoch:.2f} epochs; "
        f"{ranks} ranks, {data.accumulation} micro-batches of {data.schedule.micro_groups} each a step",
        highlight=False,
    )
    for line in mixing(options, data):
        console.print(line, highlight=False)
    activations = _forward_backward(module, batch, options)
    console.print(memory_line(model, activations), highlight=False)
    console.print("dry run: nothing was trained and nothing written")
    return EXIT_DONE


def parameter_table(model: nn.Module, objective: nn.Module, *, layer_decay: float) -> Table:
    """Parameters of each layer group from input to head, trained and frozen, and the factor of its learning rate.

    The groups are those of ``rewardkit.models.freezing``; a tower whose layers are not known is one row.
    """
    table = Table(title="parameters", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("part", no_wrap=True)
    for column in ("trained", "frozen", "all", "lr factor"):
        table.add_column(column, justify="right", no_wrap=True)
    named = dict(model.named_parameters())
    groups = _known_groups(model)
    factors = rate_factors(groups, layer_decay)
    for tower, layers in groups.items():
        for layer in layers:
            members = [model.get_parameter(name) for name in layer.parameters]
            _add_row(table, layer.name, members, f"{factors[layer.name]:.4g}")
            for name in layer.parameters:
                named.pop(name, None)
        members = [model.get_parameter(name) for layer in layers for name in layer.parameters]
        _add_row(table, f"{tower} tower", members, "", end_section=True)
    heads = head_prefixes(model)
    rest = {"towers": [], "logit scale": [], "dimension heads": [], "objective": list(objective.parameters())}
    for name, parameter in named.items():
        part = "dimension heads" if name.startswith(heads) else "logit scale" if "logit_" in name else "towers"
        rest[part].append(parameter)
    for part, members in rest.items():
        if members:
            _add_row(table, part, members, "1" if part in ("towers", "logit scale") else "head_lr")
    everything = list({id(p): p for p in [*model.parameters(), *objective.parameters()]}.values())
    _add_row(table, "all", everything, "")
    return table


def _known_groups(model: nn.Module) -> dict[Any, tuple[LayerGroup, ...]]:
    try:
        return groups_of_model(model)  # type: ignore[return-value]
    except UserError:  # freezing and layer_decay refuse such a tower; a table need not
        return {}


def _add_row(
    table: Table, part: str, members: Sequence[nn.Parameter], factor: str, *, end_section: bool = False
) -> None:
    trained = sum(p.numel() for p in members if p.requires_grad)
    frozen = sum(p.numel() for p in members if not p.requires_grad)
    table.add_row(
        part,
        f"{trained:,}",
        f"{frozen:,}",
        f"{trained + frozen:,}",
        factor if trained else "-" if factor else "",
        end_section=end_section,
    )


def optimiser_table(groups: Sequence[dict[str, Any]]) -> Table:
    """The optimiser's groups: each trained parameter is in exactly one."""
    table = Table(title="optimiser groups", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("group", no_wrap=True)
    for column in ("tensors", "parameters", "peak lr", "decay"):
        table.add_column(column, justify="right", no_wrap=True)
    for group in groups:
        tensors = group["params"]
        size = sum(p.numel() for p in tensors)
        row = (str(len(tensors)), f"{size:,}", f"{group['initial_lr']:.4g}", f"{group['weight_decay']:g}")
        table.add_row(group["name"], *row)
    return table


def batch_table(batch: Batch) -> Table:
    """Shapes of one micro-batch."""
    table = Table(title="one micro-batch", title_justify="left")
    table.add_column("tensor")
    table.add_column("shape", justify="right")
    table.add_column("type")
    for name in ("pixels", "tokens", "group", "first", "target", "ranking_rank", "answer_target", "caption_tokens"):
        tensor = getattr(batch, name)
        table.add_row(name, str(list(tensor.shape)), str(tensor.dtype).removeprefix("torch."))
    return table


def memory_line(model: nn.Module, activations: int) -> str:
    """An estimate of a rank's memory in words."""
    everything = sum(p.numel() for p in model.parameters()) * _BYTES
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) * _BYTES
    total = everything + trained * (1 + _ADAM_STATES) + activations
    return (
        f"memory of a rank, estimated: weights {_gb(everything)}, gradients {_gb(trained)}, optimiser "
        f"{_gb(trained * _ADAM_STATES)}, activations {_gb(activations)} (measured) = {_gb(total)}; "
        f"a checkpoint takes {_gb(everything + trained * _ADAM_STATES)}"
    )


def _forward_backward(module: nn.Module, batch: Batch, options: FitOptions) -> int:
    """Bytes that autograd keeps for the backward pass of one micro-batch."""
    import torch

    from rewardkit.engine.precision import find_precision

    kept: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in module.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(find_precision(options.trainer.precision))
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", dtype=dtype, enabled=dtype is not None),
    ):
        output = module(batch)
        loss = module.objective(output, batch, batch.denominators)  # type: ignore[operator]
    loss.total.backward()
    return sum(kept.values())


def _gb(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e6:.2f} MB"
