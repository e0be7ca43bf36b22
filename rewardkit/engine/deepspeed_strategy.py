"""DeepSpeed's ZeRO under Lightning, on GPUs and on CPUs (with gloo), computing what DDP computes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy

from rewardkit.engine.checkpoint_files import FileWriter
from rewardkit.engine.checkpoint_folder import read_contents
from rewardkit.engine.checkpoints import DurableIO
from rewardkit.engine.layers import between_layers
from rewardkit.errors import UserError
from rewardkit.models.stored.opening import open_training


class ZeROPrecision(DeepSpeedPrecision):
    """Leaves modules and batches in the types they have: DeepSpeed's autocast decides what computes in bf16.

    Lightning's own casts every float of a batch, the labels and denominators among them.
    """

    def __init__(self) -> None:
        super().__init__("32-true")

    def convert_module(self, module: torch.nn.Module) -> torch.nn.Module:
        """As it is: a frozen base may be kept in bfloat16."""
        return module

    def convert_input(self, data: Any) -> Any:
        """As it is."""
        return data

    def backward(  # type: ignore[override]
        self, tensor: torch.Tensor, model: pl.LightningModule, optimizer: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Through DeepSpeed, without its division by the accumulation: Lightning has divided the loss already."""
        model.trainer.model.backward(tensor, *args, scale_wrt_gas=False, **kwargs)  # type: ignore[operator, union-attr]


class ZeRO(DeepSpeedStrategy):
    """ZeRO stage 1, 2 or 3.

    Args:
        config: From ``deepspeed_config``.

    Raises:
        UserError: DeepSpeed is not installed.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.on_gpu = torch.cuda.is_available()
        if not self.on_gpu:
            prepare_cpu()
        _import_deepspeed()
        super().__init__(
            config=config,
            process_group_backend="nccl" if self.on_gpu else "gloo",
            precision_plugin=ZeROPrecision(),
        )

    @property
    def checkpoint_layout(self) -> str:
        """How a checkpoint's tensors are spread over its files."""
        return f"zero{self.config['zero_optimization']['stage']}"  # type: ignore[index]

    @property
    def root_device(self) -> torch.device:
        """The device of this rank. DeepSpeed compares its index with a number, which a plain ``cpu`` does not have."""
        return super().root_device if self.on_gpu else torch.device("cpu", 0)

    def setup_environment(self) -> None:
        """As DDP does; Lightning refuses DeepSpeed on a CPU here."""
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        """Without Lightning's check of device indices on a CPU, where there are none."""
        if self.on_gpu:
            super().setup_distributed()
            return
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Writes this rank's part of a checkpoint folder."""
        from rewardkit.engine.zero_checkpoints import save_zero

        assert isinstance(self.checkpoint_io, DurableIO), "checkpoints are written by ResumableCheckpoints"
        record = {key: value for key, value in checkpoint.items() if key not in ("state_dict", "optimizer_states")}
        save_zero(
            self.deepspeed_engine,
            record,
            Path(filepath),
            self.checkpoint_io.writer,
            leave_out_frozen=self.exclude_frozen_parameters,
        )

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Goes on from a folder of the same stage and number of ranks, or from what any other strategy has written."""
        from rewardkit.engine.zero_checkpoints import DurableShards, load_across

        path = Path(checkpoint_path)
        contents = read_contents(path) if path.is_dir() else None
        if contents and (contents.layout, contents.ranks) == (self.checkpoint_layout, self.world_size):
            self.deepspeed_engine.checkpoint_engine = DurableShards(FileWriter())
            return super().load_checkpoint(path, weights_only)
        assert self.lightning_module is not None
        return load_across(self.deepspeed_engine, self.lightning_module, open_training(path))

    def _setup_model_and_optimizer(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        found = super()._setup_model_and_optimizer(model, *args, **kwargs)
        if self.zero_stage_3:
            import deepspeed

            # DeepSpeed gathers a module's parameters when its ``forward`` is called, and again before the backward pass
            # of what that returns. These it would miss; so they stay gathered for the whole step.
            for parameter in between_layers(model):
                deepspeed.zero.register_external_parameter(model, parameter)
        return found


def prepare_cpu() -> None:
    """Has DeepSpeed take the CPU, and gloo in place of a collective of its own that it would compile for a minute.

    Must come before DeepSpeed is first imported.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    _import_deepspeed()
    import deepspeed

    # A name with two underscores is mangled inside a class, hence here.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _import_deepspeed() -> None:
    try:
        import deepspeed  # noqa: F401
    except ImportError:
        raise UserError(
            "trainer.strategy=zero1, zero2 and zero3 need DeepSpeed: pip install 'rewardkit[deepspeed]'"
        ) from None
