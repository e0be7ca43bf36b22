"""From the options of ``fit`` to model, objective and module. Options stop here: library code takes values."""

from __future__ import annotations

from pathlib import Path

import torch

from rewardkit.config.recipes import beside_recipe
from rewardkit.config.schema import FitOptions
from rewardkit.errors import ConfigError
from rewardkit.models.architecture import image_transform, read_architecture
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.modules.pairwise_clip_reward import Optimisation, PairwiseCLIPReward
from rewardkit.objectives.caption_contrast import CaptionContrastObjective
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.weighted import WeightedObjective

PAIRWISE = "pairwise"
CAPTION_CONTRAST = "caption_contrast"


def check(options: FitOptions) -> None:
    """Refuses options that contradict each other, all at once, before anything is built.

    Raises:
        ConfigError: With every problem.
    """
    problems = []
    steps, warmup = options.trainer.max_steps, options.optim.warmup_steps
    every = options.trainer.validate_every
    if warmup >= steps:
        problems.append(
            f"optim.warmup_steps: {warmup} is not less than trainer.max_steps ({steps}), so the peak learning rate "
            f"would never be reached; for example optim.warmup_steps={max(0, steps // 10)}"
        )
    if every is not None and steps % every:
        fits = next(n for n in range(every, 0, -1) if steps % n == 0)
        problems.append(
            f"trainer.validate_every: {every} does not divide trainer.max_steps ({steps}), so the last steps would not "
            f"be validated; for example trainer.validate_every={fits}"
        )
    if len(options.optim.betas) != 2 or not all(0 <= beta < 1 for beta in options.optim.betas):
        problems.append(f"optim.betas: expects two numbers from 0 up to below 1, got {options.optim.betas}")
    if len(set(options.model.dimensions)) != len(options.model.dimensions) or not options.model.dimensions:
        problems.append(f"model.dimensions: expects one or more different names, got {options.model.dimensions}")
    for key, paths in (("data.train", options.data.train), ("data.val", options.data.val)):
        if not paths:
            problems.append(f"{key}: names no data; for example {key}=FOLDER (a shard folder), or {key}=embedded")
    best = options.callbacks.best_bundle
    if best is not None and best.dimension is not None and best.dimension not in options.model.dimensions:
        problems.append(
            f"callbacks.best_bundle.dimension: {best.dimension!r} is none of model.dimensions "
            f"({', '.join(options.model.dimensions)})"
        )
    if options.callbacks.preference_accuracy is None and best is not None:
        problems.append("callbacks.best_bundle: needs callbacks.preference_accuracy, which is null")
    if problems:
        raise ConfigError(problems)


def build_model(options: FitOptions) -> CLIPReward:
    """The reward, with the weights that the options name; random ones are drawn from the seed."""
    torch.manual_seed(options.seed)
    model, transform = options.model, options.transform
    file = beside_recipe(model.architecture, options.recipe) if model.architecture.endswith(".json") else None
    architecture = read_architecture(file or Path(model.architecture), image_size=transform.size)
    return build_clip_reward(
        architecture=architecture,
        pretrained=model.pretrained,
        dimensions=model.dimensions,
        head=model.head,
        transform=image_transform(
            architecture,
            model.pretrained,
            resize=transform.resize,  # type: ignore[arg-type]
            interpolation=transform.interpolation,  # type: ignore[arg-type]
            antialias=transform.antialias,
            decode=transform.decode,  # type: ignore[arg-type]
        ),
        output=model.output,  # type: ignore[arg-type]
        unlocked_image_groups=model.unlocked_image_groups,
        unlocked_text_layers=model.unlocked_text_layers,
        gradient_checkpointing=model.gradient_checkpointing,
    )


def uses_captions(options: FitOptions) -> bool:
    """Whether the objective needs the captions of the data."""
    contrast = options.objective.caption_contrast
    return contrast.coefficient > 0 or (contrast.final_coefficient or 0) > 0


def build_module(options: FitOptions, model: CLIPReward) -> PairwiseCLIPReward:
    """The LightningModule: model, objective and optimisation."""
    objective, optim, contrast = options.objective, options.optim, options.objective.caption_contrast
    terms: dict[str, torch.nn.Module] = {
        PAIRWISE: PairwiseObjective(model.dimensions, reduction=objective.reduction)  # type: ignore[arg-type]
    }
    coefficients = {PAIRWISE: (objective.coefficient, objective.coefficient)}
    if uses_captions(options):
        terms[CAPTION_CONTRAST] = CaptionContrastObjective()
        final = contrast.coefficient if contrast.final_coefficient is None else contrast.final_coefficient
        coefficients[CAPTION_CONTRAST] = (contrast.coefficient, final)
    return PairwiseCLIPReward(
        model,
        WeightedObjective(terms),
        Optimisation(
            total_steps=options.trainer.max_steps,
            lr=optim.lr,
            head_lr=optim.lr if optim.head_lr is None else optim.head_lr,
            betas=(optim.betas[0], optim.betas[1]),
            eps=optim.eps,
            weight_decay=optim.weight_decay,
            warmup_steps=optim.warmup_steps,
            schedule=optim.schedule,
        ),
        coefficients=coefficients,
        seed=options.seed,
        max_logit_scale=options.model.max_logit_scale,
    )
