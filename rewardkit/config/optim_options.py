"""How it is minimised, and on what hardware: the sections ``optim`` and ``trainer`` of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option

STRATEGIES = ("auto", "ddp", "zero1", "zero2", "zero3", "fsdp")
"""How ranks share the work."""
OFFLOADS = ("none", "cpu", "nvme")
"""Where a share lies while it is not used."""


@dataclass
class OptimOptions:
    """AdamW and its schedule. Adam as ImageReward publishes it is AdamW with weight_decay=0."""

    lr: float = option(3.3e-6, above=0)
    """Peak learning rate."""
    head_lr: float | None = option(None, above=0)
    """Peak learning rate of the dimension heads and of the objective's own parameters. Default: lr."""
    layer_decay: float = option(1.0, above=0, at_most=1)
    """Layer-wise learning rates, as BEiT: the last group of each tower learns at lr, each group below it at this factor
    times the rate of the one above (`dry_run=true` prints the groups). 1: all at lr."""
    betas: list[float] = option([0.9, 0.98])
    """AdamW's two decay rates."""
    eps: float = option(1e-6, above=0)
    """AdamW's epsilon."""
    weight_decay: float = option(0.35, at_least=0)
    """Not applied to tensors of fewer than 2 axes, normalisations, biases, the logit scale (as published) and the
    objective's own parameters."""
    warmup_steps: int = option(500, at_least=0)
    """Steps of linear warmup; must be fewer than trainer.max_steps."""
    schedule: str = option("cosine", choices=("cosine", "linear", "constant"))
    """What follows the warmup: a cosine or a straight line down to 0, or the peak rate."""
    gradient_clip: float | None = option(None, above=0)
    """Largest norm of the whole gradient of an optimiser step; null does not clip."""


@dataclass
class TrainerOptions:
    """Length of the run and the hardware it uses."""

    max_steps: int = option(4000, at_least=1)
    """Optimiser steps of the whole schedule."""
    stop_after: int | None = option(None, at_least=1)
    """End after this step without changing the schedule; `resume=auto` continues."""
    devices: str = option("auto")
    """Number of processes on this machine (one GPU each where there are GPUs), or auto."""
    nodes: int = option(1, at_least=1)
    """Machines that take part."""
    strategy: str = option("auto", choices=STRATEGIES)
    """How ranks share the work: auto takes ddp where there is more than one rank. ddp: each rank holds everything.
    zero1, zero2, zero3: DeepSpeed shares the optimiser's state among the ranks, then the gradients too, then the
    weights too. fsdp: torch shares all three."""
    offload_optimizer: str = option("none", choices=OFFLOADS)
    """Where zero1, zero2 and zero3 keep the optimiser's state and take its step: none (the device), cpu, or nvme (a
    disk; zero3 only)."""
    offload_parameters: str = option("none", choices=OFFLOADS)
    """Where zero3 keeps the weights between their uses: none (the device), cpu or nvme."""
    nvme_path: str | None = option(None)
    """Folder on a fast local disk, the same on every machine, for what is offloaded to nvme."""
    bucket_mb: float | None = option(None, above=0)
    """Megabytes of gradients (zero1 to zero3: of weights too) that are exchanged at once. Larger ones keep a network
    busier and take more memory. Default: 25 with ddp, 800 with zero1 to zero3; fsdp exchanges layer by layer."""
    communication: str = option("32", choices=("32", "bf16"))
    """In what gradients travel between ranks: 32, or bf16, which halves the bytes and rounds each share."""
    deepspeed_config: str | None = option(None)
    """A complete DeepSpeed configuration (JSON) for zero1 to zero3; what it says may not contradict the recipe."""
    precision: str = option("32", choices=("32", "bf16", "16", "auto"))
    """Arithmetic of the towers: 32, or autocast to bf16 or 16; auto is bf16 where the machine computes in it, else 32.
    Scores and losses are always 32."""
    compile: bool = option(False)
    """Compile the towers with torch.compile: slower first steps, faster ones after; needs a C++ compiler."""
    checkpoint_every: int = option(500, at_least=1)
    """Steps between resumable checkpoints."""
    keep_checkpoints: int = option(2, at_least=1)
    """How many of the newest checkpoints stay; the best one stays besides. With 1, nothing is left to fall back to."""
    async_checkpoints: bool = option(False)
    """Write checkpoints in the background: training waits for a copy in memory alone. The files are the same."""
    checkpoint_frozen: bool = option(False)
    """Keep frozen weights in checkpoints too. Default: where model.pretrained gives them, they are left out, and a
    digest says at a resume whether they are still the same."""
    validate_every: int | None = option(None, at_least=1)
    """Steps between validations. Default: once, after the last step."""
    log_every: int = option(10, at_least=1)
    """Steps between logged training metrics."""
    threads: int | None = option(None, at_least=1)
    """CPU threads of torch in each process. Default: torch's own choice."""
