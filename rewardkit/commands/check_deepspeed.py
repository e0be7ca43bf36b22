"""Compares a given DeepSpeed configuration with the recipe: each may say a thing, and both must say the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from rewardkit.config.compose import DEFAULT
from rewardkit.config.messages import did_you_mean
from rewardkit.config.schema import FitOptions
from rewardkit.engine.deepspeed_config import read_deepspeed_config
from rewardkit.engine.hardware import ZERO_STAGES, count_devices

AUTO = "auto"
"""What transformers' users write for a value that the trainer fills in; so do we."""

_SECTIONS = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping",
    "optimizer", "scheduler", "zero_optimization", "bf16", "fp16", "torch_autocast", "communication_data_type",
    "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "prescale_gradients", "gradient_predivide_factor",
    "sparse_gradients", "steps_per_print", "wall_clock_breakdown", "memory_breakdown", "dump_state",
    "activation_checkpointing", "aio", "flops_profiler", "comms_logger", "tensorboard", "csv_monitor", "wandb",
    "comet", "checkpoint", "data_types", "disable_allgather", "compression_training", "curriculum_learning",
    "data_efficiency", "elasticity", "nebula",
)  # fmt: skip
"""Top-level keys of DeepSpeed's configuration (its page "DeepSpeed Configuration JSON")."""

_UNUSED = ("tensorboard", "csv_monitor", "wandb", "comet", "compression_training", "curriculum_learning",
           "data_efficiency", "elasticity", "nebula")  # fmt: skip
"""Sections that would log, compress, reorder data or resize the run beside rewardkit."""


def deepspeed_problems(options: FitOptions, origins: Mapping[str, str]) -> list[str]:
    """Where ``trainer.deepspeed_config`` says something else than the recipe, each naming both places.

    What concerns only how work is shared (bucket sizes, offload, communication) may stand in the file alone; an option
    that was set beside it must agree.

    Raises:
        UserError: The file cannot be read.
    """
    file = str(options.trainer.deepspeed_config)
    config = read_deepspeed_config(file)
    problems = []
    for key in config:
        if key not in _SECTIONS:
            problems.append(f"{file}: {key}: DeepSpeed knows no such key.{did_you_mean(key, _SECTIONS)}")
        elif key in _UNUSED:
            problems.append(f"{file}: {key}: rewardkit does this itself, or not at all; remove the section")
    problems += _conflicts(config, options, origins, file)
    return [*problems, *_of_optimizer(config, options, file), *_of_zero(config, file)]


def _conflicts(config: Mapping[str, Any], options: FitOptions, origins: Mapping[str, str], file: str) -> list[str]:
    """Each claim of the recipe that the file contradicts."""
    problems = []
    for key, option, expected in [*_of_training(options), *_of_sharing(options, origins)]:
        given = _look_up(config, key)
        if given is None or given == AUTO or _equal(given, expected):
            continue
        where = f" ({origins[option]})" if _is_set(option, origins) else ""
        problems.append(
            f"{option} and {file} disagree: {option} is {_value_of(options, option)}{where}, which makes {key} "
            f'{json.dumps(expected)}, and the file has {json.dumps(given)}; change one, or write "auto" in the file'
        )
    return problems


