"""A model given on the command line as a run, a bundle, a checkpoint or an ImageReward.pt, opened as one thing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rewardkit.commands.open_checkpoint import bundle_of_checkpoint, is_checkpoint
from rewardkit.commands.open_folder import names_folder, open_folder
from rewardkit.config.layout import RunLayout
from rewardkit.errors import UserError
from rewardkit.models.bundle_record import RECORD, find_bundle
from rewardkit.models.load import LoadedReward, load
from rewardkit.models.save import save_reward

if TYPE_CHECKING:
    from rewardkit.models.mllm.scoring import LoadedEvaluator

PUBLISHED = (".pt", ".pth", ".bin", ".safetensors")
"""Endings of weight files; the one that tells its own architecture is ImageReward.pt."""


def open_model(
    name: str | None,
    *,
    device: str = "auto",
    questions: str | None = None,
    base: str | None = None,
    like: str | None = None,
) -> LoadedReward | LoadedEvaluator:
    """Loads ``model=RUN|BUNDLE|CHECKPOINT``, a published ImageReward.pt, or a CLIP's folder (``open_folder``).

    Args:
        name: What the command line says.
        device: See ``find_device``.
        questions: Of an evaluator: the questions to ask instead of its own.
        base: Of an evaluator that is an adapter: where its base lies now.
        like: Of a checkpoint that lies in no run: a run or bundle of the same model.

    Raises:
        UserError: Nothing is named, or it is none of these; questions or a base for a model that is no evaluator.
        CheckpointError: What is there is damaged or does not fit.
    """
    if name is None:
        raise UserError("name a model: model=RUN, model=BUNDLE or model=CHECKPOINT")
    path, where = Path(name), find_device(device)
    if find_bundle(path) is not None:
        return load(path, where, questions=questions, base=base)
    if is_checkpoint(path) or (path.is_file() and path.suffix in PUBLISHED):
        with tempfile.TemporaryDirectory() as scratch:
            return load(
                bundle_of_file(path, Path(scratch) / "bundle", like=like), where, questions=questions, base=base
            )
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


def bundle_of_file(path: Path, folder: Path, *, like: str | None = None) -> Path:
    """Writes the model of a training's checkpoint, or of a published ImageReward.pt, as a bundle.

    Args:
        path: The file, or the folder of a sharded checkpoint.
        folder: Where the bundle shall lie.
        like: See ``bundle_of_checkpoint``.

    Raises:
        UserError: It is neither.
        CheckpointError: It is damaged or does not fit.
    """
    if is_checkpoint(path):
        return bundle_of_checkpoint(path, folder, like=like)
    from rewardkit.models.imagereward import read_imagereward

    return save_reward(folder, read_imagereward(path))


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
