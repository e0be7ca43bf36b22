"""What a bundle's record says of a BLIP reward, and the model that such a record describes.

Beside it: ``model.safetensors`` with the towers under transformers' names (``vision_model.*``, ``text_encoder.*``) and
the head under ``head.*``; ``tokenizer/`` where the tokenizer is a transformers one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rewardkit.data.images import ImageTransform
from rewardkit.models.blip import BLIPReward
from rewardkit.models.blip_architecture import OPEN_CLIP, build_blip_towers, read_blip_architecture
from rewardkit.models.blip_head import make_blip_head, own_head
from rewardkit.models.blip_tokenizers import read_blip_tokenizer
from rewardkit.models.overall import describe_overall


def describe_blip(model: BLIPReward, folder: Path, *, tokenizer: str) -> dict[str, Any]:
    """What the record says of the model itself; the tokenizer's files are written to ``folder``.

    Args:
        model: The reward.
        folder: The bundle that is being written.
        tokenizer: Name of the tokenizer's folder in the bundle.
    """
    architecture = model.architecture
    return {
        "model": {
            "kind": "blip",
            "architecture": {
                "name": architecture.name,
                "config": {"vision_config": dict(architecture.vision), "text_config": dict(architecture.text)},
            },
            "head": model.head.kind,
            "head_dropout": list(own_head(model.head).dropout),
            "overall": describe_overall(model.head, model.dimensions),
            "normalisation": {"mean": list(model.mean), "std": list(model.std)},
        },
        "dimensions": list(model.dimensions),
        "output": model.output,
        "preprocessing": model.transform.to_dict(),
        "text": {
            "context_length": model.tokenizer.context_length,
            "pad_id": model.tokenizer.pad_id,
            "tokenizer": tokenizer if model.tokenizer.save(folder / tokenizer) else OPEN_CLIP,
        },
    }


def blip_of_record(record: dict[str, Any], folder: Path) -> BLIPReward:
    """The model that a record describes, with random weights; moves the caller's random numbers.

    Args:
        record: ``bundle.json``.
        folder: The bundle.

    Raises:
        UserError: The record describes no BLIP, or the tokenizer's files are missing.
    """
    described, text = record["model"], record["text"]
    name, config = described["architecture"]["name"], described["architecture"]["config"]
    source = text["tokenizer"] if text["tokenizer"] == OPEN_CLIP else str(folder / text["tokenizer"])
    architecture = read_blip_architecture({**config, "tokenizer": source}, name=name)
    towers = build_blip_towers(architecture)
    overall = described["overall"] or {"kind": "learned", "gradient": "all"}
    head = make_blip_head(
        described["head"],
        towers.width,
        record["dimensions"],
        dropout=described["head_dropout"],
        overall=overall["kind"],
        overall_gradient=overall["gradient"],
    )
    return BLIPReward(
        towers,
        head,
        architecture=architecture,
        dimensions=record["dimensions"],
        transform=ImageTransform.from_dict(record["preprocessing"]),
        tokenizer=read_blip_tokenizer(source, context_length=text["context_length"]),
        output=record["output"],
        mean=described["normalisation"]["mean"],
        std=described["normalisation"]["std"],
    )
