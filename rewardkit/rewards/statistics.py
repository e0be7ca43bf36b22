"""Mean and spread of a model's scores on given images, for models that come without, or with others than wanted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewardkit.errors import DataError, UserError
from rewardkit.metrics.calibration import statistics_of
from rewardkit.models.bundle_card import card_text
from rewardkit.models.bundle_record import RECORD, find_bundle, read_record
from rewardkit.models.pictures import Picture
from rewardkit.rewards.scorer import Scorer


@torch.no_grad()
def estimate_statistics(
    model: Scorer, images: Tensor | Sequence[Picture], prompts: str | Sequence[str], *, batch_size: int = 32
) -> dict[str, dict[str, Any]]:
    """Statistics of the scores of given images, as a bundle's calibration has them.

    Give it to the model (``model.calibration = …``), or write it into its bundle (``record_statistics``). Take images
    of the kind that will be judged: a few hundred of the generator before it is tuned, or of the validation set.

    Args:
        model: What scores.
        images: At least two.
        prompts: One for all, or one for each.
        batch_size: Images in one forward pass.

    Returns:
        Dimension to ``{"candidates", "mean", "std", "quantiles"}`` on the scale of the model's ``output``.

    Raises:
        DataError: A dimension whose scores are all equal, or that has fewer than two.
    """
    scores = model.score(images, prompts, batch_size=batch_size).double().cpu().numpy()
    statistics = {}
    for dimension, column in zip(model.dimensions, scores.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known) < 2 or not known.std() > 0:
            raise DataError(
                f"the spread of {dimension} cannot be told from {len(known)} scored images"
                f"{', which all have the same score' if len(known) > 1 else ''}; give more, and different ones"
            )
        statistics[dimension] = statistics_of(known)
    return statistics


def record_statistics(bundle: str | os.PathLike[str], statistics: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes statistics into a bundle, in place of its calibration; its card says them too.

    Args:
        bundle: The bundle's folder, or a run's that holds one.
        statistics: From ``estimate_statistics`` with the same model.

    Raises:
        UserError: It is no bundle of a CLIP or BLIP, or the statistics are not of its dimensions.
    """
    folder = find_bundle(Path(bundle)) or Path(bundle)
    record = read_record(folder)
    if record["model"]["kind"] == "mllm":
        raise UserError(f"{folder} holds an evaluator, whose statistics depend on its questions; set model.calibration")
    if set(statistics) != set(record["dimensions"]):
        raise UserError(
            f"the statistics are of {', '.join(statistics)}, but {folder} judges {', '.join(record['dimensions'])}"
        )
    record["calibration"] = {name: dict(statistics[name]) for name in record["dimensions"]}
    _replace(folder / "README.md", card_text(record, folder.name))
    _replace(folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _replace(path: Path, text: str) -> None:
    """Writes a file that is there as before or as wanted, never half."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)
