"""Memory that a forward pass keeps for its backward pass, measured on this machine."""

from __future__ import annotations

import torch
from torch import Tensor

from rewardkit.data.batch import Batch
from rewardkit.modules.mllm_evaluator import MLLMEvaluator
from rewardkit.modules.pairwise_clip_reward import PairwiseCLIPReward

_AUTOCAST = {"bf16": torch.bfloat16, "16": torch.float16}


def activation_bytes(module: PairwiseCLIPReward | MLLMEvaluator, batch: Batch, *, precision: str) -> int:
    """Bytes that autograd keeps between the passes of one micro-batch, in train mode; leaves gradients behind.

    Weights do not count; copies of them in another type, which autocast makes, do.

    Args:
        module: On the CPU.
        batch: On the CPU.
        precision: ``32``, ``bf16`` or ``16``.
    """
    module.train()  # checkpointing keeps everything in eval mode
    kept: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in module.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    dtype = _AUTOCAST.get(precision)
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", dtype=dtype, enabled=dtype is not None),
    ):
        loss = module.objective(module(batch), batch, batch.denominators)
    loss.total.backward()
    return sum(kept.values())
