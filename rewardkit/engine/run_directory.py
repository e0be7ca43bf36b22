"""Opens a run's folder: starts one, continues one, or refuses, saying why and what to do."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardkit.config.layout import RunLayout
from rewardkit.engine.checkpoint_folder import check_whole, newest_readable
from rewardkit.engine.checkpoints import checkpoint_step
from rewardkit.errors import CheckpointError, UserError

MAY_DIFFER = (
    "trainer.devices", "trainer.nodes", "trainer.strategy", "trainer.stop_after", "data.workers", "logger", "wandb",
    "trainer.keep_checkpoints", "trainer.async_checkpoints",
    "recipe", "scale", "resume", "dry_run", "run", "cache", "data.remote",
    "trainer.offload_optimizer", "trainer.offload_parameters", "trainer.nvme_path",
    "trainer.bucket_mb", "trainer.deepspeed_config", "callbacks.gallery",
)  # fmt: skip
"""Keys that may differ on resume: none of them changes what is computed."""


@dataclass(frozen=True, slots=True)
class Opened:
    """How a run begins.

    Attributes:
        checkpoint: Continue from this file or folder; None starts at step 0.
        step: The optimiser step of the checkpoint.
        finished: The run went to its end before; there is nothing to do.
        unreadable: Newer checkpoints that are damaged, each with what is wrong.
    """

    layout: RunLayout
    checkpoint: Path | None
    step: int
    finished: bool = False
    unreadable: Mapping[Path, str] = field(default_factory=dict)


RUN_NAME_VARIABLE = "REWARDKIT_RUN_NAME"
"""Rank 0 hands the name of its run to the ranks that Lightning starts, through the environment."""


def launched_rank() -> int:
    """This process's rank as its launcher set it (torchrun, SLURM, Lightning); 0 where there is one process."""
    for variable in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return 0


def trial_name() -> str | None:
    """W&B's id of the trial, where a sweep's agent started this process: agents may start two in one second."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def open_run(resume: str, *, runs: str, recipe: str, name: str | None, values: Mapping[str, Any]) -> Opened:
    """Decides where and from what a run begins. Nothing is written.

    A rank other than 0 never refuses: rank 0, which does, may have begun to write already.

    Args:
        resume: ``never``, ``auto``, or a run's folder or checkpoint file.
        runs: Folder of runs.
        recipe: The recipe's name.
        name: The run's name; where there is none, that which W&B's sweep agent gave the trial, else the time.
        values: Dotted key to value of this run's options, compared with those of the run that is continued.

    Raises:
        UserError: The folder exists and may not be continued, or options differ that may not.
        CheckpointError: The checkpoint is damaged.
    """
    if resume not in ("never", "auto"):
        return _continue(_layout_of(Path(resume)), values, Path(resume))
    if resume == "auto" and name is None:
        raise UserError("resume=auto needs a name to find the run by: add run.name=NAME")
    if name is None and launched_rank() > 0:
        name = os.environ.get(RUN_NAME_VARIABLE)
        if name is None:
            raise UserError("several processes need a run that all of them can name: add run.name=NAME")
    name = name or trial_name() or time.strftime("%Y-%m-%d_%H-%M-%S")
    layout = RunLayout(Path(runs) / recipe / name)
    if resume == "auto" and layout.exists:
        return _continue(layout, values, layout.checkpoints)
    if launched_rank() > 0:
        return Opened(layout, None, 0)
    if layout.exists or _holds_files(layout.root):
        raise UserError(
            f"{layout.root} exists already and is not overwritten. Choose another run.name, continue it with "
            "resume=auto, or delete the folder."
        )
    return Opened(layout, None, 0)


def _holds_files(folder: Path) -> bool:
    """Whether a folder has anything in it but the log of an attempt that failed before the run began."""
    return folder.is_dir() and any(not path.name.startswith("console") for path in folder.iterdir())


def _layout_of(path: Path) -> RunLayout:
    """The run that a folder or checkpoint belongs to."""
    for root in (path, path.parent, path.parent.parent):
        if RunLayout(root).exists:
            return RunLayout(root)
    raise UserError(f"resume={path}: this is neither a run's folder (with a config.yaml) nor a checkpoint inside one")


def _continue(layout: RunLayout, values: Mapping[str, Any], checkpoint: Path) -> Opened:
    differing = _differences(layout, values)
    if differing:
        lines = "\n".join(differing)
        raise UserError(
            f"{layout.root} cannot be continued: these options differ from those it was started with\n{lines}\n"
            f"Give the same values, or start a run of another name. Only {', '.join(MAY_DIFFER[:6])} may differ."
        )
    if layout.is_finished:
        return Opened(layout, None, 0, finished=True)
    if checkpoint.resolve() not in (layout.root.resolve(), layout.checkpoints.resolve()):
        return _from_one(layout, checkpoint.resolve())
    found, unreadable = newest_readable(layout.checkpoints)
    if found is None:
        return Opened(layout, None, 0)  # it ended before its first checkpoint: start again
    return Opened(layout, found, checkpoint_step(found), unreadable=unreadable)


def _from_one(layout: RunLayout, checkpoint: Path) -> Opened:
    """Continues from the one checkpoint that was named."""
    try:
        check_whole(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. `fit resume={layout.root}` goes on from the newest one that is whole"
        ) from None
    return Opened(layout, checkpoint, checkpoint_step(checkpoint))


def _differences(layout: RunLayout, values: Mapping[str, Any]) -> list[str]:
    stored = json.loads((layout.root / "options.json").read_text(encoding="utf-8"))
    return [
        f"{key}: {stored.get(key)!r} then, {values.get(key)!r} now"
        for key in sorted({*stored, *values})
        if not key.startswith(MAY_DIFFER) and stored.get(key) != values.get(key)
    ]


def write_run_files(
    layout: RunLayout,
    *,
    config: str,
    values: Mapping[str, Any],
    arguments: Sequence[str],
    environment: Mapping[str, Any],
) -> None:
    """Writes what ran into the run's folder.

    Args:
        layout: The run.
        config: The composed options as YAML.
        values: The same, dotted key to value.
        arguments: The command line behind ``fit``.
        environment: From ``describe_environment``.
    """
    if launched_rank() > 0:
        return
    layout.root.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (layout.overrides, "\n".join(arguments) + "\n"),
        (layout.environment, json.dumps(environment, indent=1) + "\n"),
        (layout.root / "options.json", json.dumps(values, indent=1) + "\n"),
        (layout.config, config),  # last: its presence says that a run has begun
    ):
        write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Writes a file so that it is either the old one or the whole new one."""
    scratch = path.with_name(f"{path.name}.tmp")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)
