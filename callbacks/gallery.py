"""A contact sheet at each validation: the same few groups with pictures, scores and votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rewardkit.callbacks.deciding import deciding_dimension
from rewardkit.callbacks.preference_accuracy import PreferenceAccuracy

from rewardkit.data.remote_samples import RemoteSamples
from rewardkit.engine.logged_media import log_picture
from rewardkit.report.contact_sheet import contact_sheet
from rewardkit.report.disagreements import Thumbnails
from rewardkit.report.shown_groups import choose_groups, show_groups

MOST_BYTES = 200_000_000
"""Of pictures kept between validations, so that each is read once."""


class Gallery(Callback):
    """Writes ``gallery/STEP-SET.png`` and hands it to the loggers that take pictures.

    Args:
        accuracy: Holds the validation that just ended; stands before this callback.
        folder: The run's ``gallery/``.
        pictures: Validation set to the folders of its shards.
        groups: How many, where none are named.
        keys: Keys of the samples to show.
        dimension: Whose scores and votes are shown; None takes ``overall`` where there is one, else the first.
        side: Of a picture, in pixels.
    """

    def __init__(
        self,
        accuracy: PreferenceAccuracy,
        *,
        folder: Path,
        pictures: Mapping[str, Sequence[Path | RemoteSamples]],
        groups: int,
        keys: Sequence[str],
        dimension: str | None,
        side: int,
    ) -> None:
        self.accuracy = accuracy
        self.folder = folder
        self.groups = groups
        self.keys = list(keys)
        self.dimension = deciding_dimension(dimension, accuracy.dimensions) or accuracy.dimensions[0]
        self.side = side
        self._thumbnails = {name: Thumbnails(folders, max_bytes=MOST_BYTES) for name, folders in pictures.items()}

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draws a sheet of each set."""
        if not trainer.is_global_zero:
            return
        for validation in self.accuracy.latest:
            chosen = choose_groups(validation.predictions, self.groups, self.keys)
            shown = show_groups(validation.predictions, chosen, self.dimension, self._thumbnails[validation.set])
            if not shown:
                continue
            about = f"{validation.set}, {self.dimension}, step {validation.step}"
            title = f"{about}: best score first, people's favourite framed"
            sheet = contact_sheet(shown, title=title, side=self.side)
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{validation.step:08d}-{validation.set}.png"
            scratch = path.with_suffix(".tmp")
            sheet.save(scratch, "PNG", compress_level=1)  # a tenth larger, in half the time
            scratch.replace(path)
            prefix = "val" if len(self.accuracy.latest) == 1 else f"val/{validation.set}"
            log_picture(trainer.loggers, f"{prefix}/gallery", sheet, step=validation.step)
