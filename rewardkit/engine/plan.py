"""What a run will need of each rank: memory, bytes on the wire, checkpoints. Arithmetic alone (docs/scaling.md).

The formulae are those of the strategies as this program sets them up: weights in the type that the model has them in,
torch's AdamW, DeepSpeed's buckets (arXiv 1910.02054 for what ZeRO shares, arXiv 2304.11277 for FSDP).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import nn

from rewardkit.engine.deepspeed_config import BUCKET_MB
from rewardkit.engine.hardware import Hardware
from rewardkit.engine.layers import layers_of

MOMENTS = 2
"""Tensors that AdamW keeps for each trained one."""

FLOAT = 4
"""Bytes of a float32: what ZeRO keeps its copy of the trained weights and their moments in."""

DEEPSPEED_BUCKET = 500_000_000
"""Elements of a bucket where a given configuration does not say (DeepSpeed's ``reduce_bucket_size``)."""

ZERO3_LIVE = 1_000_000_000
"""Weights that ZeRO-3 leaves gathered between their uses, at most (DeepSpeed's ``stage3_max_live_parameters``)."""

FSDP_LAYERS = 2
"""Layers that FSDP has gathered at a time: the one at work, and the next."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What of a model decides what it needs.

    Attributes:
        trained: Elements that are trained.
        weight_bytes: Of all weights.
        trained_bytes: Of those that are trained.
        layer_bytes: Of those in repeated layers, which FSDP gathers one after the other.
        largest_layer_bytes: Of the largest of these.
        weight_element: Bytes of one weight, on average.
        activations: Bytes that one micro-batch keeps for its backward pass.
    """

    trained: int
    weight_bytes: int
    trained_bytes: int
    layer_bytes: int
    largest_layer_bytes: int
    weight_element: float
    activations: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one rank, by what they are for.

    Attributes:
        weights: With those that are gathered from other ranks for a while.
        gradients: With those of the other ranks in between.
        optimiser: Moments, and ZeRO's own copy of the trained weights.
        buffers: What is sent and received.
        average: Of the weights, where one is kept (``callbacks.ema``).
        activations: Of one micro-batch.
    """

    weights: float = 0.0
    gradients: float = 0.0
    optimiser: float = 0.0
    buffers: float = 0.0
    average: float = 0.0
    activations: float = 0.0

    @property
    def together(self) -> float:
        """All of it."""
        return sum(getattr(self, item.name) for item in fields(self))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will need.

    Attributes:
        device: Memory of a rank's device.
        host: Bytes in the main memory, or on the disk, of a rank for what is offloaded.
        sent: Bytes that a rank sends in an optimiser step; it receives as many.
        checkpoint: Bytes of one checkpoint, all ranks' files together.
    """

    device: Memory
    host: float
    sent: float
    checkpoint: float


def size_of(model: nn.Module, activations: int) -> ModelSize:
    """Counts a model; parameters that several modules share count once."""
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    layers = [_bytes(list(layer.parameters())) for layer in layers_of(model)]
    return ModelSize(
        trained=sum(p.numel() for p in trained),
        weight_bytes=_bytes(parameters),
        trained_bytes=_bytes(trained),
        layer_bytes=sum(layers),
        largest_layer_bytes=max(layers, default=0),
        weight_element=_bytes(parameters) / max(1, sum(p.numel() for p in parameters)),
        activations=activations,
    )


def _bytes(parameters: list[nn.Parameter]) -> int:
    return sum(p.numel() * p.element_size() for p in parameters)


def plan_run(
    size: ModelSize, hardware: Hardware, *, accumulation: int, average: bool = False, frozen_kept: bool = True
) -> Plan:
    """Memory, traffic and checkpoints of a run.

    What is left out: the interpreter and its libraries, the data that wait for their step, what an allocator loses in
    gaps, and a GPU's context.

    Args:
        size: Of the model.
        hardware: Ranks and strategy.
        accumulation: Micro-batches of one rank in a step.
        average: Whether an average of the trained weights is kept.
        frozen_kept: Whether checkpoints hold the frozen weights.
    """
    if hardware.zero_stage:
        device, host = _zero(size, hardware)
    elif hardware.strategy == "fsdp":
        device, host = _fsdp(size, hardware), 0.0
    else:
        device, host = _whole(size, hardware), 0.0
    kept = size.trained_bytes / (hardware.ranks if _weights_shared(hardware) else 1) if average else 0.0
    held = {item.name: getattr(device, item.name) for item in fields(device)}
    device = Memory(**{**held, "average": kept, "activations": size.activations})
    own_copy = FLOAT * size.trained if hardware.zero_stage else 0
    moments = MOMENTS * (FLOAT * size.trained if hardware.zero_stage else size.trained_bytes)
    weights = size.weight_bytes if frozen_kept else size.trained_bytes
    checkpoint = weights + moments + own_copy + (size.trained_bytes if average else 0)
    return Plan(device, host, _sent(size, hardware, accumulation), checkpoint)


def _weights_shared(hardware: Hardware) -> bool:
    return hardware.strategy in ("zero3", "fsdp")


def _whole(size: ModelSize, hardware: Hardware) -> Memory:
    """Every rank holds everything; DDP's buckets are a second copy of the gradients."""
    return Memory(
        weights=size.weight_bytes,
        gradients=size.trained_bytes,
        optimiser=MOMENTS * size.trained_bytes,
        buffers=size.trained_bytes if hardware.ranks > 1 else 0,
    )


def _zero(size: ModelSize, hardware: Hardware) -> tuple[Memory, float]:
    """Memory of the device, and bytes offloaded from it."""
    ranks, stage = hardware.ranks, hardware.zero_stage
    weights: float = size.weight_bytes
    bucket, live = _zero_limits(hardware)
    if stage == 3:
        gathered = min(size.weight_bytes, live * size.weight_element)
        weights = size.weight_bytes / ranks + gathered
    # Its own copy, the moments, and while a step is taken the copy's gradient.
    optimiser = (1 + MOMENTS + 1) * FLOAT * size.trained / ranks
    gradients = size.trained_bytes if stage == 1 else size.trained_bytes / ranks
    host = 0.0
    if hardware.offload_optimizer != "none":
        host, optimiser = optimiser, 0.0
    if hardware.offload_parameters != "none":
        host, weights = host + size.weight_bytes / ranks, weights - size.weight_bytes / ranks
    # Stages 1 and 2 have two on GPUs, where communication and backward pass overlap.
    buffers = bucket if stage == 3 else 2 * bucket
    return Memory(weights=weights, gradients=gradients, optimiser=optimiser, buffers=buffers), host


def _zero_limits(hardware: Hardware) -> tuple[float, float]:
    """Bytes of a bucket, and the weights that ZeRO-3 may leave gathered; a given configuration decides them itself."""
    if hardware.deepspeed is not None:
        given = hardware.deepspeed.get("zero_optimization", {})
        asked = {key: value for key, value in given.items() if value != "auto"}
        bucket = asked.get("reduce_bucket_size", DEEPSPEED_BUCKET) * FLOAT
        return bucket, asked.get("stage3_max_live_parameters", ZERO3_LIVE)
    each = FLOAT if hardware.communication == "32" else 2
    return (hardware.bucket_mb or BUCKET_MB) * 1e6 / each * FLOAT, ZERO3_LIVE


def _fsdp(size: ModelSize, hardware: Hardware) -> Memory:
    """Layers are gathered one after the other, all else for the whole step."""
    ranks = hardware.ranks
    narrow = _gathered_width(size, hardware)
    between = size.weight_bytes - size.layer_bytes
    gathered = FSDP_LAYERS * size.largest_layer_bytes * narrow
    return Memory(
        weights=size.weight_bytes / ranks + gathered + between,
        gradients=size.trained_bytes / ranks,
        optimiser=MOMENTS * size.trained_bytes / ranks,
        buffers=FSDP_LAYERS * size.largest_layer_bytes,
    )


def _gathered_width(size: ModelSize, hardware: Hardware) -> float:
    """Bytes of a gathered weight, of those of a kept one: FSDP sends layers in what they compute in."""
    return min(1.0, 2 / size.weight_element) if hardware.precision == "bf16" else 1.0


def _sent(size: ModelSize, hardware: Hardware, accumulation: int) -> float:
    """Bytes that a rank sends in a step: a reduction or a gathering sends ``(n - 1) / n`` of what it is about."""
    others = (hardware.ranks - 1) / hardware.ranks
    gradients = size.trained * (FLOAT if hardware.communication == "32" else 2)
    if hardware.strategy == "zero1":
        return others * (gradients + size.trained_bytes)
    if hardware.strategy == "zero2":
        return others * (accumulation * gradients + size.trained_bytes)
    if hardware.strategy == "zero3":  # gathered for the forward pass and again for the backward pass
        return others * accumulation * (2 * size.weight_bytes + gradients)
    if hardware.strategy == "fsdp":
        layers = 2 * size.layer_bytes * _gathered_width(size, hardware)
        return others * accumulation * (layers + size.weight_bytes - size.layer_bytes + gradients)
    return others * 2 * gradients
