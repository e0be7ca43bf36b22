"""Scores rows of images and prompts with a CLIP or a BLIP, for ``score``; what every kind of model brings to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.table import Table

from rewardkit.config.verbs import ScoreOptions
from rewardkit.data.images import decode_image, resize_uint8
from rewardkit.errors import DataError

if TYPE_CHECKING:
    from rewardkit.models.load import LoadedReward

Row = dict[str, Any]

REWARD_BATCH = 32
ERROR = "error"


class Scorer(Protocol):
    """What ``score`` does rows with.

    Attributes:
        columns: That it adds to a row.
        aside: What it adds to the row of an image on the command line.
        told: On which scale the scores are, in words.
        batch_size: Rows at once.
        made_with: What the scores depend on, as plain values.
    """

    columns: list[str]
    aside: dict[str, Any]
    told: str
    batch_size: int
    made_with: list[Any]

    def score(self, rows: Sequence[Row], folder: Path) -> list[Row]:
        """The new columns of each row, or its error; image paths are relative to the folder."""
        ...

    def show(self, scored: Sequence[Row], console: Console) -> None:
        """Prints a few rows for people."""
        ...

    def notes(self, scored: Sequence[Row]) -> list[str]:
        """What has to be said of many rows."""
        ...

    def written(self, row: Row, target: Path) -> Row:
        """A row as it is written to a file of this ending."""
        ...


class RewardScorer:
    """Scores with a CLIP or a BLIP."""

    def __init__(self, model: LoadedReward, options: ScoreOptions) -> None:
        self._model = model
        self._scale: Any = options.scale
        self.columns = list(model.dimensions)
        self.aside: dict[str, Any] = {}
        self.told = options.scale or model.output
        self.batch_size = options.batch_size or REWARD_BATCH
        self.made_with = [model.record["weights"]["sha256"], self.told]

    def score(self, rows: Sequence[Row], folder: Path) -> list[Row]:
        """Scores of each row, or its error."""
        results: list[Row] = [{} for _ in rows]
        good, images = [], []
        for n, row in enumerate(rows):
            try:
                check_texts(row)
                images.append(self._pixels(folder / row["image"]))
                good.append(n)
            except DataError as error:
                results[n] = {ERROR: str(error)}
        if good:
            prompts = [rows[n]["prompt"] for n in good]
            scores = self._model.score(images, prompts, output=self._scale).tolist()
            for n, values in zip(good, scores, strict=True):
                results[n] = dict(zip(self.columns, values, strict=True))
        return results

    def show(self, scored: Sequence[Row], console: Console) -> None:
        """A table of the images, best first."""
        table = Table(title=f"{scored[0]['prompt']!r} ({self.told})", title_justify="left")
        table.add_column("image", overflow="fold")
        for dimension in self.columns:
            table.add_column(dimension, justify="right")
        best = self.columns[0]
        for row in sorted(scored, key=lambda r: (ERROR in r, -r.get(best, 0.0))):
            cells = [row[ERROR]] if ERROR in row else [f"{row[d]:.4f}" for d in self.columns]
            table.add_row(row["image"], *cells)
        console.print(table)

    def notes(self, scored: Sequence[Row]) -> list[str]:
        """Nothing."""
        return []

    def written(self, row: Row, target: Path) -> Row:
        """As it is."""
        return row

    def _pixels(self, path: Path) -> Any:
        """An image file at the model's size: uint8 ``[3, S, S]``; raises DataError."""
        transform = self._model.model.transform
        data = read_file(path)
        return resize_uint8(decode_image(data, decode=transform.decode, size=transform.size), transform)


def check_texts(row: Mapping[str, Any]) -> None:
    """Raises DataError unless a row's image and prompt are text."""
    if not isinstance(row["prompt"], str) or not isinstance(row["image"], str):
        raise DataError("image and prompt must be text")


def read_file(path: Path) -> bytes:
    """An image file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
