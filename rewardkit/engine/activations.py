"""Memory that a forward pass keeps for its backward pass, counted on this machine.

A model that is too large for this machine, or whose weights are not here, is built and run in a *sketch*: torch's fake
tensors have shapes and types, and no numbers.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rewardkit.data.batch import Batch
from rewardkit.modules.mllm_evaluator import MLLMEvaluator
from rewardkit.modules.pairwise_clip_reward import PairwiseCLIPReward

_AUTOCAST = {"bf16": torch.bfloat16, "16": torch.float16}


def sketch() -> AbstractContextManager[object]:
    """While it is open, what is made or computed has no numbers, and takes no memory and hardly any time."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def activation_bytes(
    module: PairwiseCLIPReward | MLLMEvaluator,
    batch: Batch,
    *,
    precision: str,
    within: AbstractContextManager[object] | None = None,
) -> int:
    """Bytes that autograd keeps between the passes of one micro-batch, in train mode; leaves gradients behind.

    Weights do not count; copies of them in another type, which autocast makes, do.

    Args:
        module: On the CPU.
        batch: On the CPU.
        precision: ``32``, ``bf16`` or ``16``.
        within: The ``sketch`` that the module was built in; the few numbers that the objective keeps are left out then,
            since which these are depends on the labels.
    """
    module.train()  # checkpointing keeps everything in eval mode
    kept: dict[int, int] = {}
    parameters = {_storage(p) for p in module.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        if storage not in parameters:
            kept[storage] = tensor.untyped_storage().nbytes()
        return tensor

    dtype = _AUTOCAST.get(precision)
    with (
        within or nullcontext(),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", dtype=dtype, enabled=dtype is not None),
    ):
        output = module(batch)
        loss = None if within else module.objective(output, batch, batch.denominators)
    if loss is not None:
        loss.total.backward()
    return sum(kept.values())


def _storage(tensor: Tensor) -> int:
    """What tells storages apart, also those without an address in memory."""
    return int(tensor.untyped_storage()._cdata)
