"""Options of the loggers that contradict each other, and the mode that W&B will run in."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping

from rewardkit.config.compose import COMMAND_LINE
from rewardkit.config.logger_options import WandbOptions
from rewardkit.config.schema import FitOptions

_MODES = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""What ``WANDB_MODE`` may say."""


def wandb_mode(options: WandbOptions) -> str:
    """The mode that was asked for; of ``auto`` what W&B's environment variable says, where it is set."""
    if options.mode != "auto":
        return options.mode
    return _MODES.get(os.environ.get("WANDB_MODE", ""), "auto")


def logger_problems(options: FitOptions, origins: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the options of loggers, each in one sentence that names the key and a remedy."""
    if "wandb" not in options.logger:
        given = [key for key, of in origins.items() if of == COMMAND_LINE and key.startswith("wandb.")]
        if given:
            yield (
                f"{given[0]}: nothing reads it, since logger is {','.join(options.logger) or 'empty'}; for example "
                f"logger={','.join([*options.logger, 'wandb'])}"
            )
    elif wandb_mode(options.wandb) != "disabled" and importlib.util.find_spec("wandb") is None:
        yield "logger: wandb is not installed; pip install 'rewardkit[wandb]', or leave it out of logger"
    for name in ("project", "entity", "group", "name", "job_type"):
        value = getattr(options.wandb, name)
        if value is not None and not value.strip():
            yield f"wandb.{name}: is empty; give a name, or null for the default"
