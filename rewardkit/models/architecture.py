"""Which towers a CLIP is built from: an open_clip name, an open_clip JSON file, or the same as a mapping.

Two keys of a JSON file are rewardkit's own, both for towers that are not open_clip's: ``vision_cfg.timm_weights`` names
a local file of weights for the timm tower, and ``text_cfg.hf_model_name`` may name a local folder. Relative paths start
at the JSON file. The rest is handed to open_clip as it stands.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import nn

from rewardkit.data.images import ImageTransform
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.tower_dropout import check_dropout, no_dropout, refused_dropout, set_dropout
from rewardkit.models.tower_weights import load_timm_trunk, load_transformers_tower, single_weight_file

_RESIZE_MODES: dict[str, Literal["pad", "crop", "squash"]] = {"shortest": "crop", "longest": "pad", "squash": "squash"}
"""open_clip's names of the ways to resize, and ours."""


@dataclass(frozen=True)
class Architecture:
    """The towers of one CLIP, before any weights.

    Attributes:
        name: open_clip's name, or the stem of the JSON file.
        config: open_clip's model configuration (``embed_dim``, ``vision_cfg``, ``text_cfg``, …), paths absolute.
        preprocessing: What the configuration says of its images (``mean``, ``std``, ``interpolation``,
            ``resize_mode``); empty where it says nothing.
        image_weights: Local file of weights for a timm image tower.
    """

    name: str
    config: dict[str, Any]
    preprocessing: dict[str, Any]
    image_weights: Path | None = None

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        size = self.config["vision_cfg"].get("image_size", 224)
        return int(size if isinstance(size, int) else size[0])

    @property
    def context_length(self) -> int:
        """Length of a token row."""
        return int(self.config["text_cfg"].get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH))

    @property
    def is_timm(self) -> bool:
        """Whether the image tower is timm's."""
        return bool(self.config["vision_cfg"].get("timm_model_name"))

    @property
    def text_tower(self) -> str | None:
        """Name or folder of a transformers text tower, where there is one."""
        return self.config["text_cfg"].get("hf_model_name") or None


