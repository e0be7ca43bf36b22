"""A model given on the command line as a run, a bundle, a checkpoint or an ImageReward.pt, opened as one thing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rewardkit.commands.open_folder import names_folder, open_folder
from rewardkit.config.compose import Layer, compose
from rewardkit.config.layout import RunLayout
from rewardkit.config.schema import FitOptions
from rewardkit.config.show import with_null_sections
from rewardkit.errors import UserError
from rewardkit.models.bundle_record import RECORD, find_bundle
from rewardkit.models.load import LoadedReward, load
from rewardkit.models.pretrained_folder import AUTO
from rewardkit.models.save import save_reward

if TYPE_CHECKING:
    from rewardkit.models.mllm.scoring import LoadedEvaluator

PUBLISHED = (".pt", ".pth", ".bin", ".safetensors")
"""Endings of weight files; the one that tells its own architecture is ImageReward.pt."""


def open_model(
    name: str | None, *, device: str = "auto", questions: str | None = None, base: str | None = None
) -> LoadedReward | LoadedEvaluator:
    """Loads ``model=RUN|BUNDLE|CHECKPOINT``, a published ImageReward.pt, or a CLIP's folder (``open_folder``).

    Args:
        name: What the command line says.
        device: See ``find_device``.
        questions: Of an evaluator: the questions to ask instead of its own.
        base: Of an evaluator that is an adapter: where its base lies now.

    Raises:
        UserError: Nothing is named, or it is none of these; questions or a base for a model that is no evaluator.
        CheckpointError: What is there is damaged or does not fit.
    """
    if name is None:
        raise UserError("name a model: model=RUN, model=BUNDLE or model=CHECKPOINT")
    path, where = Path(name), find_device(device)
    if find_bundle(path) is not None:
        return load(path, where, questions=questions, base=base)
    if path.is_file() and path.suffix in (".ckpt", *PUBLISHED):
        with tempfile.TemporaryDirectory() as scratch:
            return load(bundle_of_file(path, Path(scratch) / "bundle"), where, questions=questions, base=base)
    if RunLayout(path).exists:
        raise UserError(
            f"model={name}: the run has no bundle yet; it is written at its first validation. Finish it with "
            f"`fit resume={name}`, or name a checkpoint in {RunLayout(path).checkpoints}."
        )
    if names_folder(name):
        if questions is not None or base is not None:
            raise UserError(f"model={name} is a CLIP; questions= and base= are for evaluators, which answer questions")
        return open_folder(name, where)
    if not path.exists():
        raise UserError(f"model={name}: there is no such file or folder")
    raise UserError(
        f"model={name}: neither a run's folder, nor a bundle (with a {RECORD}), nor a checkpoint (.ckpt), nor a CLIP's "
        "folder (with transformers' config.json or open_clip's open_clip_config.json)"
    )


def bundle_of_file(path: Path, folder: Path) -> Path:
    """Writes the model of a single file as a bundle: of a run's checkpoint, or of a published ImageReward.pt.

    Raises:
        UserError: It is neither.
        CheckpointError: It is damaged or does not fit.
    """
    if path.suffix not in PUBLISHED:
        return bundle_of_checkpoint(path, folder)
    from rewardkit.models.imagereward import read_imagereward

    return save_reward(folder, read_imagereward(path))


def bundle_of_checkpoint(path: Path, folder: Path) -> Path:
    """Writes the model of a run's checkpoint as a bundle, without calibration or evaluation."""
    from rewardkit.commands.build_model import build_model
    from rewardkit.engine.checkpoints import read_checkpoint
    from rewardkit.models.checkpoints import load_strictly

    options = options_of_run(path.parent.parent)
    if options.model.architecture != AUTO:
        options.model.pretrained = None  # the checkpoint holds every tensor
    model = build_model(options)
    checkpoint = read_checkpoint(path)
    state = {
        key.removeprefix("model."): tensor
        for key, tensor in checkpoint["state_dict"].items()
        if key.startswith("model.")
    }
    # What such a run validates and exports is the average of its weights.
    state |= checkpoint.get("callbacks", {}).get("EMA", {}).get("average", {})
    load_strictly(model, state, source=str(path))
    return save_reward(folder, model, recipe=values_of_run(path.parent.parent))


def options_of_run(folder: Path) -> FitOptions:
    """The options that a run was started with.

    Raises:
        UserError: The folder is no run.
    """
    return compose(FitOptions, [Layer(str(folder), with_null_sections(values_of_run(folder)))]).options


def values_of_run(folder: Path) -> Mapping[str, Any]:
    """The same as dotted key to value."""
    file = folder / "options.json"
    if not file.is_file():
        raise UserError(f"{folder} is not a run's folder: it has no options.json")
    values: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values


def find_device(name: str) -> torch.device:
    """``auto`` or a torch device that this machine has.

    Raises:
        UserError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: not on this machine ({str(error).splitlines()[0]})") from None
    return device
