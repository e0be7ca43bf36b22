"""Writes a bundle: a reward model as it is shipped.

::

    model.safetensors   the towers under open_clip's own names (a BLIP's: transformers'), the head's under head.*,
                        those of the uncertainty under uncertainty.*
    bundle.json         everything needed to build the model again and to read its scores
    README.md           the card, for people
    tokenizer/          only where the tokenizer is a transformers one
    text_tower/         configuration of a transformers text tower, only where there is one

``rewardkit.load`` (``models/load.py``) reads it back. A one-dimension bundle's weights are an open_clip checkpoint.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from open_clip.hf_model import HFTextEncoder
from safetensors.torch import save_file
from torch import Tensor, nn

from rewardkit.models.blip import BLIPReward
from rewardkit.models.blip_bundle import describe_blip
from rewardkit.models.bundle_card import card_text
from rewardkit.models.bundle_record import FORMAT, FORMAT_VERSIONS, RECORD, WEIGHTS, sha256_of, storable, versions
from rewardkit.models.clip import CLIPReward
from rewardkit.models.kinds import Reward
from rewardkit.models.overall import describe_overall

TOKENIZER = "tokenizer"
TEXT_TOWER = "text_tower"


def save_bundle(
    folder: str | Path,
    model: Reward,
    *,
    calibration: Mapping[str, Mapping[str, Any]] | None = None,
    evaluation: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    data: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Writes a bundle; the folder appears complete or not at all, and replaces an older bundle of that name.

    Args:
        folder: Where the bundle shall lie.
        model: Its weights, transform, dimensions and output scale go in.
        calibration: Dimension to ``{"mean", "std", "quantiles", …}`` of the scores on a named set
            (``rewardkit.metrics.calibration``).
        evaluation: Rows of accuracies with protocol, counts and interval, as plain numbers and texts.
        recipe: The composed recipe of the run.
        data: What it was trained and validated on (``rewardkit.data.described``).

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        tensors, tied = bundle_tensors(model)
        save_file(tensors, new / WEIGHTS, metadata={"format": "pt"})
        record = bundle_record(model, new, calibration=calibration, evaluation=evaluation, recipe=recipe, data=data)
        record["weights"] = {
            "file": WEIGHTS,
            "sha256": sha256_of(new / WEIGHTS),
            "tensors": len(tensors),
            "parameters": sum(tensor.numel() for tensor in tensors.values()),
            "tied": tied,
        }
        (new / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (new / "README.md").write_text(card_text(record, folder.name), encoding="utf-8")
        _flush(new)
        if folder.exists():
            os.replace(folder, Path(scratch) / "old")
        os.replace(new, folder)
    return folder


def bundle_record(
    model: Reward,
    folder: Path,
    *,
    calibration: Mapping[str, Mapping[str, Any]] | None = None,
    evaluation: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    data: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The content of ``bundle.json`` but for its ``weights``; files that it names are written to ``folder``."""
    return {
        **_record_of(model, folder),
        "calibration": copy.deepcopy(dict(calibration or {})),
        "evaluation": [dict(row) for row in evaluation],
        "recipe": copy.deepcopy(dict(recipe or {})),
        "data": copy.deepcopy([dict(one) for one in data]),
        "versions": versions(),
    }


def bundle_tensors(model: Reward) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors that a bundle stores, and the names of those that are stored under another name.

    Returns:
        Name to tensor on the CPU, contiguous, tied tensors once; and second name to first name of each tie.
        ``logit_scale`` has no axes.
    """
    towers = model.towers.state_dict()
    state = dict(towers)
    for part, module in parts_of(model).items():
        assert not any(key.startswith(f"{part}.") for key in towers), f"a tower's names collide with those of {part}"
        state |= {f"{part}.{key}": value for key, value in module.state_dict().items()}
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    owner: dict[tuple[Any, ...], str] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and tensor.device.type != "meta" and owner.setdefault(place, name) != name:
            tied[name] = owner[place]
            continue
        value = tensor.detach().cpu()
        value = value.reshape(()) if name in ("logit_scale", "logit_bias") else value
        tensors[name] = storable(value)
    return tensors, tied


def parts_of(model: Reward) -> dict[str, nn.Module]:
    """What a reward has beside its towers, by the name that its tensors carry in a bundle: head, uncertainty."""
    return {name: child for name, child in model.named_children() if child is not model.towers}


def _record_of(model: Reward, folder: Path) -> dict[str, Any]:
    """What the record says of the model itself; files that it names are written to ``folder``."""
    if isinstance(model, BLIPReward):
        described = describe_blip(model, folder, tokenizer=TOKENIZER)
        return {"format": FORMAT, "format_version": FORMAT_VERSIONS["blip"], **described}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSIONS["clip"],
        "model": {
            "kind": "clip",
            "architecture": _architecture(model, folder),
            "head": model.head.kind,
            "overall": describe_overall(model.head, model.dimensions),
            "uncertainty": model.uncertainty is not None,
        },
        "dimensions": list(model.dimensions),
        "output": model.output,
        "preprocessing": model.transform.to_dict(),
        "text": {
            "context_length": model.tokenizer.context_length,
            "pad_id": model.tokenizer.pad_id,
            "tokenizer": TOKENIZER if model.tokenizer.save(folder / TOKENIZER) else "open_clip",
        },
    }


def _architecture(model: CLIPReward, folder: Path) -> dict[str, Any]:
    """The configuration as a bundle stores it: nothing in it leads out of the bundle."""
    config = copy.deepcopy(model.architecture.config)
    config["quick_gelu"] = bool(config.get("quick_gelu", False))
    config["vision_cfg"].pop("timm_model_pretrained", None)
    text = getattr(model.clip, "text", None)
    if isinstance(text, HFTextEncoder):
        text.config.save_pretrained(folder / TEXT_TOWER)
        config["text_cfg"].update(hf_model_name=TEXT_TOWER, hf_model_pretrained=False)
    if config["text_cfg"].get("hf_tokenizer_name"):
        config["text_cfg"]["hf_tokenizer_name"] = TOKENIZER
    return {"name": model.architecture.name, "config": config}


def _flush(folder: Path) -> None:
    """Makes the files durable before the folder takes its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
