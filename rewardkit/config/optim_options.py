"""How it is minimised, and on what hardware: the sections ``optim`` and ``trainer`` of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option


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
    strategy: str = option("auto", choices=("auto", "ddp"))
    """How ranks share the work: auto takes ddp where there is more than one."""
    precision: str = option("32", choices=("32", "bf16", "16", "auto"))
    """Arithmetic of the towers: 32, or autocast to bf16 or 16; auto is bf16 where the machine computes in it, else 32.
    Scores and losses are always 32."""
    compile: bool = option(False)
    """Compile the towers with torch.compile: slower first steps, faster ones after; needs a C++ compiler."""
    checkpoint_every: int = option(500, at_least=1)
    """Steps between resumable checkpoints."""
    validate_every: int | None = option(None, at_least=1)
    """Steps between validations. Default: once, after the last step."""
    log_every: int = option(10, at_least=1)
    """Steps between logged training metrics."""
    threads: int | None = option(None, at_least=1)
    """CPU threads of torch in each process. Default: torch's own choice."""
