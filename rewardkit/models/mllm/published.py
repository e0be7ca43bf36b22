"""A published image-text-to-text model and its processor, from a folder as transformers saves it or from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.pretrained_folder import HUB

_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"]
"""What is fetched of a repository: nothing that would have to be unpickled or run."""


def find_base(source: str) -> Path:
    """The folder behind ``FOLDER`` or ``hf-hub:OWNER/NAME``; what the hub's cache holds is not fetched again.

    Raises:
        UserError: There is no such folder, or it is not in transformers' layout.
        CheckpointError: The hub cannot be reached, or has no such repository.
    """
    if source.startswith(HUB):
        return _fetch(source.removeprefix(HUB))
    folder = Path(source)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"model.pretrained={source}: there is no folder with a config.json; name the folder of an "
            f"image-text-to-text model as transformers' save_pretrained writes it, or {HUB}OWNER/NAME"
        )
    return folder


def read_base(folder: Path, *, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Model and processor of a folder; no code of the folder is run and nothing is unpickled.

    Args:
        folder: From ``find_base``.
        dtype: Of the weights. A model is loaded in it, not cast to it: that would also cast the frequencies of
            positions.

    Returns:
        The model in train mode, and its processor.

    Raises:
        UserError: It is no image-text-to-text model, or lacks its processor.
        CheckpointError: Weights are missing, or do not fit.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    import rewardkit.models.mllm.small_vision  # noqa: F401  (AutoModel has to know the demo's tower)

    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        base, told = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"model.pretrained={folder} cannot be read as an image-text-to-text model: {said}") from None
    lacking = sorted(told["missing_keys"])
    if lacking or told["mismatched_keys"]:
        named = ", ".join(lacking[:5] or [str(key) for key in told["mismatched_keys"]][:5])
        raise CheckpointError(
            f"the weights in {folder} do not fit its config.json: {named} missing or of another shape"
        )
    if not hasattr(processor, "image_processor"):
        raise UserError(f"model.pretrained={folder} has a tokenizer but no image processor (preprocessor_config.json)")
    return base.train(), processor


def set_pixel_budget(processor: Any, *, fewest: int | None = None, most: int | None = None) -> None:
    """Sets how many pixels an image is made to have, and so how many tokens.

    Args:
        processor: Of a Qwen-VL, whose image processor counts sizes as areas.
        fewest: ``model.mllm.min_pixels``; None keeps the processor's.
        most: ``model.mllm.max_pixels``, likewise.

    Raises:
        UserError: The processor has no such budget, or fewest is above most.
    """
    if fewest is None and most is None:
        return
    images, budget = processor.image_processor, pixel_budget(processor)
    if budget is None:
        raise UserError(
            f"model.mllm.min_pixels and max_pixels: {type(images).__name__} has no budget of pixels; leave both at "
            "null, or change preprocessor_config.json in the model's folder"
        )
    low, high = fewest or budget[0], most or budget[1]
    cell = (images.patch_size * images.merge_size) ** 2
    if low > high or high < cell:
        raise UserError(
            f"model.mllm.min_pixels={low} and max_pixels={high}: the first may not be above the second, and one image "
            f"token takes {cell} pixels"
        )
    images.size = {"shortest_edge": low, "longest_edge": high}


def pixel_budget(processor: Any) -> tuple[int, int] | None:
    """Fewest and most pixels that the processor gives an image; None where it has no such budget."""
    images = processor.image_processor
    if not hasattr(images, "merge_size"):
        return None
    size = {name: value for name, value in dict(images.size).items() if value is not None}
    if set(size) != {"shortest_edge", "longest_edge"}:
        return None
    return int(size["shortest_edge"]), int(size["longest_edge"])


def _fetch(repository: str) -> Path:
    try:
        return Path(snapshot_download(repository, allow_patterns=_FILES, local_files_only=True))
    except (HFValidationError, OSError, ValueError):
        pass  # not in the cache, or not whole
    try:
        return Path(snapshot_download(repository, allow_patterns=_FILES))
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{HUB}{repository} cannot be fetched: {said}. Fetch the folder by other means and give its path as "
            "model.pretrained."
        ) from None
