"""``bundle.json``: what a bundle says of itself, read with its format checked, and the versions it was made with."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import rewardkit
from rewardkit.errors import CheckpointError, UserError

FORMAT = "rewardkit-bundle"
FORMAT_VERSIONS = {"clip": 2, "blip": 2, "mllm": 3}
"""Newest format of each kind of model. 2: an ``overall`` that follows from the others, uncertainty, BLIPs; bundles of
format 1 are read as they were. 3: evaluators. An older rewardkit says that it needs a newer one."""
WEIGHTS = "model.safetensors"
RECORD = "bundle.json"

_PACKAGES = ("torch", "open_clip_torch", "transformers", "timm", "pillow")
"""Packages whose version can move a score."""

_NEEDED = ("model", "dimensions", "output", "preprocessing", "weights", "calibration", "versions")


def storable(tensor: Tensor) -> Tensor:
    """A tensor as safetensors takes it: on the CPU, in one piece, and alone in its memory; copied only where it is not.

    Two tensors may be views of one storage, which safetensors refuses.
    """
    value = tensor.detach().cpu()
    is_alone = value.is_contiguous() and value.untyped_storage().nbytes() == value.numel() * value.element_size()
    return value if is_alone else value.clone(memory_format=torch.contiguous_format)


def find_bundle(folder: Path) -> Path | None:
    """The bundle's folder, where the folder is one or is a run's that holds one; else None."""
    return next((path for path in (folder, folder / "bundle") if (path / RECORD).is_file()), None)


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a bundle's ``bundle.json``.

    Raises:
        UserError: The folder is no bundle, one of a newer format, or of a kind that is not known.
        CheckpointError: The file is damaged.
    """
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is no bundle: it has no {RECORD}; give a bundle's folder or a run's") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{path} is not the record of a rewardkit bundle")
    newest = max(FORMAT_VERSIONS.values())
    if record["format_version"] > newest:
        raise UserError(
            f"{folder} is a bundle of format {record['format_version']}; this rewardkit reads up to {newest}, "
            "install a newer one"
        )
    missing = [key for key in _NEEDED if key not in record]
    if missing:
        raise CheckpointError(f"{path} is damaged: it lacks {', '.join(missing)}")
    kind = record["model"]["kind"]
    if kind not in FORMAT_VERSIONS:
        raise UserError(f"{folder} holds a {kind!r} model, which this rewardkit does not know; install a newer one")
    return record


def versions() -> dict[str, str]:
    """Versions of Python, rewardkit and the packages that can move a score."""
    found = {"python": platform.python_version(), "rewardkit": rewardkit.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def warn_of_versions(folder: str | os.PathLike[str], made_with: Mapping[str, str]) -> None:
    """Scores can move with a library's version, so a difference from what a bundle was made with is said."""
    here = versions()
    different = [
        f"{package} {number} (here {here.get(package, 'absent')})"
        for package, number in made_with.items()
        if here.get(package, "absent").split(".")[:2] != number.split(".")[:2]
    ]
    if different:
        warnings.warn(f"the bundle {folder} was made with {', '.join(different)}; scores may differ", stacklevel=4)


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(paths: Sequence[Path]) -> str:
    """Hex digest of several files, in the order of their names."""
    digests = [sha256_of(path) for path in sorted(paths)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
