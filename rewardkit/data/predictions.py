"""The predictions table: what a model scored and what people said of it, side by side, on disk.

It is the one input of protocols, intervals, baselines, reports and comparisons of models; nothing computes scores
again to print them. ``NAME.parquet`` has one row for each candidate and dimension:

=========== ========= ===================================================================================
group       int64     number of the group in this table; joins the labels
source      string    the data set it was read from
key         string    the sample's key in its shard; with ``source`` it names a group across tables
candidate   int32     place of the candidate in the group
dimension   string    the model's dimension
score       float32   higher is better
human_rank  float64   the people's order of the group's candidates on the dimension (``human_ranks.py``): 1 is best,
                      equal numbers tie, null is not known
generator   string    the model that made the image, or null
tags        string    the group's tags as a JSON object, keys sorted
prompt      string
shard       string    name of the shard file inside the source, or null
offset      int64     where the sample starts in the shard, or null
length      int64     bytes of the sample, or null
=========== ========= ===================================================================================

``NAME.labels.parquet`` has one row for each comparison: group, dimension (the model's), first, second (candidates),
votes_first, votes_tie, votes_second (float64), weight (float64).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.group import Group
from rewardkit.data.human_ranks import human_ranks
from rewardkit.errors import DataError, UserError

FORMAT_VERSION = "2"
"""Version 1 had no ``human_rank``."""

SCORES = pa.schema(
    [
        ("group", pa.int64()),
        ("source", pa.string()),
        ("key", pa.string()),
        ("candidate", pa.int32()),
        ("dimension", pa.string()),
        ("score", pa.float32()),
        ("human_rank", pa.float64()),
        ("generator", pa.string()),
        ("tags", pa.string()),
        ("prompt", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ],
    metadata={"rewardkit.predictions": FORMAT_VERSION},
)
"""Columns of ``NAME.parquet``."""

LABELS = pa.schema(
    [
        ("group", pa.int64()),
        ("dimension", pa.string()),
        ("first", pa.int32()),
        ("second", pa.int32()),
        ("votes_first", pa.float64()),
        ("votes_tie", pa.float64()),
        ("votes_second", pa.float64()),
        ("weight", pa.float64()),
    ],
    metadata={"rewardkit.labels": FORMAT_VERSION},
)
"""Columns of ``NAME.labels.parquet``."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """The table in memory. See the module's docstring for the columns.

    Attributes:
        scores: One row for each candidate and dimension.
        labels: One row for each comparison.
    """

    scores: pd.DataFrame
    labels: pd.DataFrame

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that were scored, in the order they first appear."""
        return tuple(self.scores["dimension"].unique())


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Where a group's sample lies: shard file inside the source, first byte, number of bytes."""

    shard: str
    offset: int
    length: int


class PredictionRows:
    """Collects the rows of a predictions table, group by group.

    Args:
        dimensions: The model's dimensions, in the order of its scores.
        dimension_map: Data's dimension to the model's; None drops its labels. Not named means the same name.
    """

    def __init__(self, dimensions: Sequence[str], *, dimension_map: Mapping[str, str | None] | None = None) -> None:
        self._dimensions = tuple(dimensions)
        self._map = dict(dimension_map or {})
        self._scores: dict[str, list[object]] = {name: [] for name in SCORES.names}
        self._labels: dict[str, list[object]] = {name: [] for name in LABELS.names}

    def add(
        self,
        group: Group,
        scores: Sequence[Sequence[float]],
        *,
        number: int,
        key: str,
        source: str,
        place: ImagePlace | None = None,
    ) -> None:
        """Adds a group.

        Args:
            group: The record.
            scores: ``[K, D]``, one row for each candidate.
            number: The group's number in this table, different for every group.
            key: The sample's key.
            source: Name of the data set.
            place: Where the sample lies, for reports that show its pictures.
        """
        assert len(scores) == len(group.candidates), f"{len(scores)} rows of scores for {len(group.candidates)}"
        tags = json.dumps(dict(group.tags), sort_keys=True, ensure_ascii=False)
        said_of = {name: [d for d in group.dimensions if self._map.get(d, d) == name] for name in self._dimensions}
        ranks = {name: human_ranks(group, said) for name, said in said_of.items()}
        for n, (candidate, row) in enumerate(zip(group.candidates, scores, strict=True)):
            for dimension, score in zip(self._dimensions, row, strict=True):
                values = (
                    *(number, source, key, n, dimension, float(score), ranks[dimension][n], candidate.generator),
                    *(tags, group.prompt),
                    *((place.shard, place.offset, place.length) if place else (None, None, None)),
                )
                for name, value in zip(SCORES.names, values, strict=True):
                    self._scores[name].append(value)
        for said in group.dimensions:
            dimension_of = self._map.get(said, said)
            if dimension_of not in self._dimensions:
                continue
            for c in comparisons_of(group, said):
                values = (number, dimension_of, c.first, c.second, *c.votes, c.weight)
                for name, value in zip(LABELS.names, values, strict=True):
                    self._labels[name].append(value)

    def predictions(self) -> Predictions:
        """The table of all groups added so far."""
        return Predictions(
            pa.table(self._scores, schema=SCORES).to_pandas(), pa.table(self._labels, schema=LABELS).to_pandas()
        )


def labels_path(path: str | Path) -> Path:
    """Where the labels of a predictions table lie: ``NAME.parquet`` to ``NAME.labels.parquet``."""
    return Path(path).with_suffix(".labels.parquet")


def write_predictions(path: str | Path, predictions: Predictions) -> Path:
    """Writes ``NAME.parquet`` and ``NAME.labels.parquet``; each appears complete or not at all, the labels first."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, frame, schema in (
        (labels_path(path), predictions.labels, LABELS),
        (path, predictions.scores, SCORES),
    ):
        scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
            pq.write_table(table.replace_schema_metadata(schema.metadata), scratch, compression="zstd")
            os.replace(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)
    return path


def read_predictions(path: str | Path) -> Predictions:
    """Reads what ``write_predictions`` wrote.

    Raises:
        UserError: A file is missing.
        DataError: A file is damaged or is no predictions table.
    """
    path = Path(path)
    return Predictions(_read(path, SCORES), _read(labels_path(path), LABELS))


def merge_predictions(parts: Sequence[Predictions]) -> Predictions:
    """One table of the parts that several ranks or sources made, sorted by group; numbers of groups must differ.

    Raises:
        DataError: A group stands in two parts.
    """
    assert parts, "nothing to merge"
    numbers = pd.concat([pd.Series(part.scores["group"].unique()) for part in parts])
    twice = numbers[numbers.duplicated()]
    if len(twice):
        raise DataError(f"group {twice.iloc[0]} stands in two of the tables that are merged")
    scores = pd.concat([part.scores for part in parts], ignore_index=True)
    labels = pd.concat([part.labels for part in parts], ignore_index=True)
    return Predictions(
        scores.sort_values("group", kind="stable", ignore_index=True),
        labels.sort_values("group", kind="stable", ignore_index=True),
    )


def _read(path: Path, schema: pa.Schema) -> pd.DataFrame:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise UserError(f"there is no predictions table {path}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from None
    missing = [name for name in schema.names if name not in table.column_names]
    if missing == ["human_rank"]:
        raise DataError(
            f"{path} was written by an older rewardkit (format 1, without the people's ranks); make it again by "
            "validating the model once more"
        )
    if missing:
        raise DataError(f"{path} is no predictions table: it lacks {', '.join(missing)}")
    frame: pd.DataFrame = table.select(schema.names).cast(schema).to_pandas()
    return frame
