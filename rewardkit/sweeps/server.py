"""A sweep on W&B's server: it is made there from the file, and an agent here runs what the server proposes."""

from __future__ import annotations

import importlib.util
import netrc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from rewardkit.errors import RewardkitError, UserError

INSTALL = 'pip install "rewardkit[wandb]"'

PROJECT = "rewardkit"
"""Where a sweep lies whose file names no project."""


def has_key() -> bool:
    """Whether W&B would find a key: in the environment, or where `wandb login` left it. Nothing is asked or sent."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    if importlib.util.find_spec("wandb") is None:
        return False
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def server_config(config: Mapping[str, Any], shared: Sequence[str]) -> dict[str, Any]:
    """The file as it goes to the server: with a command that gives every trial what the command line gave.

    Args:
        config: The sweep file.
        shared: ``key=value`` that all trials have.
    """
    command = ["${env}", "${interpreter}", "-m", "rewardkit", "fit", *shared, "${args_no_hyphens}"]
    return {**config, "command": command}


def check_server() -> None:
    """Refuses what cannot reach the server, before anything is written.

    Raises:
        UserError: wandb is not installed, or there is no key.
    """
    if importlib.util.find_spec("wandb") is None:
        raise UserError(f"backend=wandb needs wandb: {INSTALL}")
    if not has_key():
        raise UserError(
            "backend=wandb needs a W&B key: run `wandb login`, or set WANDB_API_KEY; backend=local needs none"
        )


def start_agent(
    config: Mapping[str, Any], *, sweep_id: str | None, count: int | None, keep: Callable[[str], object]
) -> None:
    """Makes the sweep on the server, or joins the one named, and runs an agent until it ends.

    Args:
        config: From ``server_config``.
        sweep_id: Of a sweep that is there already.
        count: Runs of this agent; None: until the server has none left.
        keep: Told the id of a sweep that was made, before its first trial starts.

    Raises:
        RewardkitError: The server refused.
    """
    import wandb

    project, entity = config.get("project", PROJECT), config.get("entity")
    # The agent starts `python`: the one that runs this.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        if sweep_id is None:
            sweep_id = str(wandb.sweep(dict(config), entity=entity, project=project))
            keep(sweep_id)
        wandb.agent(sweep_id, entity=entity, project=project, count=count)
    except (wandb.Error, ValueError) as error:
        raise RewardkitError(f"W&B's server did not take it: {error}") from error
