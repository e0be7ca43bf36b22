"""From the options of ``fit`` to the LightningModule."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from rewardkit.commands.build_objective import build_objective, term_coefficients
from rewardkit.config.optim_options import OptimOptions
from rewardkit.config.schema import FitOptions
from rewardkit.data.index import Scale
from rewardkit.modules.compiling import compile_towers
from rewardkit.modules.pairwise_clip_reward import Optimisation, PairwiseCLIPReward


def build_module(options: FitOptions, model: nn.Module, scales: Mapping[str, Scale]) -> PairwiseCLIPReward:
    """The LightningModule: model (its towers compiled where asked for, in a run), objective and optimisation.

    Args:
        options: All options of ``fit``.
        model: The reward.
        scales: Model dimension to the scale of its ratings in the training data.
    """
    if options.trainer.compile and not options.dry_run:
        compile_towers(model)
    return PairwiseCLIPReward(
        model,
        build_objective(options.objective, model.dimensions, scales),  # type: ignore[arg-type]
        optimisation(options.optim, total_steps=options.trainer.max_steps),
        coefficients=term_coefficients(options.objective),
        seed=options.seed,
        max_logit_scale=options.model.max_logit_scale,
    )


def optimisation(optim: OptimOptions, *, total_steps: int) -> Optimisation:
    """AdamW and its schedule as values."""
    return Optimisation(
        total_steps=total_steps,
        lr=optim.lr,
        head_lr=optim.lr if optim.head_lr is None else optim.head_lr,
        betas=(optim.betas[0], optim.betas[1]),
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        warmup_steps=optim.warmup_steps,
        schedule=optim.schedule,
        layer_decay=optim.layer_decay,
    )
