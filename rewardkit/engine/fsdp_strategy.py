"""Torch's fully sharded data parallel (FSDP2) under Lightning, on GPUs and on CPUs (with gloo)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.optimizer import _optimizers_to_device
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from rewardkit.engine.checkpoints import DurableIO
from rewardkit.engine.fsdp_checkpoints import load_rows, save_rows
from rewardkit.engine.layers import layers_of
from rewardkit.models.stored.opening import open_training


class FSDP(ModelParallelStrategy):
    """Shares weights, gradients and optimiser state among all ranks, layer by layer.

    Lightning leaves the sharding to the module; here the strategy does it, so that a module knows nothing of it.

    Weights are gathered in the type that they have, and autocast rounds them where it computes in bfloat16: gathered in
    bfloat16, the weights of a normalisation would not go with the float32 that autocast gives it (torch 2.13 on a CPU).

    Args:
        ranks: Of them all.
        communication: ``32`` or ``bf16``: what gradients are exchanged in.
    """

    def __init__(self, *, ranks: int, communication: str) -> None:
        super().__init__(
            data_parallel_size=ranks,
            tensor_parallel_size=1,
            process_group_backend="nccl" if torch.cuda.is_available() else "gloo",
        )
        self.exclude_frozen_parameters = False
        exchanged = {"32": torch.float32, "bf16": torch.bfloat16}[communication]
        self.policy = MixedPrecisionPolicy(reduce_dtype=exchanged, cast_forward_inputs=False)

    @property
    def checkpoint_layout(self) -> str:
        """How a checkpoint's tensors are spread over its files."""
        return "fsdp"

    def setup(self, trainer: Trainer) -> None:
        """Moves the module to its device, shards it, and makes the optimiser of the shares."""
        assert self.model is not None and self.accelerator is not None
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.model)
        self.model_to_device()
        mesh = self.device_mesh["data_parallel"]
        for layer in layers_of(self.model):
            fully_shard(layer, mesh=mesh, mp_policy=self.policy)
        # The root too: parameters that are in no layer would stay whole and drift apart, unnoticed.
        fully_shard(self.model, mesh=mesh, mp_policy=self.policy, reshard_after_forward=False)
        self.barrier()
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()
        if fitting:
            _optimizers_to_device(self.optimizers, self.root_device)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Nothing: ``save_checkpoint`` writes each rank's rows without gathering them."""
        return {}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Nothing, likewise."""
        return {}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Writes this rank's part of a checkpoint folder."""
        assert isinstance(self.checkpoint_io, DurableIO), "checkpoints are written by ResumableCheckpoints"
        assert self.model is not None
        record = {key: value for key, value in checkpoint.items() if key not in ("state_dict", "optimizer_states")}
        save_rows(
            self.model,
            self.optimizers[0],
            record,
            Path(filepath),
            self.checkpoint_io.writer,
            leave_out_frozen=self.exclude_frozen_parameters,
        )

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Goes on from what any strategy, on any number of ranks, has written."""
        assert self.model is not None
        return load_rows(self.model, self.optimizers[0], open_training(Path(checkpoint_path)))
