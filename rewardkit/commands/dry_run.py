"""``fit dry_run=true``: what a run would do, without training: parameters, batch shapes, steps, memory.

A CLIP or BLIP that is planned for machines that are not here is sketched: its weights are neither read nor held, so
that a laptop can plan for any number of GPUs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn

from rewardkit.commands.build_data import build_data, mixing
from rewardkit.commands.build_hardware import build_hardware, is_elsewhere
from rewardkit.commands.build_model import build_model
from rewardkit.commands.build_module import build_module
from rewardkit.commands.check_objective import check_labels
from rewardkit.config.schema import FitOptions
from rewardkit.data.batch import Batch
from rewardkit.engine.activations import activation_bytes, sketch
from rewardkit.engine.hardware import Hardware
from rewardkit.engine.plan import Plan, plan_run, size_of
from rewardkit.engine.train import quieten
from rewardkit.errors import EXIT_DONE, UserError
from rewardkit.models.freezing import LayerGroup, groups_of_model
from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.modules.optimisation import Optimisation
from rewardkit.modules.parameter_groups import head_prefixes, layer_rates

_SHOWN = ("pixels", "tokens", "group", "first", "target", "ranking_rank", "answer_target", "caption_tokens")
_SHOWN_OF_QUESTIONS = ("input_ids", "option_target", "answer_token")


def dry_run(options: FitOptions, origins: Mapping[str, str]) -> int:
    """Builds model and data, runs one forward pass (and where the weights are here, backward), prints what it found.

    Args:
        options: Of ``fit``.
        origins: Key to where its value was set.
    """
    console = Console()
    quieten(None)  # what libraries warn of (few processors for so many workers, tensors without numbers) is no plan's
    hardware = build_hardware(options.trainer, planned=True)
    sketched = sketch() if options.model.kind != "mllm" and is_elsewhere(options.trainer) else None
    with sketched or nullcontext():
        model = build_model(options, weights=sketched is None)
    data = build_data(options, model, ranks=hardware.ranks, errors_path=None, console=console)
    assert data.train_data is not None
    for note in check_labels(options.objective, data.train_data, origins, option_labels=data.option_labels):
        print(f"note: {note}", file=sys.stderr)
    with sketched or nullcontext():
        module = build_module(options, model, data)
    console.print(parameter_table(model, module.objective, module.optimisation))
    batch = next(iter(data.train_dataloader()))
    console.print(batch_table(batch))
    console.print(optimiser_table(module.configure_optimizers()["optimizer"].param_groups))
    assert data.schedule is not None
    steps, per_epoch = options.trainer.max_steps, data.schedule.steps_per_epoch
    console.print(
        f"{steps} steps of {options.data.batch_groups} "
        f"{'comparisons' if options.data.pairing == 'pairs' else 'groups'} = {steps / per_epoch:.2f} epochs of "
        f"{per_epoch:,} steps; {hardware.ranks} ranks, "
        f"{data.accumulation} micro-batches of {data.schedule.micro_groups} each a step",
        highlight=False,
    )
    for line in mixing(options, data):
        console.print(line, highlight=False)
    activations = activation_bytes(module, batch, precision=hardware.precision, within=sketched)
    plan = plan_run(
        size_of(module, activations),
        hardware,
        accumulation=data.accumulation,
        average=options.callbacks.ema is not None,
        frozen_kept=options.trainer.checkpoint_frozen or options.model.pretrained is None,
    )
    console.print(plan_table(plan, hardware))
    if sketched is not None:
        console.print("planned for machines that are not here: no weights were read or held, none were checked")
    console.print("dry run: nothing was trained and nothing written")
    return EXIT_DONE


def parameter_table(model: nn.Module, objective: nn.Module, optimisation: Optimisation) -> Table:
    """Parameters of each layer group from input to head, trained and frozen, and the factor of its learning rate.

    The groups are those of ``rewardkit.models.freezing``; a tower whose layers are not known is one row.
    """
    table = Table(title="parameters", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("part", no_wrap=True)
    for column in ("trained", "frozen", "all", "lr factor"):
        table.add_column(column, justify="right", no_wrap=True)
    named = dict(model.named_parameters())
    groups = _known_groups(model)
    factors = layer_rates(
        model,
        layer_decay=optimisation.layer_decay,
        vision_factor=optimisation.vision_factor,
        projector_factor=optimisation.projector_factor,
    )[0]
    for tower, layers in groups.items():
        for layer in layers:
            members = [model.get_parameter(name) for name in layer.parameters]
            _add_row(table, layer.name, members, f"{factors.get(layer.name, 1.0):.4g}")
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
    shown = {name: getattr(batch, name) for name in _SHOWN}
    if isinstance(batch.questions, QuestionBatch):  # an evaluator reads these instead of pixels and tokens
        rows = batch.questions
        shown = (
            {f"questions.images.{name}": tensor for name, tensor in rows.images.items()}
            | {f"questions.{name}": getattr(rows, name) for name in _SHOWN_OF_QUESTIONS}
            | {name: tensor for name, tensor in shown.items() if name not in ("pixels", "tokens", "caption_tokens")}
        )
        table.caption = (
            f"{len(rows.image_tokens)} images of {rows.image_tokens.float().mean():.0f} tokens, {len(rows.row_asked)} "
            f"rows of {rows.attention_mask.sum(dim=1).float().mean():.0f}, of which their images' share "
            f"{rows.shared.float().mean():.0f}; {1 - rows.attention_mask.float().mean():.0%} is padding"
        )
    for name, tensor in shown.items():
        table.add_row(name, str(list(tensor.shape)), str(tensor.dtype).removeprefix("torch."))
    return table


def plan_table(plan: Plan, hardware: Hardware) -> Table:
    """Memory of a rank, bytes on the wire and the size of a checkpoint, estimated."""
    shared = f"{hardware.ranks} ranks ({hardware.nodes} x {hardware.devices}), {hardware.strategy}"
    table = Table(title=f"estimated for {shared}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("memory of a rank", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    for item in fields(plan.device):
        measured = " (one micro-batch, counted here)" if item.name == "activations" else ""
        table.add_row(item.name + measured, _units(getattr(plan.device, item.name)))
    table.add_row("together", _units(plan.device.together), end_section=True)
    if plan.host:
        table.add_row("offloaded from it", _units(plan.host))
    table.add_row("sent by a rank in a step", _units(plan.sent))
    table.add_row("a checkpoint, all files", _units(plan.checkpoint))
    return table


def _units(count: float) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.2f} MB"