def read_architecture(
    source: str | Path | Mapping[str, Any], *, folder: Path | None = None, image_size: int | None = None
) -> Architecture:
    """Finds the configuration behind a name, a JSON file or a mapping.

    Args:
        source: ``"ViT-H-14"``, ``"towers/small.json"``, or the parsed JSON. The JSON is either the bare model
            configuration or open_clip's ``{"model_cfg": …, "preprocess_cfg": …}``.
        folder: Where relative paths of a mapping start. For a JSON file it is the file's folder.
        image_size: Side of the input in pixels, where it shall differ from the configuration's.

    Raises:
        UserError: There is no such name or file, or it is no CLIP configuration.
    """
    if isinstance(source, Mapping):
        name, config = "custom", copy.deepcopy(dict(source))
    elif str(source).endswith(".json"):
        path = Path(source)
        name, folder, config = path.stem, path.resolve().parent, _read_json(path)
    else:
        name = str(source).replace("/", "-")
        known = open_clip.get_model_config(name) if name in open_clip.list_models() else None
        if known is None:
            near = get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.4)
            hint = f"; the nearest are {', '.join(near)}" if near else ""
            raise UserError(
                f"open_clip knows no architecture {str(source)!r}{hint}. "
                "Give one of open_clip.list_models(), or the path of a JSON configuration (ending in .json)."
            )
        config = known
    preprocessing = dict(config.get("preprocess_cfg", {}))
    config = dict(config.get("model_cfg", config))
    config.pop("preprocess_cfg", None)
    _check_config(name, config)
    weights = config["vision_cfg"].pop("timm_weights", None)
    text_tower = config["text_cfg"].get("hf_model_name")
    for key in ("hf_model_name", "hf_tokenizer_name"):
        value = config["text_cfg"].get(key)
        if value and folder is not None and (folder / value).is_dir():
            config["text_cfg"][key] = str(folder / value)
    if text_tower and not config["text_cfg"].get("hf_tokenizer_name"):
        config["text_cfg"]["hf_tokenizer_name"] = config["text_cfg"]["hf_model_name"]
    if image_size is not None:
        config["vision_cfg"]["image_size"] = image_size
    image_weights = None if weights is None else (folder or Path()) / weights
    return Architecture(name, config, preprocessing, image_weights)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the architecture {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"the architecture {path} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"the architecture {path} is a {type(config).__name__}, not an object")
    return config


def _check_config(name: str, config: dict[str, Any]) -> None:
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
    if missing:
        raise UserError(
            f"the architecture {name} lacks {', '.join(missing)}; an open_clip configuration has embed_dim, "
            "vision_cfg and text_cfg"
        )
    if "multimodal_cfg" in config:
        raise UserError(f"the architecture {name} is a CoCa; a CLIP reward has two towers and no decoder")
    for tower in ("vision_cfg", "text_cfg"):
        if config[tower].get("output_tokens"):
            raise UserError(f"the architecture {name} sets {tower}.output_tokens; a CLIP reward needs pooled features")


def image_transform(
    architecture: Architecture,
    pretrained: str | None = None,
    *,
    resize: Literal["pad", "crop", "squash"] | None = None,
    interpolation: Literal["bicubic", "bilinear"] | None = None,
    antialias: bool = True,
    decode: Literal["exact", "scaled"] = "exact",
) -> ImageTransform:
    """The transform that a CLIP expects of its images.

    ``mean`` and ``std`` come from the JSON file, else from open_clip's entry for the pretrained tag, else from timm's
    entry for a timm tower, else they are OpenAI's. ``resize`` and ``interpolation`` likewise where not given.
    """
    known: dict[str, Any] = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    if architecture.is_timm:
        import timm

        entry = timm.get_pretrained_cfg(architecture.config["vision_cfg"]["timm_model_name"])
        if entry is not None:
            known = {"mean": entry.mean, "std": entry.std, "interpolation": entry.interpolation}
    if pretrained:
        known.update(open_clip.get_pretrained_cfg(architecture.name, pretrained))
    known.update(architecture.preprocessing)
    taken = interpolation or known.get("interpolation", "bicubic")
    return ImageTransform(
        size=architecture.image_size,
        resize=resize or _RESIZE_MODES[known.get("resize_mode", "shortest")],
        interpolation="bilinear" if taken == "bilinear" else "bicubic",
        antialias=antialias,
        mean=tuple(float(value) for value in known["mean"]),  # type: ignore[arg-type]
        std=tuple(float(value) for value in known["std"]),  # type: ignore[arg-type]
        decode=decode,
    )


def build_towers(
    architecture: Architecture,
    *,
    tower_weights: bool,
    patch_dropout: float | None = None,
    drop_path: float | None = None,
) -> Any:
    """Builds open_clip's module for an architecture, on the default device.

    ``logit_scale`` has one axis of length 1, because DeepSpeed refuses parameters without axes; files hold it
    without axes, as the published ones do.

    Args:
        architecture: What to build.
        tower_weights: Load the weights that the configuration itself names (a transformers folder, ``timm_weights``);
            False where all weights come from elsewhere.
        patch_dropout: Share of the patches that the image tower leaves out in training; None leaves what the
            configuration says. Like ``drop_path`` it changes training alone, so the architecture does not record it.
        drop_path: Stochastic depth of the image tower, likewise.

    Returns:
        ``open_clip.CLIP`` or ``open_clip.CustomTextCLIP`` with random weights where none were named.

    Raises:
        UserError: open_clip refuses the configuration, or the image tower cannot leave out what it is asked to.
        CheckpointError: The named weights do not fit.
    """
    config = copy.deepcopy(architecture.config)
    set_dropout(config, patch_dropout=patch_dropout, drop_path=drop_path)
    custom_text = config.pop("custom_text", False) or architecture.text_tower is not None
    if architecture.is_timm:
        config["vision_cfg"]["timm_model_pretrained"] = False
    text_weights = None
    if architecture.text_tower is not None:
        wanted = bool(config["text_cfg"].get("hf_model_pretrained", True) and tower_weights)
        text_weights = single_weight_file(architecture.text_tower) if wanted else None
        # transformers fills what a file lacks with random numbers, so a local file is loaded here instead, strictly.
        config["text_cfg"]["hf_model_pretrained"] = wanted and text_weights is None
    kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    try:
        towers: Any = kind(**config, nonscalar_logit_scale=True)
    except (TypeError, ValueError, RuntimeError, OSError, KeyError, AssertionError) as error:
        refused = refused_dropout(error)
        share = {"patch_dropout": patch_dropout, "drop_path": drop_path}.get(refused or "")
        if refused is not None and share:
            raise UserError(no_dropout(refused, share, architecture.name)) from error
        raise UserError(f"open_clip cannot build the architecture {architecture.name}: {error}") from error
    check_dropout(towers, architecture.name, patch_dropout=patch_dropout, drop_path=drop_path)
    if towers.logit_bias is not None:
        # A bias shifts every score alike, so no comparison ever gives it a gradient.
        towers.logit_bias.requires_grad_(False)
    if tower_weights and architecture.image_weights is not None:
        if not architecture.is_timm:
            raise UserError(f"{architecture.name} names timm_weights, but its image tower is not timm's")
        load_timm_trunk(towers.visual.trunk, architecture.image_weights)
    if text_weights is not None:
        load_transformers_tower(towers.text.transformer, text_weights)
    return towers


def find_pretrained(architecture: Architecture, pretrained: str) -> Path:
    """The file behind ``pretrained``: a local file, or what open_clip fetches for a tag.

    Raises:
        UserError: Neither a file nor a tag that open_clip knows for this architecture.
        CheckpointError: The tag's weights cannot be fetched.
    """
    if Path(pretrained).is_file():
        return Path(pretrained)
    tags = open_clip.list_pretrained_tags_by_model(architecture.name)
    entry = open_clip.get_pretrained_cfg(architecture.name, pretrained)
    if not entry:
        near = get_close_matches(pretrained, tags, n=3, cutoff=0.3) or tags
        raise UserError(
            f"pretrained={pretrained!r} is neither a file, nor a folder, nor a tag of {architecture.name}"
            + (f"; its tags are {', '.join(near)}" if near else "; open_clip has no tags for it, so give a local file")
            + (f". On the Hugging Face hub? Write hf-hub:{pretrained}" if pretrained.count("/") == 1 else "")
        )
    try:
        return Path(open_clip.download_pretrained(entry))
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the weights {pretrained!r} of {architecture.name} cannot be fetched: {error}. "
            "Fetch the file by other means and give its path as pretrained."
        ) from error


def dtype_of(module: nn.Module) -> torch.dtype:
    """The number type that a tower computes in, which its inputs must be cast to."""
    return next(parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
