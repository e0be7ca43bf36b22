"""Options of ``fit`` that contradict each other, found before anything is built."""

from __future__ import annotations

from collections.abc import Mapping

from rewardkit.commands.check_dimensions import dimension_problems
from rewardkit.commands.check_kind import kind_problems
from rewardkit.commands.check_loggers import logger_problems
from rewardkit.commands.check_mllm import mllm_problems
from rewardkit.commands.check_objective import objective_problems
from rewardkit.commands.check_optimisation import optimisation_problems
from rewardkit.commands.check_strategy import strategy_problems
from rewardkit.config.schema import FitOptions
from rewardkit.errors import ConfigError


def check(options: FitOptions, origins: Mapping[str, str] | None = None) -> None:
    """Refuses options that contradict each other, all at once, before anything is built.

    Args:
        options: Of ``fit``.
        origins: Key to where its value was set; without them, what nothing reads is let pass.

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
    problems += _of_features(options)
    problems += kind_problems(options)
    problems += mllm_problems(options, origins or {})
    problems += dimension_problems(options)
    problems += objective_problems(options, origins or {})
    problems += optimisation_problems(options)
    problems += strategy_problems(options, origins or {})
    problems += logger_problems(options, origins or {})
    if problems:
        raise ConfigError(problems)


def _of_features(options: FitOptions) -> list[str]:
    """What ``data.features`` cannot go with."""
    if not options.data.features:
        return []
    problems = []
    frozen = ("model.unlocked_image_groups", "model.unlocked_text_layers")
    values = (options.model.unlocked_image_groups, options.model.unlocked_text_layers)
    for key, value in zip(frozen, values, strict=True):
        if value != 0:
            given = "null" if value is None else value
            problems.append(
                f"data.features: needs towers that stay as they are, but {key} is {given}; "
                f"give {key}=0, or data.features=false to train the tower"
            )
    if "caption_contrast" in options.objective.name:
        problems.append(
            "data.features: the caption contrast teaches towers, which stay as they are here; leave caption_contrast "
            "out of objective.name"
        )
    return problems
