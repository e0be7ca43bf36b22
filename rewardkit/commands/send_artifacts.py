"""What a finished run hands to W&B: its final accuracies, the best bundle with its lineage, its sources where asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

import rewardkit
from rewardkit.config.layout import RunLayout
from rewardkit.config.recipes import find_recipe
from rewardkit.config.schema import FitOptions
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.sources import Source
from rewardkit.engine.wandb_artifacts import ShardSetDigest, log_bundle, log_code
from rewardkit.engine.wandb_run import wandb_runs


def send_artifacts(loggers: Sequence[Logger], options: FitOptions, layout: RunLayout, data: PreferenceData) -> None:
    """Sends them to those of the loggers that are W&B's; reads what the run has written.

    Args:
        loggers: Of the run, still open.
        options: All options of ``fit``.
        layout: The finished run.
        data: For the digests of the shard sets.
    """
    for run in wandb_runs(loggers):
        summary = layout.read_summary()
        best = final_figures(summary)
        run.run.summary.update(best)
        recipe = layout.root.parent.name
        if options.wandb.bundle and layout.bundle.is_dir():
            about = {"recipe": recipe, "step": summary.get("step"), **best}
            log_bundle(run, layout.bundle, name=f"{recipe}-bundle", metadata=about, used=shard_sets(options, data))
        if options.wandb.code:
            log_code(run, source_files(options))


def final_figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """``best/[SET/]PROTOCOL/DIMENSION``: the accuracies at the step of the bundle, and that step."""
    sets = summary.get("sets", {})
    figures: dict[str, Any] = {"best/step": summary["step"]} if "step" in summary else {}
    for name, evaluated in sets.items():
        prefix = f"best/{summary['protocol']}" if len(sets) == 1 else f"best/{name}/{summary['protocol']}"
        for dimension, row in evaluated["accuracies"].items():
            if row["value"] is not None:
                figures[f"{prefix}/{dimension}"] = row["value"]
    return figures


def shard_sets(options: FitOptions, data: PreferenceData) -> list[ShardSetDigest]:
    """The shard sets of a run by name and digest of the index, in the order of the options."""
    assert data.train_data is not None
    found = [
        ShardSetDigest(Source(name).label, index.digest, len(index), "train")
        for name, index in zip(options.data.train, data.train_data.indices, strict=True)
    ]
    for name, data_set in zip(data.val_names, data.val_data, strict=True):
        found += [ShardSetDigest(name, index.digest, len(index), "val") for index in data_set.indices]
    return found


def source_files(options: FitOptions) -> dict[str, Path]:
    """Name to file of rewardkit's sources, the recipe and the plugins."""
    files = dict(_python_files("rewardkit", Path(next(iter(rewardkit.__path__)))))
    files |= dict(_python_files("callbacks", Path(next(iter(import_module("rewardkit.callbacks").__path__)))))
    if options.recipe is not None:
        recipe = find_recipe(options.recipe)
        files[f"recipes/{recipe.name}"] = recipe
    return files | {f"plugins/{Path(name).name}": Path(name) for name in options.plugins}


def _python_files(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        yield f"{name}/{path.relative_to(folder).as_posix()}", path
