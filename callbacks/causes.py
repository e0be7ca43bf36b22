"""Why a model scores all candidates alike: what can be seen in its head, its gradients, its labels and its pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from rewardkit.data.batch import Batch
from rewardkit.models.sharded import whole_of
from rewardkit.modules.parameter_groups import head_prefixes

SMALL_GAIN = 1e-3
"""A head whose layers together multiply the size of what they are given by less than this hides it from the loss."""


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """One linear layer of a head.

    Attributes:
        name: As the model's ``named_modules`` has it.
        shape: Outputs and inputs.
        std: Standard deviation of its weights.
        gradient: Root mean square of their gradient; None where it cannot be seen (there is none, or ZeRO holds it).
    """

    name: str
    shape: tuple[int, int]
    std: float
    gradient: float | None

    @property
    def gain(self) -> float:
        """Factor by which it changes the size of a signal: ``std * sqrt(inputs)``, 1 for a sane initialisation."""
        return self.std * math.sqrt(self.shape[1])

    def __str__(self) -> str:
        gradient = "gradient not seen" if self.gradient is None else f"gradient {self.gradient:.1e}"
        return f"{self.name} {self.shape[1]}->{self.shape[0]} (weights' std {self.std:.2e}, {gradient})"


def causes_of_equal_scores(trainer: pl.Trainer, module: Any, *, spread: float) -> str:
    """What a look at the step that just ended shows, in words; what to check where it shows nothing.

    Args:
        trainer: For the learning rate.
        module: The LightningModule, with its model and the batches of the step; gradients are still there.
        spread: Of scores within groups.
    """
    found = [*_head(module.model), *_gradients(module), *_labels(module.step.batches)]
    if spread < 1e-3:
        found += _pictures(module.step.batches)
    rates = [(group["lr"], group.get("initial_lr", group["lr"])) for group in trainer.optimizers[0].param_groups]
    now, peak = max(rates, key=lambda rate: rate[1])
    if now < peak / 2:
        found.append(f"the learning rate is {now:.2g} of a peak of {peak:.2g} (optim.warmup_steps, optim.schedule)")
    if found:
        return "Seen: " + "; ".join(found) + "."
    return (
        f"The learning rate is {now:.2g}, scores within a group differ by {spread:.2g}. Look at: optim.lr (too "
        "small?), frozen towers (model.unlocked_*), labels that contradict each other (`data inspect`), "
        "model.pretrained=null."
    )


def head_layers(model: nn.Module) -> list[HeadLayer]:
    """The linear layers of a reward model outside its towers, in the order of the module; all ranks must ask."""
    prefixes = head_prefixes(model)
    layers = []
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) and f"{name}.".startswith(prefixes):
            weight, gradient = whole_of(part.weight).float(), part.weight.grad
            size = None if gradient is None else float(whole_of(gradient).float().pow(2).mean().sqrt())
            layers.append(HeadLayer(name, (part.out_features, part.in_features), float(weight.std()), size))
    return layers


def _head(model: nn.Module) -> Iterator[str]:
    layers = head_layers(model)
    gain = math.prod(layer.gain for layer in layers)
    if layers and gain < SMALL_GAIN:
        yield (
            f"the head underflows: {', '.join(map(str, layers))} multiply the size of what they are given by "
            f"{' x '.join(f'{layer.gain:.2g}' for layer in layers)} = {gain:.1e}, so that neither scores nor gradients "
            "get through. Initialise each layer's weights with std 1/sqrt(inputs) (of a BLIP: "
            "model.blip.head_init=scaled), or start from trained weights; a higher optim.head_lr only shortens the "
            "wait, and 16-bit arithmetic rounds such gradients to 0"
        )


def _gradients(module: Any) -> Iterator[str]:
    trained = [p for p in module.model.parameters() if p.requires_grad]
    if not trained:
        yield "no parameter of the model trains (model.unlocked_image_groups, model.unlocked_text_layers)"
    elif float(module.step.metrics.get("gradient_norm", 1.0)) == 0.0:
        yield f"the gradient is 0 in all of the {len(trained)} tensors that train"


def _labels(batches: list[Batch]) -> Iterator[str]:
    targets = torch.cat([batch.target for batch in batches])
    if len(targets) and bool((targets[:, 0] == targets[:, 2]).all()):
        yield f"none of the step's {len(targets)} comparisons prefers one of its two candidates (`data inspect`)"


def _pictures(batches: list[Batch]) -> Iterator[str]:
    batch = batches[-1]
    if batch.pixels.numel() and bool((batch.pixels == batch.pixels[_first_of_group(batch)]).all()):
        yield "all candidates of a group are the same picture (`data verify`)"


def _first_of_group(batch: Batch) -> torch.Tensor:
    """For each candidate the first one of its group: int64 ``[N]``."""
    places = torch.arange(len(batch.group), device=batch.group.device)
    first = torch.full((int(batch.group.max()) + 1,), len(places), device=batch.group.device)
    return first.scatter_reduce(0, batch.group, places, reduce="amin")[batch.group]
