"""Options of ``trainer`` about strategies that contradict each other, or a given DeepSpeed configuration."""

from __future__ import annotations

from collections.abc import Mapping

from rewardkit.config.schema import FitOptions

ZERO = ("zero1", "zero2", "zero3")


def strategy_problems(options: FitOptions, origins: Mapping[str, str]) -> list[str]:
    """What is wrong with the strategy and what belongs to it, each in one sentence that names the key and a remedy.

    Args:
        options: Of ``fit``.
        origins: Key to where its value was set.

    Raises:
        UserError: The given DeepSpeed configuration cannot be read.
    """
    trainer = options.trainer
    problems = [*_of_offload(options), *_of_precision(options)]
    if trainer.bucket_mb is not None and trainer.strategy == "fsdp":
        problems.append("trainer.bucket_mb: fsdp exchanges layer by layer and reads no size; leave it at null")
    if trainer.compile and trainer.strategy in ("zero3", "fsdp"):
        problems.append(
            f"trainer.compile: {trainer.strategy} gathers weights in the middle of what would be compiled; take "
            "trainer.compile=false, or trainer.strategy=ddp, zero1 or zero2"
        )
    if options.model.mllm.share_prefix and trainer.strategy in ("zero3", "fsdp"):
        problems.append(
            f"model.mllm.share_prefix: {trainer.strategy} gathers each layer for one pass, and this takes two; leave "
            "it at null, which shares where that can be, or take trainer.strategy=ddp, zero1 or zero2"
        )
    if trainer.deepspeed_config is not None:
        if trainer.strategy not in ZERO:
            problems.append(
                f"trainer.deepspeed_config: {trainer.strategy} does not read it; for example trainer.strategy=zero2"
            )
        else:
            from rewardkit.commands.check_deepspeed import deepspeed_problems  # imports torch

            problems += deepspeed_problems(options, origins)
    return problems


def _of_offload(options: FitOptions) -> list[str]:
    trainer, problems = options.trainer, []
    places = {"trainer.offload_optimizer": trainer.offload_optimizer}
    places["trainer.offload_parameters"] = trainer.offload_parameters
    for key, place in places.items():
        if place == "none":
            continue
        if trainer.strategy not in ZERO:
            problems.append(f"{key}: {trainer.strategy} keeps everything on the device; take trainer.strategy=zero3")
        elif trainer.strategy != "zero3" and (place == "nvme" or key.endswith("parameters")):
            what = "state on a disk" if key.endswith("optimizer") else "weights elsewhere"
            problems.append(f"{key}={place}: only zero3 keeps {what}; take trainer.strategy=zero3, or {key}=none")
    if "nvme" in places.values() and not trainer.nvme_path:
        problems.append("trainer.nvme_path: names the folder for what is offloaded to nvme; for example /local/nvme")
    if trainer.nvme_path and "nvme" not in places.values():
        problems.append(
            "trainer.nvme_path: nothing is offloaded to nvme; give trainer.offload_parameters=nvme, or null"
        )
    if trainer.offload_parameters == "nvme" and options.callbacks.ema is not None:
        problems.append(
            "callbacks.ema: averages weights on the device or in main memory; take trainer.offload_parameters=cpu, or "
            "callbacks.ema=null"
        )
    return problems


def _of_precision(options: FitOptions) -> list[str]:
    trainer = options.trainer
    if trainer.precision == "16" and trainer.strategy in (*ZERO, "fsdp"):
        return [f"trainer.precision: 16 is not to be had with {trainer.strategy}; take bf16 or 32"]
    return []
