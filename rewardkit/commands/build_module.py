"""From the options of ``fit`` to the LightningModule."""

from __future__ import annotations

from torch import Tensor

from rewardkit.commands.build_objective import build_objective, term_coefficients
from rewardkit.config.schema import FitOptions
from rewardkit.data.datamodule import PreferenceData
from rewardkit.models.kinds import AnyReward
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.options import in_columns
from rewardkit.modules.compiling import compile_towers
from rewardkit.modules.mllm_evaluator import MLLMEvaluator
from rewardkit.modules.optimisation import Optimisation
from rewardkit.modules.pairwise_clip_reward import PairwiseCLIPReward


def build_module(options: FitOptions, model: AnyReward, data: PreferenceData) -> PairwiseCLIPReward | MLLMEvaluator:
    """The LightningModule: model (its towers compiled where asked for, in a run), objective and optimisation.

    Args:
        options: All options of ``fit``.
        model: The reward.
        data: The training data, for the scales of their ratings and for how often each option is the answer.
    """
    if options.trainer.compile and not options.dry_run:
        compile_towers(model)
    assert data.train_data is not None
    objective = build_objective(
        options.objective,
        model.dimensions,
        data.train_data.scales,
        asks=isinstance(model, MLLMReward),
        class_weights=_class_weights(options, model, data),
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


def _class_weights(options: FitOptions, model: AnyReward, data: PreferenceData) -> Tensor | None:
    """Factor of each option of each question, where they are asked for."""
    if not isinstance(model, MLLMReward) or options.objective.option.class_weights == "none":
        return None
    assert model.rows is not None
    return in_columns(data.class_weights(), model.rows.questions.questions, fill=1.0)


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
