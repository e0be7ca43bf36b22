"""A training's checkpoint as a bundle: of this program in any of its layouts, or a ZeRO folder that others wrote.

Runs on a CPU, and holds the model once: weights go from the checkpoint's files into it tensor by tensor.
"""

from __future__ import annotations

from pathlib import Path

from rewardkit.commands.run_options import options_of_run, values_of_run
from rewardkit.config.layout import RunLayout
from rewardkit.errors import UserError
from rewardkit.models.bundle_record import find_bundle
from rewardkit.models.kinds import AnyReward
from rewardkit.models.load import load
from rewardkit.models.pretrained_folder import AUTO
from rewardkit.models.save import save_reward
from rewardkit.models.stored.interface import StoredTraining
from rewardkit.models.stored.loading import FROZEN, digest_of_frozen, frozen_names, load_stored, require_frozen
from rewardkit.models.stored.opening import open_training
from rewardkit.models.stored.row_folder import is_row_folder
from rewardkit.models.stored.zero_folder import is_zero_folder


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a training's checkpoint: a ``.ckpt`` file, or a folder of ZeRO or FSDP."""
    if path.is_dir():
        return is_row_folder(path) or is_zero_folder(path)
    return path.is_file() and path.suffix == ".ckpt"


def bundle_of_checkpoint(path: Path, folder: Path, *, like: str | None = None) -> Path:
    """Writes the model of a checkpoint as a bundle, without calibration or evaluation.

    Args:
        path: The checkpoint.
        folder: Where the bundle shall lie.
        like: A run or bundle that says what model the weights are of. None: the run that the checkpoint lies in.

    Raises:
        UserError: The checkpoint lies in no run, and nothing is named that says what it holds.
        CheckpointError: It is damaged, or does not fit the model.
    """
    stored = open_training(path)
    run = run_of_checkpoint(path)
    if like is None and run is None:
        raise UserError(
            f"{path} lies in no run's folder, so nothing says what model it holds; name a run or bundle of the same "
            "model: like=RUN or like=BUNDLE"
        )
    source = Path(like) if like is not None else run
    assert source is not None
    model = _model_of(source, stored)
    left_out = stored.record.get(FROZEN)
    if left_out is not None:
        require_frozen(digest_of_frozen(model), left_out)
    load_stored(model, stored, source=str(path), kept=frozen_names(model) if left_out is not None else ())
    is_run = RunLayout(source).exists
    return save_reward(folder, model, recipe=values_of_run(source) if is_run else {})


def run_of_checkpoint(path: Path) -> Path | None:
    """The run that a checkpoint lies in."""
    root = path.parent.parent
    return root if (root / "options.json").is_file() else None


def _model_of(source: Path, stored: StoredTraining) -> AnyReward:
    """The model that a run trains, or that a bundle holds; its weights are still to be loaded."""
    from rewardkit.commands.build_model import build_model

    if (source / "options.json").is_file():
        options = options_of_run(source)
        if FROZEN not in stored.record and options.model.architecture != AUTO and options.model.kind != "mllm":
            options.model.pretrained = None  # the checkpoint holds every tensor
        return build_model(options)
    if find_bundle(source) is None:
        raise UserError(f"like={source}: this is neither a run's folder nor a bundle")
    return load(source).model
