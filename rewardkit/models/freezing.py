"""The parameter groups of a tower from input to head: the one source for freezing, layer-wise rates and the table.

Freezing follows HPS v2 (repository tgxs002/HPSv2, ``src/open_clip``). Image tower: stem | each block but the last |
last block and its norm | projection; the last n of these train. Text tower: the embeddings stay frozen whatever n is;
the last n blocks train, and with the last block its final norm and the projection. ``logit_scale`` always trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import open_clip
from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import nn

from rewardkit.errors import UserError
from rewardkit.models.blip_architecture import BlipTowers

Tower = Literal["image", "text"]

TOWERS: tuple[type[nn.Module], ...] = (open_clip.CLIP, open_clip.CustomTextCLIP, BlipTowers)
"""Modules that ``layer_groups`` takes; a reward model holds one of them as a child."""


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """Parameters that are frozen or trained together.

    Attributes:
        name: ``image.stem``, ``image.block.3``, ``text.embeddings``, …
        parameters: Names inside the CLIP module.
        freezing: ``by_depth`` counts towards the last n; ``frozen`` never trains in a tower that is being frozen;
            ``trained`` always trains: a projection on a tower that came without one.
    """

    name: str
    parameters: tuple[str, ...]
    freezing: Literal["by_depth", "frozen", "trained"] = "by_depth"


def layer_groups(towers: nn.Module) -> dict[Tower, tuple[LayerGroup, ...]]:
    """The groups of both towers, ordered from input to head.

    Each parameter of a tower is in exactly one group; ``logit_scale`` and ``logit_bias`` are in none.

    Args:
        towers: ``open_clip.CLIP``, ``open_clip.CustomTextCLIP`` or a BLIP's.

    Raises:
        UserError: The groups of a tower are not known.
    """
    return {"image": _image_groups(towers), "text": _text_groups(towers)}


def towers_of(model: nn.Module) -> tuple[str, nn.Module] | None:
    """The child of a reward model that holds its towers, with its name; None in a model without towers."""
    return next(((name, child) for name, child in model.named_children() if isinstance(child, TOWERS)), None)


def groups_of_model(model: nn.Module) -> dict[Tower, tuple[LayerGroup, ...]]:
    """``layer_groups`` of a reward model's towers, with names as the model's ``named_parameters`` has them.

    A model that has a ``layer_groups`` method (an evaluator) is asked itself.

    Returns:
        Nothing for a model without towers (trained on features, or a user's own).

    Raises:
        UserError: The groups of a tower are not known.
    """
    own: Callable[[], dict[Tower, tuple[LayerGroup, ...]]] | None = getattr(model, "layer_groups", None)
    if own is not None:
        return own()
    found = towers_of(model)
    if found is None:
        return {}
    child, towers = found
    return {
        tower: tuple(
            LayerGroup(group.name, tuple(f"{child}.{name}" for name in group.parameters), group.freezing)
            for group in groups
        )
        for tower, groups in layer_groups(towers).items()
    }


def rate_factors(groups: Mapping[Tower, Sequence[LayerGroup]], decay: float) -> dict[str, float]:
    """Factor of the learning rate of each group, by the group's name: layer-wise decay as in BEiT.

    Group i of the L groups of its tower, counted from 0 at the input, has ``decay ** (L - 1 - i)``: the last one learns
    at the full rate, each below at ``decay`` times the rate of the one above (Bao et al. 2021, arXiv 2106.08254,
    appendix; Clark et al. 2020, arXiv 2003.10555). Towers are counted each for itself.

    Args:
        groups: From ``layer_groups`` or ``groups_of_model``.
        decay: In (0, 1]; 1 gives every group the full rate.
    """
    return {
        group.name: decay ** (len(tower) - 1 - place) for tower in groups.values() for place, group in enumerate(tower)
    }


def freeze(towers: nn.Module, *, image_groups: int | None = None, text_layers: int | None = None) -> None:
    """Freezes all but the last groups of each tower.

    Args:
        towers: ``open_clip.CLIP``, ``open_clip.CustomTextCLIP`` or a BLIP's.
        image_groups: Groups of the image tower that train (HPS v2: 20); None trains the whole tower. More than there
            are trains all of them.
        text_layers: Layers of the text tower that train (HPS v2: 11); None trains the whole tower.

    Raises:
        UserError: The tower's groups are not known.
    """
    if image_groups is not None:
        _freeze_tower(towers, _image_groups(towers), image_groups)
    if text_layers is not None:
        _freeze_tower(towers, _text_groups(towers), text_layers)


def _freeze_tower(towers: nn.Module, groups: Sequence[LayerGroup], unlocked: int) -> None:
    if unlocked < 0:
        raise UserError(f"{unlocked} groups cannot train; give 0 or more, or null to train the whole tower")
    counted = [group for group in groups if group.freezing == "by_depth"]
    training = {group.name for group in counted[max(0, len(counted) - unlocked) :]}
    for group in groups:
        trains = group.freezing == "trained" or group.name in training
        for name in group.parameters:
            towers.get_parameter(name).requires_grad_(trains)


def _image_groups(towers: nn.Module) -> tuple[LayerGroup, ...]:
    if isinstance(towers, BlipTowers):
        return tuple(LayerGroup(*row) for row in towers.grouped_parameters()["image"])
    visual: nn.Module = towers.visual  # type: ignore[assignment]
    names = [f"visual.{name}" for name, _ in visual.named_parameters()]
    if isinstance(visual, VisionTransformer):
        last = len(visual.transformer.resblocks) - 1

        def place(name: str) -> str:
            if name.startswith("visual.transformer.resblocks."):
                return f"image.block.{name.split('.')[3]}"
            if name == "visual.proj":
                return "image.projection"
            return f"image.block.{last}" if name.startswith(("visual.ln_post.", "visual.attn_pool")) else "image.stem"

        order = ["image.stem", *(f"image.block.{i}" for i in range(last + 1)), "image.projection"]
        return _gather(names, place, order)
    if isinstance(visual, ModifiedResNet):
        stages = ("layer1", "layer2", "layer3", "layer4", "attnpool")
        order = ["image.stem", *(f"image.{stage}" for stage in stages)]
        return _gather(names, lambda n: f"image.{n.split('.')[1]}" if n.split(".")[1] in stages else order[0], order)
    if isinstance(visual, TimmModel):
        return _timm_groups(visual)
    raise UserError(_unknown("image", visual))


def _timm_groups(visual: TimmModel) -> tuple[LayerGroup, ...]:
    """Timm's own groups of the trunk; open_clip's head on top of them always trains."""
    from timm.models import group_parameters

    trunk = visual.trunk
    if not hasattr(trunk, "group_matcher"):
        raise UserError(_unknown("image", trunk))
    found: dict[int, list[str]] = group_parameters(trunk, trunk.group_matcher())
    groups = [
        LayerGroup(f"image.group.{n}", tuple(f"visual.trunk.{name}" for name in found[index]))
        for n, index in enumerate(sorted(found))
    ]
    head = tuple(f"visual.head.{name}" for name, _ in visual.head.named_parameters())
    return (*groups, *([LayerGroup("image.projection", head, "trained")] if head else []))


def _text_groups(towers: nn.Module) -> tuple[LayerGroup, ...]:
    if isinstance(towers, BlipTowers):
        return tuple(LayerGroup(*row) for row in towers.grouped_parameters()["text"])
    inside = isinstance(towers, open_clip.CLIP)
    tower: nn.Module = towers if inside else towers.text  # type: ignore[assignment]
    prefix = "" if inside else "text."
    names = [
        name
        for name, _ in towers.named_parameters()
        if not name.startswith("visual.") and name not in ("logit_scale", "logit_bias")
    ]
    if inside or isinstance(tower, TextTransformer):
        last = len(tower.transformer.resblocks) - 1  # type: ignore[union-attr, arg-type]
        embeddings = tuple(f"{prefix}{name}" for name in ("token_embedding.", "positional_embedding", "cls_emb"))

        def place(name: str) -> str:
            if name.startswith(embeddings):
                return "text.embeddings"
            layer = name.removeprefix(f"{prefix}transformer.resblocks.")
            return f"text.block.{last if layer == name else layer.split('.')[0]}"

        order = ["text.embeddings", *(f"text.block.{i}" for i in range(last + 1))]
        return _gather(names, place, order, frozen="text.embeddings")
    if isinstance(tower, HFTextEncoder):
        return _transformers_groups(tower, names)
    raise UserError(_unknown("text", tower))


def _transformers_groups(tower: HFTextEncoder, names: list[str]) -> tuple[LayerGroup, ...]:
    """Embeddings | each encoder layer | open_clip's projection, which always trains."""
    prefix = "text.transformer.encoder.layer."
    layers = sorted({int(name.removeprefix(prefix).split(".")[0]) for name in names if name.startswith(prefix)})
    if not layers:
        raise UserError(_unknown("text", tower.transformer))

    def place(name: str) -> str:
        if name.startswith("text.proj."):
            return "text.projection"
        if name.startswith(prefix):
            return f"text.block.{name.removeprefix(prefix).split('.')[0]}"
        return "text.embeddings" if name.startswith("text.transformer.embeddings.") else f"text.block.{layers[-1]}"

    order = ["text.embeddings", *(f"text.block.{i}" for i in layers), "text.projection"]
    return _gather(names, place, order, frozen="text.embeddings", trained="text.projection")


def _gather(
    names: Sequence[str], place: Callable[[str], str], order: Sequence[str], *, frozen: str = "", trained: str = ""
) -> tuple[LayerGroup, ...]:
    """Sorts parameter names into the groups of ``order``; a group without parameters is left out."""
    members: dict[str, list[str]] = {group: [] for group in order}
    for name in names:
        members[place(name)].append(name)

    def freezing(group: str) -> Literal["by_depth", "frozen", "trained"]:
        return "frozen" if group == frozen else "trained" if group == trained else "by_depth"

    return tuple(LayerGroup(group, tuple(found), freezing(group)) for group, found in members.items() if found)


def _unknown(tower: str, module: nn.Module) -> str:
    return (
        f"the layers of this {tower} tower ({type(module).__name__}) are not known, so a part of it cannot be frozen; "
        f"leave model.unlocked_{'image_groups' if tower == 'image' else 'text_layers'} at null to train all of it"
    )
