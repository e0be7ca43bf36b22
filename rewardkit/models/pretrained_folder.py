"""CLIPs that come as a folder: transformers' layout (PickScore), open_clip's, local or on the hub, and our bundles.

Such a folder says itself what its towers are, so ``model.architecture=auto`` takes them from it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.architecture import Architecture, read_architecture
from rewardkit.models.bundle_record import find_bundle
from rewardkit.models.bundle_towers import bundle_architecture, load_bundle_towers
from rewardkit.models.checkpoints import load_clip, load_strictly
from rewardkit.models.transformers_folder import CONFIG, read_transformers_architecture, read_transformers_state

AUTO = "auto"
"""The architecture that the folder of ``model.pretrained`` names."""

HUB = "hf-hub:"
"""What stands before a repository of the Hugging Face hub, as open_clip writes it."""

OPEN_CLIP_CONFIG = "open_clip_config.json"

_OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip calls weights on the hub, the preferred one first."""


def find_architecture(source: str | Path, pretrained: str | None, *, image_size: int | None = None) -> Architecture:
    """``read_architecture``, or what the folder behind ``pretrained`` says of its towers.

    Args:
        source: ``auto``, or what ``read_architecture`` takes.
        pretrained: A tag, a file, a folder, or ``hf-hub:OWNER/NAME``.
        image_size: See ``read_architecture``.

    Raises:
        UserError: ``auto`` without a folder, another architecture with one, or what the readers refuse.
        CheckpointError: The hub cannot be reached.
    """
    folder = find_folder(pretrained)
    if str(source) != AUTO:
        if folder is None:
            return read_architecture(source, image_size=image_size)
        raise UserError(
            f"model.pretrained={pretrained} is a folder that says itself what its towers are, but "
            f"model.architecture is {source}; set model.architecture=auto"
        )
    if folder is None:
        raise UserError(
            "model.architecture=auto takes the towers from the folder that model.pretrained names, but "
            f"model.pretrained={pretrained} is none; name a folder (with {CONFIG} or {OPEN_CLIP_CONFIG}) or "
            f"{HUB}OWNER/NAME, or set model.architecture"
        )
    bundle = find_bundle(folder)
    if bundle is not None:
        read = bundle_architecture(bundle)
    elif (folder / OPEN_CLIP_CONFIG).is_file():
        read = replace(read_architecture(folder / OPEN_CLIP_CONFIG), name=folder.resolve().name)
    else:
        read = read_transformers_architecture(folder)
    if image_size is not None and image_size != read.image_size:
        raise UserError(
            f"transform.size={image_size}, but {pretrained} takes images of {read.image_size} px, and positional "
            "embeddings are never resized; leave transform.size at null"
        )
    return read


def find_folder(pretrained: str | None) -> Path | None:
    """The folder behind ``pretrained``; None where it is a file, a tag or nothing.

    Raises:
        UserError: The folder is in neither layout.
        CheckpointError: The hub cannot be reached, or has no such repository.
    """
    if pretrained is None:
        return None
    folder = _fetch(pretrained.removeprefix(HUB)) if pretrained.startswith(HUB) else Path(pretrained)
    if not folder.is_dir():
        return None
    if not is_published(folder) and find_bundle(folder) is None:
        raise UserError(
            f"{pretrained} is a folder without {CONFIG} or {OPEN_CLIP_CONFIG}, so neither transformers' nor "
            "open_clip's layout, and neither a bundle nor a run that holds one"
        )
    return folder


def is_published(folder: Path) -> bool:
    """Whether a folder is in transformers' or in open_clip's layout."""
    return any((folder / name).is_file() for name in (CONFIG, OPEN_CLIP_CONFIG))


def load_folder(towers: Any, folder: Path) -> None:
    """Loads a folder's weights into the towers that ``find_architecture`` described, strictly.

    Raises:
        UserError: There is no weight file.
        CheckpointError: A tensor is missing, unexpected or of another shape.
    """
    bundle = find_bundle(folder)
    if bundle is not None:
        load_bundle_towers(towers, bundle)
    elif (folder / OPEN_CLIP_CONFIG).is_file():
        files = [folder / name for name in _OPEN_CLIP_WEIGHTS if (folder / name).is_file()]
        if not files:
            raise UserError(f"{folder} has no weights: neither {' nor '.join(_OPEN_CLIP_WEIGHTS)}")
        load_clip(towers, files[0])
    else:
        load_strictly(towers, read_transformers_state(folder), source=str(folder))


def _fetch(repository: str) -> Path:
    """Downloads a repository of the hub into its cache, or finds it there; pickled weights only where it has no others.

    Raises:
        CheckpointError: It cannot be reached, or does not exist.
    """
    try:
        folder = Path(snapshot_download(repository, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            patterns = ["*.json", "*.txt", "pytorch_model*.bin", "open_clip_pytorch_model.bin"]
            folder = Path(snapshot_download(repository, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{HUB}{repository} cannot be fetched: {said}. Fetch the folder by other means and give its path as "
            "model.pretrained."
        ) from None
    return folder
