"""From the options of ``fit`` to the LightningModule."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from rewardkit.commands.build_objective import build_objective, term_coefficients
from rewardkit.config.schema import FitOptions
from rewardkit.data.index import Scale
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.modules.compiling import compile_towers
from rewardkit.modules.mllm_evaluator import MLLMEvaluator
from rewardkit.modules.optimisation import Optimisation
from rewardkit.modules.pairwise_clip_reward import PairwiseCLIPReward


def build_module(
    options: FitOptions, model: nn.Module, scales: Mapping[str, Scale], *, class_weights: Tensor | None = None
) -> PairwiseCLIPReward | MLLMEvaluator:
    """The LightningModule: model (its towers compiled where asked for, in a run), objective and optimisation.

    Args:
        options: All options of ``fit``.
        model: The reward.
        scales: Model dimension to the scale of its ratings in the training data.
        class_weights: Factor of each option of each question, for ``objective.option.class_weights=balanced``.
    """
    if options.trainer.compile and not options.dry_run:
        compile_towers(model)
    asks = isinstance(model, MLLMReward)
    objective = build_objective(
        options.objective,
        model.dimensions,  # type: ignore[arg-type]
        scales,
        asks=asks,
        class_weights=class_weights,
    )
    common = {"coefficients": term_coefficients(options.objective), "seed": options.seed}
    if isinstance(model, MLLMReward):
        return MLLMEvaluator(model, objective, optimisation(options), **common)  # type: ignore[arg-type]
    return PairwiseCLIPReward(
        model,
        objective,
        optimisation(options),
        **common,  # type: ignore[arg-type]
        max_logit_scale=options.model.max_logit_scale,
    )


def optimisation(options: FitOptions) -> Optimisation:
    """AdamW and its schedule as values."""
    optim = options.optim
    return Optimisation(
        total_steps=options.trainer.max_steps,
        lr=optim.lr,
        head_lr=optim.lr if optim.head_lr is None else optim.head_lr,
        betas=(optim.betas[0], optim.betas[1]),
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        warmup_steps=optim.warmup_steps,
        schedule=optim.schedule,
        layer_decay=optim.layer_decay,
        vision_factor=options.model.mllm.vision_lr_factor,
        projector_factor=options.model.mllm.projector_lr_factor,
    )
