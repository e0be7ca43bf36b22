"""Loads a stored training into a model, one tensor at a time: nothing is in memory twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from rewardkit.errors import CheckpointError
from rewardkit.models.checkpoints import require_fit
from rewardkit.models.stored.interface import StoredTraining

FROZEN = "frozen"
"""In a training's record: number and digest of the frozen weights that it leaves out."""

_PREFIXES: tuple[Callable[[str], str], ...] = (
    lambda name: f"model.{name}",
    lambda name: name,
    lambda name: name.removeprefix("clip."),
)
"""A tensor's name in our model to its name in a training: in our LightningModule, in the model itself, in plain
open_clip towers."""


@torch.no_grad()
def load_stored(model: nn.Module, stored: StoredTraining, *, source: str, kept: Collection[str] = ()) -> None:
    """Loads weights and buffers strictly; where the training averaged its weights, the average.

    Args:
        model: Receives the weights; it stays on its device.
        stored: The training.
        source: What to call it in a message.
        kept: Names of the model's tensors that the training leaves out, and that stay as they are.

    Raises:
        CheckpointError: Lists missing, unexpected and misshapen tensors.
    """
    given = set(stored)
    average: dict[str, Tensor] = stored.record.get("callbacks", {}).get("EMA", {}).get("average", {})
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in kept}
    in_stored = max(_PREFIXES, key=lambda rule: sum(rule(name) in given for name in own))
    taken = {in_stored(name) for name in own}
    shapes = {name: _meta(stored.shape(in_stored(name)), like=own[name]) for name in own if in_stored(name) in given}
    # What a LightningModule has beside its model (objective, counters) is no part of a reward.
    others = given - taken if in_stored is not _PREFIXES[0] else {n for n in given - taken if n.startswith("model.")}
    shapes |= {name.removeprefix("model."): torch.empty(stored.shape(name), device="meta") for name in others}
    require_fit(own, shapes, source=source)
    for name, tensor in own.items():
        tensor.copy_(average[name] if name in average else stored[in_stored(name)].reshape(tensor.shape))


def frozen_names(model: nn.Module) -> list[str]:
    """Names of the parameters that do not train, under each of the names that they have in a state_dict."""
    return [name for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad]


def digest_of_frozen(model: nn.Module) -> dict[str, Any]:
    """How many parameters do not train, and a digest of their names and content."""
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    with ThreadPoolExecutor() as pool:  # hashing is outside of Python's lock
        digests = pool.map(_digest, frozen.values())
        together = hashlib.sha256()
        for name, digest in sorted(zip(frozen, digests, strict=True)):
            together.update(f"{name} {digest}\n".encode())
    return {"count": len(frozen), "digest": together.hexdigest()}


def require_frozen(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compares the digest of the frozen weights that are there with that of those that a training had.

    Raises:
        CheckpointError: They are others.
    """
    if found != expected:
        raise CheckpointError(
            f"the checkpoint holds no frozen weights: they come from model.pretrained, and what that gives now "
            f"({found['count']} tensors, {found['digest'][:12]}) is not what the run was started with "
            f"({expected['count']} tensors, {expected['digest'][:12]}). Put the old weights back"
        )


def _digest(parameter: Tensor) -> str:
    tensor = parameter.detach().cpu().contiguous()
    content: Any = tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b""
    about = f"{tensor.dtype} {list(tensor.shape)}".encode()
    return hashlib.sha256(about + hashlib.sha256(content).digest()).hexdigest()


def _meta(shape: torch.Size, *, like: Tensor) -> Tensor:
    """An empty tensor to compare shapes with; a single number may have an axis or none."""
    return torch.empty(like.shape if shape.numel() == like.numel() == 1 else shape, device="meta")
