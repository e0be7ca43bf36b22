"""Weights of a single tower from a local file: a timm trunk, a transformers text model. Strict but for named parts.

A checkpoint of such a tower also holds what it was once used for (a classifier, a pooler, a masked-language head);
those parts, and no others, are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rewardkit.models.checkpoints import load_strictly, read_weights

_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names that transformers gives to unsharded weights, the preferred one first."""

_LEFT_OUT = ("pooler.", "cls.", "lm_head.", "embeddings.position_ids", "embeddings.token_type_ids")
"""Beginnings of the names in a transformers checkpoint that a text tower has no use for."""


def single_weight_file(folder: str) -> Path | None:
    """The weight file of a transformers model in a local folder; None where it is not local or is in several files."""
    files = [Path(folder) / name for name in _WEIGHT_FILES]
    return next((path for path in files if path.is_file()), None)


def load_timm_trunk(trunk: Any, path: Path) -> None:
    """Loads a timm checkpoint into an image tower's trunk, without its classifier.

    Raises:
        UserError: There is no such file.
        CheckpointError: Anything but the classifier is missing, unexpected or of another shape.
    """
    classifier = trunk.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    heads = tuple(f"{name}." for name in names)
    state = {key: value for key, value in read_weights(path).items() if not (heads and key.startswith(heads))}
    load_strictly(trunk, state, source=str(path))


def load_transformers_tower(transformer: Any, path: Path) -> None:
    """Loads a transformers checkpoint into a text tower.

    Raises:
        CheckpointError: Anything but the parts that a text tower does not have is missing, unexpected or misshapen.
    """
    own = transformer.state_dict()
    prefix = f"{transformer.base_model_prefix}."
    state = {key.removeprefix(prefix): value for key, value in read_weights(path).items()}
    kept = {key: value for key, value in state.items() if key in own or not key.startswith(_LEFT_OUT)}
    load_strictly(transformer, kept, source=str(path))
