"""The towers of a bundle, or of a run's, to start another model from: ``model.pretrained=RUN``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rewardkit.errors import UserError
from rewardkit.models.architecture import Architecture, read_architecture
from rewardkit.models.bundle_record import read_record
from rewardkit.models.checkpoints import load_strictly

_RESIZE_MODES = {"crop": "shortest", "pad": "longest", "squash": "squash"}
"""Our names of the ways to resize, and open_clip's, which an ``Architecture`` uses."""


def bundle_architecture(bundle: Path) -> Architecture:
    """What the towers of a bundle are, and how its images were prepared.

    Raises:
        UserError: The bundle is of a model without two towers.
        CheckpointError: Its record is damaged.
    """
    record = read_record(bundle)
    if record["model"]["kind"] != "clip":
        raise UserError(f"{bundle} is a {record['model']['kind']}, which has no towers that a CLIP could start from")
    described, images = record["model"]["architecture"], record["preprocessing"]
    read = replace(read_architecture(described["config"], folder=bundle), name=described["name"])
    preprocessing = {name: images[name] for name in ("mean", "std", "interpolation")}
    return replace(read, preprocessing={**preprocessing, "resize_mode": _RESIZE_MODES[images["resize"]]})


def load_bundle_towers(towers: Any, bundle: Path) -> None:
    """Loads the towers of a bundle, without its head, strictly; the weights' sha256 is checked first.

    Raises:
        CheckpointError: The bundle is damaged, or a tensor does not fit.
    """
    from rewardkit.models.load import load_reward  # load.py builds models, which read weights through this module

    load_strictly(towers, load_reward(bundle).model.towers.state_dict(), source=str(bundle))
