"""Histograms, pictures, tables and alerts for those of a run's loggers that take them.

Only rank 0 has loggers that write; the functions may be called on every rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image

from rewardkit.engine.wandb_run import WandbRun, wandb_runs


def takes_media(loggers: Sequence[Logger]) -> bool:
    """Whether any of them takes more than numbers."""
    return any(isinstance(logger, TensorBoardLogger | WandbRun) for logger in loggers)


def log_histograms(loggers: Sequence[Logger], values: Mapping[str, NDArray[np.float64]], *, step: int) -> None:
    """Distributions by name; NaN and infinity are left out."""
    finite = {name: one[np.isfinite(one)] for name, one in values.items()}
    finite = {name: one for name, one in finite.items() if len(one)}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            for name, one in finite.items():
                logger.experiment.add_histogram(name, one, global_step=step)
        elif isinstance(logger, WandbRun) and logger.wants(step):
            import wandb

            made = {name: wandb.Histogram(np_histogram=np.histogram(one, bins=64)) for name, one in finite.items()}
            logger.log_media(made, step=step)


def log_picture(
    loggers: Sequence[Logger], name: str, picture: Image.Image, *, step: int, caption: str | None = None
) -> None:
    """One RGB picture."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, np.asarray(picture), global_step=step, dataformats="HWC")
        elif isinstance(logger, WandbRun) and logger.wants(step):
            import wandb

            logger.log_media({name: wandb.Image(picture, caption=caption, file_type="png")}, step=step)


def log_table(
    loggers: Sequence[Logger], name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, step: int
) -> None:
    """A table, to W&B, which alone has them; pictures in its cells become small JPEGs."""
    for logger in wandb_runs(loggers):
        if logger.wants(step):
            import wandb

            pictures: dict[int, Any] = {}  # one of each, however many rows show it
            table = wandb.Table(columns=list(columns))
            for row in rows:
                cells = []
                for cell in row:
                    if isinstance(cell, Image.Image):
                        cell = pictures.setdefault(id(cell), wandb.Image(cell, file_type="jpg"))
                    cells.append(cell)
                table.add_data(*cells)
            logger.log_media({name: table}, step=step)


def alert(loggers: Sequence[Logger], title: str, text: str) -> None:
    """Tells the people who follow the run."""
    for logger in wandb_runs(loggers):
        logger.alert(title, text)
