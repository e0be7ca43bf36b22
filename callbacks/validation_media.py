"""What loggers show of a validation beside numbers: score histograms, reliability, comparisons with their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from PIL import Image
from rewardkit.callbacks.deciding import deciding_dimension
from rewardkit.callbacks.preference_accuracy import PreferenceAccuracy, Validation

from rewardkit.data.predictions import Predictions
from rewardkit.data.remote_samples import RemoteSamples
from rewardkit.engine.logged_media import log_histograms, log_picture, log_table, takes_media
from rewardkit.engine.wandb_run import wandb_runs
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.report.disagreements import Thumbnails
from rewardkit.report.reliability_picture import reliability_picture
from rewardkit.report.shown_groups import agrees, choose_groups, of_groups, picture_of

COLUMNS = (
    "source", "key", "prompt", "dimension", "first", "second", "generator_first", "generator_second", "score_first",
    "score_second", "votes_first", "votes_tie", "votes_second", "right",
)  # fmt: skip
"""Of the table; ``right`` is empty where people did not decide."""

PICTURE_SIDE = 128
MOST_BYTES = 50_000_000
"""Of pictures kept between validations, so that each is read once."""


class ValidationMedia(Callback):
    """Logs histograms of scores, the reliability plot, and a table of comparisons (W&B alone has tables).

    Args:
        accuracy: Holds the validation that just ended; stands before this callback.
        pictures: Validation set to the folders of its shards.
        table_rows: Comparisons in the table, the same at each validation; 0 leaves it out.
    """

    def __init__(
        self,
        accuracy: PreferenceAccuracy,
        *,
        pictures: Mapping[str, Sequence[Path | RemoteSamples]],
        table_rows: int,
    ) -> None:
        self.accuracy = accuracy
        self.table_rows = table_rows
        self.dimension = deciding_dimension(None, accuracy.dimensions) or accuracy.dimensions[0]
        self._thumbnails = {name: Thumbnails(folders, max_bytes=MOST_BYTES) for name, folders in pictures.items()}

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Logs what the validation that just ended has to show."""
        if not trainer.is_global_zero or not takes_media(trainer.loggers):
            return
        for validation in self.accuracy.latest:
            prefix = "val" if len(self.accuracy.latest) == 1 else f"val/{validation.set}"
            scores = validation.predictions.scores
            values = {
                f"{prefix}/scores/{dimension}": part["score"].to_numpy(float)
                for dimension, part in scores.groupby("dimension", sort=False)
            }
            log_histograms(trainer.loggers, values, step=validation.step)
            everything = scores["group"].unique()
            pairs = judged_pairs(of_groups(validation.predictions, everything, self.dimension))
            title = f"{validation.set}, {self.dimension}, step {validation.step}"
            plot = reliability_picture(pairs, title=title)
            if plot is not None:
                log_picture(trainer.loggers, f"{prefix}/reliability", plot, step=validation.step)
            if self.table_rows and wandb_runs(trainer.loggers):
                rows = self._rows(validation)
                log_table(trainer.loggers, f"{prefix}/comparisons", COLUMNS, rows, step=validation.step)

    def _rows(self, validation: Validation) -> list[list[Any]]:
        """Comparisons of the first groups by their hash, one row each."""
        labels = validation.predictions.labels
        labelled = set(labels.loc[labels["dimension"] == self.dimension, "group"])
        every = choose_groups(validation.predictions, len(validation.predictions.scores))
        numbers = [n for n in every if n in labelled][: self.table_rows]  # each has a comparison or more
        part = of_groups(validation.predictions, numbers, self.dimension)
        place = {number: n for n, number in enumerate(numbers)}
        pairs = judged_pairs(part)
        pairs = pairs.iloc[pairs["group"].map(place).argsort(kind="stable")].head(self.table_rows)
        pictures = self._pictures(part, pairs["group"].unique(), validation.set)
        prompts = part.scores.drop_duplicates("group").set_index("group")["prompt"]
        rows = []
        for (_, pair), right in zip(pairs.iterrows(), agrees(pairs), strict=True):
            group = pair["group"]
            rows.append(
                [
                    pair["source"],
                    pair["key"],
                    prompts[group],
                    self.dimension,
                    *(pictures.get((group, pair[side])) for side in ("first", "second")),
                    *(_text(pair[f"generator_{side}"]) for side in ("first", "second")),
                    *(float(pair[f"score_{side}"]) for side in ("first", "second")),
                    *(float(pair[f"votes_{side}"]) for side in ("first", "tie", "second")),
                    right,
                ]
            )
        return rows

    def _pictures(self, part: Predictions, groups: Sequence[int], name: str) -> dict[tuple[int, int], Image.Image]:
        """Group and candidate to a small picture."""
        found = {}
        for _, row in part.scores[part.scores["group"].isin(groups)].iterrows():
            picture = picture_of(row, self._thumbnails[name])
            if picture is not None:
                picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
                found[row["group"], row["candidate"]] = picture
        return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
