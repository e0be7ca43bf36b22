"""What a run uploads to W&B as artifacts: its best bundle with where it comes from, and its sources where asked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardkit.engine.wandb_run import WandbRun


@dataclass(frozen=True, slots=True)
class ShardSetDigest:
    """A shard set that a run used, without its data: name, digest of its index, groups, and what for."""

    name: str
    digest: str
    groups: int
    used_for: str


def log_bundle(
    run: WandbRun, folder: Path, *, name: str, metadata: Mapping[str, Any], used: Sequence[ShardSetDigest]
) -> None:
    """The bundle as an artifact of type ``model``; its metadata name the shard sets by their digests.

    With a server each shard set also becomes an input of the run, an artifact that holds nothing but the digest; W&B
    does not note inputs of offline runs.

    Args:
        run: Must be running.
        folder: The bundle.
        name: Of the artifact, such as ``hpsv2-bundle``.
        metadata: Of the bundle: step, accuracies.
        used: Sets that were trained and validated on.
    """
    import wandb

    if not run.offline:
        for one in used:
            label = artifact_name(f"shards-{one.name}-{one.digest[:12]}")
            about = wandb.Artifact(label, type="shard-set", metadata=asdict(one))
            with about.new_file("digest.txt") as file:
                file.write(one.digest + "\n")
            run.run.use_artifact(about)
    sets = [asdict(one) for one in used]
    artifact = wandb.Artifact(artifact_name(name), type="model", metadata={**metadata, "shard_sets": sets})
    _add_files(artifact, {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()})
    run.run.log_artifact(artifact, aliases=["best", f"run-{run.run_id}"])


def log_code(run: WandbRun, files: Mapping[str, Path]) -> None:
    """Sources as an artifact of type ``code``.

    Args:
        run: Must be running.
        files: Name in the artifact to the file.
    """
    import wandb

    artifact = wandb.Artifact(f"code-{run.run_id}", type="code")
    _add_files(artifact, files)
    run.run.log_artifact(artifact)


def artifact_name(text: str) -> str:
    """A name that W&B permits."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:128]


def _add_files(artifact: Any, files: Mapping[str, Path]) -> None:
    """Adds files where they lie, by paths relative to this folder: nothing is copied, no absolute path is noted."""
    for name in sorted(files):
        artifact.add_file(os.path.relpath(files[name]), name=name, policy="immutable", skip_cache=True)
