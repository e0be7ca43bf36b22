"""Options of optimisation and of callbacks that contradict each other."""

from __future__ import annotations

from rewardkit.config.schema import FitOptions


def optimisation_problems(options: FitOptions) -> list[str]:
    """What is wrong with schedule-dependent callbacks, each in one sentence that names the key and a remedy."""
    problems = []
    steps, every = options.trainer.max_steps, options.trainer.validate_every
    early, ema = options.callbacks.early_stopping, options.callbacks.ema
    if early is not None:
        if options.callbacks.preference_accuracy is None:
            problems.append("callbacks.early_stopping: needs callbacks.preference_accuracy, which is null")
        if every is None or every * early.patience >= steps:
            wanted = max(1, steps // (4 * early.patience))
            fits = next(n for n in range(wanted, 0, -1) if steps % n == 0)
            problems.append(
                f"callbacks.early_stopping: {early.patience} validations without a better one cannot happen before "
                f"the end with trainer.validate_every={'null' if every is None else every} and trainer.max_steps="
                f"{steps}; for example trainer.validate_every={fits}"
            )
        if early.dimension is not None and early.dimension not in options.model.dimensions:
            problems.append(
                f"callbacks.early_stopping.dimension: {early.dimension!r} is none of model.dimensions "
                f"({', '.join(options.model.dimensions)})"
            )
    if ema is not None and ema.from_step >= steps:
        problems.append(
            f"callbacks.ema.from_step: {ema.from_step} is not less than trainer.max_steps ({steps}), so nothing would "
            f"be averaged; for example callbacks.ema.from_step={steps // 2}"
        )
    augment = options.data.augment
    if options.data.features and (augment.flip or augment.shift):
        problems.append(
            "data.augment: features are made once, of pictures as they are; leave data.augment.flip=false and "
            "data.augment.shift=0, or take data.features=false"
        )
    for name in ("patch_dropout", "drop_path"):
        if options.data.features and getattr(options.model, name):
            problems.append(
                f"model.{name}: features are made once, by the whole tower; leave it at null, or take "
                "data.features=false"
            )
    return problems
