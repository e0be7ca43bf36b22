"""The section ``wandb`` of ``fit``: what of a run goes to Weights & Biases, and how."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option

LOGGERS = ("csv", "tensorboard", "wandb")
"""What ``logger`` may name."""


@dataclass
class WandbOptions:
    """How the run appears on Weights & Biases, where `logger` names wandb (docs/logging.md)."""

    mode: str = option("auto", choices=("auto", "online", "offline", "disabled"))
    """online, offline (files for a later `wandb sync`) or disabled. auto: WANDB_MODE where it is set; else online where
    an API key is found and the server answers; else offline."""
    project: str | None = option(None)
    """Default: WANDB_PROJECT, else rewardkit."""
    entity: str | None = option(None)
    """The user or team that the project belongs to. Default: WANDB_ENTITY, else the key's own."""
    name: str | None = option(None)
    """The run's name on W&B. Default: WANDB_NAME, else RECIPE/NAME of the run's folder."""
    group: str | None = option(None)
    """Runs of one group are shown together: trials of a sweep, folds, seeds. Default: WANDB_RUN_GROUP."""
    job_type: str | None = option(None)
    """A second level of grouping. Default: WANDB_JOB_TYPE, else fit."""
    tags: list[str] = option([])
    """Words to find the run by. Default: WANDB_TAGS."""
    notes: str | None = option(None)
    """A sentence about the run. Default: WANDB_NOTES."""
    table_rows: int = option(64, at_least=0)
    """Comparisons in the table of each validation, with pictures, scores and votes, the same ones every time; 0 leaves
    tables out."""
    bundle: bool = option(True)
    """Upload the best bundle at the end, as an artifact that names the shard sets it was made from by their digests."""
    code: bool = option(False)
    """Upload the sources of rewardkit, the recipe and the plugins too."""
    machine: bool = option(False)
    """Let W&B collect and upload what it does by default: host name, paths, command line, packages, git remote."""
