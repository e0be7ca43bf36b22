"""``fit dry_run=true``: what a run would do, without training: parameters, batch shapes, steps, memory."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from torch import nn

from rewardkit.commands.build_data import build_data
from rewardkit.commands.build_model import build_model
from rewardkit.commands.build_module import build_module
from rewardkit.config.schema import FitOptions
from rewardkit.data.batch import Batch
from rewardkit.engine.train import count_devices
from rewardkit.errors import EXIT_DONE

_ADAM_STATES = 2
"""Tensors of the parameter's size that AdamW keeps for each trained parameter."""
_BYTES = 4


def dry_run(options: FitOptions) -> int:
    """Builds model and data, runs one forward and backward pass, and prints what it found."""
    console = Console()
    ranks = count_devices(options.trainer.devices) * options.trainer.nodes
    model = build_model(options)
    data = build_data(options, model, ranks=ranks, errors_path=None, console=console)
    module = build_module(options, model)
    console.print(parameter_table(model.named_parameters()))
    batch = next(iter(data.train_dataloader()))
    console.print(batch_table(batch))
    groups = module.configure_optimizers()["optimizer"].param_groups
    for group in groups:
        tensors = group["params"]
        console.print(
            f"{group['name']:<17} {len(tensors):>4} tensors  {sum(p.numel() for p in tensors):>13,} parameters  "
            f"peak lr {group['initial_lr']:g}  weight decay {group['weight_decay']:g}",
            highlight=False,
        )
    assert data.schedule is not None
    steps, per_epoch = options.trainer.max_steps, data.schedule.steps_per_epoch
    console.print(
        f"{steps} steps of {options.data.batch_groups} "
        f"{'comparisons' if options.data.pairing == 'pairs' else 'groups'} = {steps / per_epoch:.2f} epochs; "
        f"{ranks} ranks, {data.accumulation} micro-batches of {data.schedule.micro_groups} each a step",
        highlight=False,
    )
    activations = _forward_backward(module, batch, options)
    console.print(memory_line(model, activations), highlight=False)
    console.print("dry run: nothing was trained and nothing written")
    return EXIT_DONE


def parameter_table(named: Iterable[tuple[str, nn.Parameter]]) -> Table:
    """Parameters of each part, trained and frozen."""
    counts: dict[str, list[int]] = {}
    for name, parameter in named:
        part = _part(name)
        counts.setdefault(part, [0, 0])[0 if parameter.requires_grad else 1] += parameter.numel()
    table = Table(title="parameters", title_justify="left")
    table.add_column("part")
    for column in ("trained", "frozen", "all"):
        table.add_column(column, justify="right")
    counts["all"] = [sum(c[0] for c in counts.values()), sum(c[1] for c in counts.values())]
    for part, (trained, frozen) in counts.items():
        table.add_row(part, f"{trained:,}", f"{frozen:,}", f"{trained + frozen:,}")
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


def _part(name: str) -> str:
    if name.startswith("head."):
        return "dimension heads"
    if "visual." in name:
        return "image tower"
    return "logit scale" if "logit_" in name else "text tower"


def _gb(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e6:.2f} MB"
