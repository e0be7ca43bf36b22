"""Exports a CLIP reward to folders that open_clip and transformers load.

Neither knows rewardkit's heads, so each exported model speaks for one dimension: a projection head's linear maps are
multiplied into the towers' own last projections, which changes no score. A reward with many dimensions becomes one
folder for each. What two towers and a cosine cannot say is refused and named, never left out in silence: text queries,
an ``overall`` that is a sum of other dimensions' cosines, a standard deviation.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from safetensors.torch import save_file
from torch import Tensor, nn

from rewardkit.config.overall import OVERALL
from rewardkit.errors import UserError
from rewardkit.models.clip import CLIPReward
from rewardkit.models.heads import ProjectionHead, TextQueryHead
from rewardkit.models.overall import DerivedOverallHead
from rewardkit.models.transformers_clip import processor_config, to_transformers, transformers_tokenizer

_RESIZE = {"pad": "longest", "crop": "shortest", "squash": "squash"}
"""Our names of the ways to resize, and open_clip's."""


def export_open_clip(folder: str | Path, model: CLIPReward, *, dimensions: Sequence[str] = ()) -> dict[str, Path]:
    """Writes what ``open_clip.create_model("local-dir:FOLDER")`` loads, with its tokenizer and transform.

    The score of the published HPS v2 is then the cosine of ``encode_image`` and ``encode_text``. open_clip resizes with
    an antialiasing filter always.

    Args:
        folder: The folder to write; for a reward of many dimensions, one folder inside it for each.
        model: The reward.
        dimensions: Those to export; empty for all.

    Returns:
        Dimension to folder.

    Raises:
        UserError: The towers have no projection that the head could be multiplied into, or ``check_exportable``.
    """

    def write(target: Path, final: Path, towers: nn.Module) -> None:
        config = copy.deepcopy(model.architecture.config)
        config["vision_cfg"].pop("timm_model_pretrained", None)
        text = getattr(towers, "text", None)
        if isinstance(text, HFTextEncoder):
            text.config.save_pretrained(target / "text_tower")
            # open_clip takes this path from its own working directory, so it has to be absolute.
            config["text_cfg"].update(hf_model_name=str(final.resolve() / "text_tower"), hf_model_pretrained=False)
        if model.tokenizer.save(target):
            config["text_cfg"]["hf_tokenizer_name"] = str(final.resolve())
        preprocess = {
            "mean": list(model.transform.mean),
            "std": list(model.transform.std),
            "interpolation": model.transform.interpolation,
            "resize_mode": _RESIZE[model.transform.resize],
            "size": model.transform.size,
        }
        _write_json(target / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})
        save_file(open_clip_state_dict(towers), target / "open_clip_model.safetensors", metadata={"format": "pt"})

    return _each_dimension(Path(folder), model, dimensions, write)


def export_transformers(folder: str | Path, model: CLIPReward, *, dimensions: Sequence[str] = ()) -> dict[str, Path]:
    """Writes what ``transformers.CLIPModel.from_pretrained(FOLDER)`` loads, with tokenizer and image processor.

    Args:
        folder: The folder to write; for a reward of many dimensions, one folder inside it for each.
        model: The reward.
        dimensions: Those to export; empty for all.

    Returns:
        Dimension to folder.

    Raises:
        UserError: transformers' CLIP cannot express the towers; the message says why. Or ``check_exportable``.
    """

    def write(target: Path, final: Path, towers: nn.Module) -> None:
        converted = to_transformers(towers, model)
        converted.config.architectures = ["CLIPModel"]
        converted.config.save_pretrained(target)
        save_file(converted.state_dict(), target / "model.safetensors", metadata={"format": "pt"})
        transformers_tokenizer(model).save_pretrained(target)
        _write_json(target / "preprocessor_config.json", processor_config(model.transform))

    return _each_dimension(Path(folder), model, dimensions, write)


