"""Opens a stored training, in whichever files it lies."""

from __future__ import annotations

from pathlib import Path

from rewardkit.errors import CheckpointError
from rewardkit.models.stored.interface import StoredTraining
from rewardkit.models.stored.row_folder import RowFolder, is_row_folder
from rewardkit.models.stored.single_file import SingleFile
from rewardkit.models.stored.zero_folder import ZeroFolder, is_zero_folder


def open_training(path: Path) -> StoredTraining:
    """Opens a checkpoint for reading.

    Raises:
        CheckpointError: It is none, or is damaged.
    """
    if not path.is_dir():
        return SingleFile(path)
    if is_row_folder(path):
        return RowFolder(path)
    if is_zero_folder(path):
        return ZeroFolder(path)
    raise CheckpointError(f"{path} is no checkpoint: neither a run's file, nor a folder of ZeRO or FSDP")
