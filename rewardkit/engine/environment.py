"""What a run ran on: git revision, versions, hardware. No host name and no user name."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from rewardkit import __version__

_PACKAGES = (
    "torch", "lightning", "open_clip_torch", "transformers", "timm", "numpy", "pillow", "webdataset", "safetensors"
)  # fmt: skip


def describe_environment(*, seed: int, precision: str) -> dict[str, Any]:
    """The environment as plain values."""
    versions = {"rewardkit": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "seed": seed,
        "versions": versions,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "precision": precision,
        "gpus": gpus,
        "git_revision": git_revision(Path(__file__).parent),
        "python_executable": Path(sys.executable).name,
    }


def git_revision(folder: Path) -> str | None:
    """The commit of the checkout a folder is in, with ``+changes`` where files differ from it; None outside of git."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