def _of_training(options: FitOptions) -> list[tuple[str, str, Any]]:
    """Key of the file, option of the recipe, and what the option makes of the key: what decides the training."""
    trainer, optim, data = options.trainer, options.optim, options.data
    ranks = count_devices(trainer.devices) * trainer.nodes
    micro = data.micro_groups or max(1, data.batch_groups // ranks)
    claims: list[tuple[str, str, Any]] = [
        ("zero_optimization.stage", "trainer.strategy", ZERO_STAGES[trainer.strategy]),
        ("train_batch_size", "data.batch_groups", data.batch_groups),
        ("train_micro_batch_size_per_gpu", "data.micro_groups", micro),
        ("gradient_accumulation_steps", "data.micro_groups", data.batch_groups // (micro * ranks)),
        ("gradient_clipping", "optim.gradient_clip", optim.gradient_clip or 0.0),
        ("optimizer.params.lr", "optim.lr", optim.lr),
        ("optimizer.params.betas", "optim.betas", list(optim.betas)),
        ("optimizer.params.eps", "optim.eps", optim.eps),
        ("optimizer.params.weight_decay", "optim.weight_decay", optim.weight_decay),
        ("fp16.enabled", "trainer.precision", trainer.precision == "16"),
    ]
    if trainer.precision != AUTO:
        claims.append(("bf16.enabled", "trainer.precision", trainer.precision == "bf16"))
        claims.append(("torch_autocast.enabled", "trainer.precision", trainer.precision == "bf16"))
    return claims


def _of_sharing(options: FitOptions, origins: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    """Likewise what decides only how work is shared, of the options that were set."""
    trainer = options.trainer
    half = trainer.communication == "bf16"
    elements = None if trainer.bucket_mb is None else int(trainer.bucket_mb * 1e6 / (2 if half else 4))
    claims = [
        ("zero_optimization.offload_optimizer.device", "trainer.offload_optimizer", trainer.offload_optimizer),
        ("zero_optimization.offload_param.device", "trainer.offload_parameters", trainer.offload_parameters),
        ("communication_data_type", "trainer.communication", "bf16" if half else "fp32"),
        ("zero_optimization.reduce_bucket_size", "trainer.bucket_mb", elements),
        ("zero_optimization.allgather_bucket_size", "trainer.bucket_mb", elements),
    ]
    return [claim for claim in claims if _is_set(claim[1], origins) and claim[2] is not None]


def _of_optimizer(config: Mapping[str, Any], options: FitOptions, file: str) -> list[str]:
    """A schedule of the file's own, and another optimiser than AdamW."""
    problems = []
    kind = str(_look_up(config, "optimizer.type") or AUTO)
    decoupled = _look_up(config, "optimizer.params.adam_w_mode") is not False  # DeepSpeed's Adam is AdamW by default
    if kind.lower() not in (AUTO, "adamw") and not (kind.lower() == "adam" and decoupled):
        problems.append(f"{file}: optimizer.type is {kind}; rewardkit trains with AdamW, as the options optim.* say")
    if _look_up(config, "scheduler.type") not in (None, AUTO):
        problems.append(
            f"optim.schedule and {file} disagree: the rate follows optim.schedule={options.optim.schedule} "
            f"and optim.warmup_steps={options.optim.warmup_steps}, and the file has a scheduler of its own; remove "
            "that section"
        )
    return problems


def _of_zero(config: Mapping[str, Any], file: str) -> list[str]:
    """Wrong keys and types of ``zero_optimization``, as DeepSpeed itself sees them."""
    try:
        from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
        from pydantic import ValidationError
    except ImportError:
        return []  # a run says that DeepSpeed is missing
    given = config.get("zero_optimization") or {}
    if not isinstance(given, dict):
        return [f"{file}: zero_optimization is no section"]
    try:
        DeepSpeedZeroConfig(**_without_auto(given))
    except ValidationError as error:
        known = [field.alias or name for name, field in DeepSpeedZeroConfig.model_fields.items()]
        return [
            f"{file}: zero_optimization.{'.'.join(map(str, found['loc']))}: {found['msg']}."
            f"{did_you_mean(str(found['loc'][-1]), known)}"
            for found in error.errors()
        ]
    return []


def _without_auto(section: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_auto(value) if isinstance(value, dict) else value
        for key, value in section.items()
        if value != AUTO
    }


def _is_set(option: str, origins: Mapping[str, str]) -> bool:
    return origins.get(option, DEFAULT) != DEFAULT


def _look_up(config: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key; None where a section is missing or is no section."""
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _value_of(options: FitOptions, option: str) -> Any:
    section, name = option.split(".")
    value = getattr(getattr(options, section), name)
    return "null" if value is None else value


def _equal(given: Any, expected: Any) -> bool:
    """Whether two values mean the same: 0 is 0.0, and 3e-6 is 0.000003."""
    if isinstance(expected, list):
        return isinstance(given, list) and len(given) == len(expected) and all(map(_equal, given, expected))
    if isinstance(expected, bool) or isinstance(given, bool) or not isinstance(expected, int | float):
        return bool(given == expected)
    return isinstance(given, int | float) and math.isclose(given, expected, rel_tol=1e-9)