def open_clip_state_dict(towers: nn.Module) -> dict[str, Tensor]:
    """The towers' weights under open_clip's names, on the CPU; the logit scale without axes."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in towers.state_dict().items()}
    for name in ("logit_scale", "logit_bias"):
        if name in state:
            state[name] = state[name].reshape(())
    return state


def towers_of_dimension(model: CLIPReward, dimension: str) -> nn.Module:
    """The towers whose plain cosine is the reward's on one dimension.

    Returns:
        The model's own towers where the head has no parameters, else a copy.

    Raises:
        UserError: The towers have no projection that the head could be multiplied into.
    """
    head, names = model.head, list(model.dimensions)
    if isinstance(head, DerivedOverallHead):
        head, names = head.others, [name for name in names if name != OVERALL]
    if not isinstance(head, ProjectionHead):
        assert not list(head.parameters()), f"no rule folds the head {head.kind} into the towers"
        return model.clip
    towers = copy.deepcopy(model.clip)
    index = names.index(dimension)
    with torch.no_grad():
        _fold(towers.visual, head.image[index], "image")  # type: ignore[arg-type]
        _fold(getattr(towers, "text", towers), head.text[index], "text")  # type: ignore[arg-type]
    return towers


def check_exportable(model: CLIPReward, dimensions: Sequence[str]) -> None:
    """Refuses what two towers and a cosine cannot say.

    Args:
        model: The reward.
        dimensions: Those to export.

    Raises:
        UserError: Names a dimension that the model lacks, or everything that the export would lose.
    """
    unknown = [name for name in dimensions if name not in model.dimensions]
    if unknown:
        raise UserError(f"there is no dimension {unknown[0]!r}; the model has {', '.join(model.dimensions)}")
    lost = []
    if model.head.kind == TextQueryHead.kind:
        lost.append("the text queries, learned vectors that are added to the prompt's embedding at unit length")
    if isinstance(model.head, DerivedOverallHead) and OVERALL in dimensions:
        others = [name for name in model.dimensions if name != OVERALL]
        lost.append(
            f"the {model.head.weights.kind} that makes {OVERALL!r}, a sum of the cosines of {', '.join(others)} "
            f"(dimensions={','.join(others)} exports those alone)"
        )
    if model.uncertainty is not None:
        lost.append("the uncertainty, a standard deviation of each score")
    if lost:
        raise UserError(
            f"two towers and a cosine have no place for {'; nor for '.join(lost)}. Export to=bundle to keep all of the "
            "model"
        )


def _fold(tower: Any, linear: Tensor, name: str) -> None:
    """Multiplies a linear map ``[E, E]`` into a tower's last projection, in place."""
    last: Any = None
    if isinstance(tower, ModifiedResNet):
        last = tower.attnpool.c_proj
    elif isinstance(tower, TimmModel):
        last = getattr(tower.head, "proj", None) or getattr(getattr(tower.head, "mlp", None), "fc2", None)
    elif isinstance(tower, HFTextEncoder):
        last = tower.proj[-1] if isinstance(tower.proj, nn.Sequential) else tower.proj
    else:
        last = getattr(tower, "proj" if name == "image" else "text_projection", None)
    if isinstance(last, nn.Linear):
        last.weight.copy_(linear @ last.weight)
        if last.bias is not None:
            last.bias.copy_(linear @ last.bias)
    elif isinstance(last, nn.Parameter):
        last.copy_(last @ linear.T)
    else:
        raise UserError(
            f"the {name} tower ends without a linear projection, so the dimension's own map cannot be written into it; "
            "export to=bundle instead"
        )


def _each_dimension(
    folder: Path, model: CLIPReward, dimensions: Sequence[str], write: Callable[[Path, Path, nn.Module], None]
) -> dict[str, Path]:
    """Writes one folder for each dimension; the whole appears complete or not at all."""
    wanted = list(dict.fromkeys(dimensions or model.dimensions))
    check_exportable(model, wanted)
    single = len(model.dimensions) == 1
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        places = {dimension: Path() if single else Path(dimension) for dimension in wanted}
        for dimension, place in places.items():
            (new / place).mkdir(parents=True)
            write(new / place, folder / place, towers_of_dimension(model, dimension))
        if folder.exists():
            raise UserError(f"{folder} exists already and is not overwritten; choose another folder")
        os.replace(new, folder)
    return {dimension: folder / place for dimension, place in places.items()}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
