"""Where the model is most sure, and people clearly say the opposite or the same; with the pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rewardkit.data.remote import ShardPlace
from rewardkit.data.remote_samples import RemoteSamples
from rewardkit.data.shards import Sample, read_sample
from rewardkit.errors import BadSample, RewardkitError
from rewardkit.metrics.judged_pairs import FIRST, SECOND
from rewardkit.report.thumbnails import thumbnail_uri

CLEAR = 2 / 3
"""A verdict is clear where the preferred candidate has at least this share of all votes."""

_SIDE = 256
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Side:
    """One candidate of a disagreement; ``picture`` is a data URI, or None where the image could not be read."""

    candidate: int
    generator: str | None
    score: float
    votes: float
    picture: str | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A comparison on which people's verdict is clear: the model is sure of the opposite, or of the same.

    Attributes:
        preferred: The candidate that people preferred.
        other: The other.
        ties: Votes for a tie.
        margin: How far apart the two scores are; 0 or more.
    """

    dimension: str
    prompt: str
    source: str
    key: str
    tags: dict[str, str]
    preferred: Side
    other: Side
    ties: float
    margin: float


class Thumbnails:
    """Reads candidates' pictures out of shards, as small JPEGs in data URIs, up to a total size.

    Args:
        folders: Folders of shards to look in; of a set on a server, what reads its samples.
        max_bytes: No more pictures are given once they come to this many characters.
    """

    def __init__(self, folders: Sequence[Path | RemoteSamples], *, max_bytes: int = 1_800_000) -> None:
        self.folders = list(folders)
        self.left = max_bytes
        self.missing = 0
        self._made: dict[tuple[object, ...], str | None] = {}

    def picture(self, row: pd.Series) -> str | None:
        """The picture of one row of the predictions' scores."""
        name = (row["shard"], row["offset"], row["key"], row["candidate"])
        if name not in self._made:
            made = self._make(row) if self.left > 0 else None
            self._made[name] = made
            self.left -= len(made or "")
            self.missing += made is None
        return self._made[name]

    def _make(self, row: pd.Series) -> str | None:
        sample = self._sample(row)
        candidate = int(row["candidate"])
        if sample is None or candidate >= len(sample.images):
            return None
        # None for a broken image, which stands in data_errors.jsonl.
        return thumbnail_uri(sample.images[candidate], side=_SIDE, quality=_QUALITY)

    def _sample(self, row: pd.Series) -> Sample | None:
        """The sample, from the folder whose shard holds that key at that place."""
        if not isinstance(row["shard"], str) or pd.isna(row["offset"]) or pd.isna(row["length"]):
            return None
        for folder in list(self.folders):
            place = _shard(folder, row["shard"])
            if place is None:
                continue
            try:
                sample = read_sample(place, int(row["offset"]), int(row["length"]))
            except BadSample:
                continue  # another set's shard of the same name, or one that has changed
            except RewardkitError:
                self.folders.remove(folder)  # a dead server is not asked again for each picture
                continue
            if sample.key == row["key"]:
                return sample
        return None


def _shard(folder: Path | RemoteSamples, name: str) -> ShardPlace | None:
    """A shard by its name; None where the folder has none of that name."""
    if isinstance(folder, RemoteSamples):
        return folder.shard(name)
    return folder / name if (folder / name).is_file() else None


def worst_disagreements(
    pairs: pd.DataFrame, scores: pd.DataFrame, dimension: str, *, count: int, thumbnails: Thumbnails
) -> list[Disagreement]:
    """The comparisons with the largest margin on the wrong side of a clear verdict, one of each group at most.

    Args:
        pairs: From ``judged_pairs``.
        scores: The predictions' scores.
        dimension: Of the comparisons.
        count: How many at most.
        thumbnails: Where pictures come from.
    """
    return _most_sure(pairs, scores, dimension, -1, count=count, thumbnails=thumbnails)


def surest_agreements(
    pairs: pd.DataFrame, scores: pd.DataFrame, dimension: str, *, count: int, thumbnails: Thumbnails
) -> list[Disagreement]:
    """The same of the comparisons that the model orders as people do: what it has learned best."""
    return _most_sure(pairs, scores, dimension, 1, count=count, thumbnails=thumbnails)


def _most_sure(
    pairs: pd.DataFrame, scores: pd.DataFrame, dimension: str, side: int, *, count: int, thumbnails: Thumbnails
) -> list[Disagreement]:
    """With ``side`` 1 the surest on people's side, with -1 the surest on the other."""
    part = pairs[(pairs["dimension"] == dimension) & pairs["verdict"].isin([FIRST, SECOND])]
    votes = part[["votes_first", "votes_tie", "votes_second"]]
    clear = votes[["votes_first", "votes_second"]].max(axis=1) >= CLEAR * votes.sum(axis=1) - 1e-9
    margin = (part["score_first"] - part["score_second"]) * part["verdict"] * side
    found = part.assign(margin=margin)[clear & (margin > 0)]
    surest = found.sort_values("margin", ascending=False, kind="stable").drop_duplicates("group").head(count)
    of_dimension = scores[scores["dimension"] == dimension].set_index(["group", "candidate"])
    return [_disagreement(row, of_dimension, thumbnails) for _, row in surest.iterrows()]


def _disagreement(row: pd.Series, scores: pd.DataFrame, thumbnails: Thumbnails) -> Disagreement:
    def side(name: str) -> Side:
        candidate = int(row[name])
        found = scores.loc[(row["group"], candidate)].copy()
        found["candidate"] = candidate
        generator = found["generator"] if isinstance(found["generator"], str) else None
        votes = float(row[f"votes_{name}"])
        return Side(candidate, generator, float(found["score"]), votes, thumbnails.picture(found))

    names = ("first", "second") if row["verdict"] == FIRST else ("second", "first")
    preferred, other = side(names[0]), side(names[1])
    return Disagreement(
        dimension=str(row["dimension"]),
        prompt=str(scores.loc[(row["group"], preferred.candidate), "prompt"]),
        source=str(row["source"]),
        key=str(row["key"]),
        tags={str(kind): str(value) for kind, value in json.loads(row["tags"] or "{}").items()},
        preferred=preferred,
        other=other,
        ties=float(row["votes_tie"]),
        margin=float(row["margin"]),
    )
