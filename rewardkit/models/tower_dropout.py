"""Patch dropout and stochastic depth of a CLIP's image tower, as open_clip offers them.

Patch dropout (Li et al. 2022, arXiv 2212.00794) leaves a share of the patches out of each picture: open_clip's own
vision transformers have it, and it is handed on to timm's. Stochastic depth (Huang et al. 2016, arXiv 1603.09382)
leaves whole residual branches out, at a rate that rises linearly to the last block: timm's towers have it, open_clip's
own do not. Both draw from torch's generator in train mode, and do nothing in eval mode.
"""

from __future__ import annotations

from typing import Any

from open_clip.transformer import PatchDropout as OpenClipPatchDropout
from timm.layers.drop import DropPath
from timm.layers.patch_dropout import PatchDropout, PatchDropoutWithIndices
from torch import nn

from rewardkit.errors import UserError

_PATCH_DROPOUTS = (OpenClipPatchDropout, PatchDropout, PatchDropoutWithIndices)

_TIMM_NAMES = {"patch_dropout": "patch_drop_rate", "drop_path": "drop_path_rate"}
"""What timm's constructors call them; they refuse the one that they do not have as an unexpected argument."""


def set_dropout(config: dict[str, Any], *, patch_dropout: float | None, drop_path: float | None) -> None:
    """Writes both into an open_clip configuration, in place; None leaves what it says itself.

    Raises:
        UserError: A share outside of [0, 1).
    """
    for name, share in (("patch_dropout", patch_dropout), ("drop_path", drop_path)):
        if share is not None and not 0 <= share < 1:
            raise UserError(f"model.{name}={share}: expects a share from 0 up to below 1")
    vision = config["vision_cfg"]
    if patch_dropout is not None:
        vision["patch_dropout"] = patch_dropout
    # Only what is wanted or was there: timm towers without stochastic depth refuse even a rate of 0.
    if drop_path or (drop_path is not None and vision.get("timm_drop_path")):
        vision["timm_drop_path"] = drop_path


def refused_dropout(error: Exception) -> str | None:
    """Which of the two a timm tower refused when it was built: ``patch_dropout``, ``drop_path``, or None."""
    said = str(error)
    return next((name for name, timm_name in _TIMM_NAMES.items() if f"'{timm_name}'" in said), None)


def check_dropout(towers: nn.Module, name: str, *, patch_dropout: float | None, drop_path: float | None) -> None:
    """Makes sure that what was asked for is there: open_clip drops some of it in silence.

    Args:
        towers: open_clip's module.
        name: Of its architecture, for the message.
        patch_dropout: As asked for.
        drop_path: As asked for.

    Raises:
        UserError: The image tower has none.
    """
    visual: nn.Module = towers.visual  # type: ignore[assignment]
    parts = list(visual.modules())
    if patch_dropout and not any(isinstance(part, _PATCH_DROPOUTS) and part.prob > 0 for part in parts):
        raise UserError(no_dropout("patch_dropout", patch_dropout, name))
    if drop_path and not any(isinstance(part, DropPath) and (part.drop_prob or 0) > 0 for part in parts):
        raise UserError(no_dropout("drop_path", drop_path, name))


def no_dropout(which: str, share: float | None, name: str) -> str:
    """What to say where an image tower has no patch dropout or no stochastic depth."""
    if which == "patch_dropout":
        return (
            f"model.patch_dropout={share}: the image tower of {name} cannot leave patches out; vision transformers can "
            "(open_clip's own and most of timm's), a ResNet and other convolutions cannot. Leave model.patch_dropout "
            "at null, or take another model.architecture (for example ViT-B-32)"
        )
    return (
        f"model.drop_path={share}: the image tower of {name} has no stochastic depth; in open_clip only timm's towers "
        "have it, its own do not. Leave model.drop_path at null, or take an architecture with a timm tower that has it "
        "(for example convnext_base or ViT-B-16-SigLIP)"
    )
