"""The DeepSpeed configuration of a run: ours from the recipe's values, or a given one with these filled in."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardkit.engine.hardware import Hardware
from rewardkit.errors import UserError

BUCKET_MB = 800.0
"""Default of ``trainer.bucket_mb`` with ZeRO: 200 million float32, as Lightning has it (DeepSpeed: 500 million)."""

_FILLED = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping",
    "optimizer", "scheduler", "bf16", "fp16",
)  # fmt: skip
"""What the recipe decides, whatever a given configuration says (it may only say the same)."""


def deepspeed_config(hardware: Hardware, *, on_gpu: bool) -> dict[str, Any]:
    """What ``deepspeed.initialize`` is given, less accumulation and clipping, which Lightning adds from the Trainer.

    With precision ``bf16`` the weights stay float32 and DeepSpeed computes under ``torch.autocast``, so that every
    strategy computes the same. AdamW is torch's in every strategy, for the same reason.

    Args:
        hardware: With a ZeRO stage.
        on_gpu: Overlaps communication and backward pass, which needs streams.
    """
    assert hardware.zero_stage, f"{hardware.strategy} is not a ZeRO stage"
    config: dict[str, Any] = {"zero_optimization": _sharing(hardware, on_gpu=on_gpu)}
    if hardware.deepspeed is not None:
        config = _given(hardware.deepspeed)
    zero = config.setdefault("zero_optimization", {})
    zero["stage"] = hardware.zero_stage
    zero.setdefault("overlap_comm", on_gpu)
    config.setdefault("communication_data_type", {"32": "fp32", "bf16": "bf16"}[hardware.communication])
    config["torch_autocast"] = _autocast(hardware)
    config["train_micro_batch_size_per_gpu"] = 1  # only read for DeepSpeed's own log; batches here are ragged
    # Torch's AdamW is none of those that DeepSpeed knows; it works element by element, which is all that ZeRO asks.
    config["zero_allow_untested_optimizer"] = True
    config["zero_force_ds_cpu_optimizer"] = False
    return config


def read_deepspeed_config(path: str | Path) -> dict[str, Any]:
    """Reads a DeepSpeed configuration.

    Raises:
        UserError: There is no such file, or it is not JSON of an object.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"trainer.deepspeed_config={path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"trainer.deepspeed_config={path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"trainer.deepspeed_config={path} holds {type(found).__name__}, not an object with sections")
    return found


def _given(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _without_auto(value) for key, value in configuration.items() if key not in _FILLED and value != "auto"}


def _without_auto(value: Any) -> Any:
    """A copy without the keys that transformers' users leave to the trainer; DeepSpeed's defaults take their place."""
    if not isinstance(value, Mapping):
        return copy.deepcopy(value)
    return {key: _without_auto(inner) for key, inner in value.items() if inner != "auto"}


def _sharing(hardware: Hardware, *, on_gpu: bool) -> dict[str, Any]:
    """The section ``zero_optimization`` from the recipe's options."""
    bytes_each = 4 if hardware.communication == "32" else 2
    elements = int((hardware.bucket_mb or BUCKET_MB) * 1e6 / bytes_each)
    zero: dict[str, Any] = {"reduce_bucket_size": elements, "allgather_bucket_size": elements}
    for key, place in (
        ("offload_optimizer", hardware.offload_optimizer),
        ("offload_param", hardware.offload_parameters),
    ):
        if place != "none":
            nvme = {"nvme_path": hardware.nvme_path} if place == "nvme" else {}
            zero[key] = {"device": place, "pin_memory": on_gpu, **nvme}
    return zero


def _autocast(hardware: Hardware) -> dict[str, Any]:
    """The section ``torch_autocast``. By default DeepSpeed would also send linear layers in bf16; we do where asked."""
    if hardware.precision != "bf16":
        return {"enabled": False}
    kept: dict[str, Any] = {} if hardware.communication == "bf16" else {"lower_precision_safe_modules": []}
    return {"enabled": True, "dtype": "bfloat16", **kept}
