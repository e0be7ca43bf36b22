"""Groups drawn at random, with pictures and with what people said of each candidate."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from rewardkit.data.comparisons import comparisons_of, rankings_of
from rewardkit.data.group import AGGREGATE, NOT_APPLICABLE, Comparison, Group
from rewardkit.data.index import ShardIndex
from rewardkit.errors import BadSample
from rewardkit.report.thumbnails import thumbnail_uri

MAX_PICTURE_BYTES = 6_000_000
"""Pictures of a page come to no more than about this many characters; later samples then go without."""

MAX_RATIONALES = 12
"""Shown of one group."""

_SIDE = 208
_QUALITY = 78


@dataclass(frozen=True, slots=True)
class Cell:
    """What people said of one candidate on one dimension.

    Attributes:
        text: The figure; empty where nobody said anything.
        note: How many said it, or how they differ.
        best: Whether no other candidate has a better one.
    """

    text: str = ""
    note: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One dimension and what its figures are, with one cell for each candidate."""

    dimension: str
    what: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One candidate: a data URI (None where it cannot be shown), who made it, its size."""

    uri: str | None
    generator: str
    size: str


@dataclass(frozen=True, slots=True)
class VoteRow:
    """Votes of one comparison; candidates are numbered from 1."""

    dimension: str
    first: int
    second: int
    votes: tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Rationale:
    """Why somebody answered as they did; the candidate is numbered from 1."""

    dimension: str
    candidate: int
    by: str
    value: str
    text: str


@dataclass(frozen=True, slots=True)
class SampleCard:
    """All that the page shows of one group."""

    id: str
    prompt: str
    tags: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]
    lines: tuple[Line, ...]
    votes: tuple[VoteRow, ...]
    rationales: tuple[Rationale, ...]
    more_rationales: int


def draw_samples(index: ShardIndex, count: int, seed: int) -> list[SampleCard]:
    """Reads ``count`` groups drawn without replacement, in the order of the shards; unreadable ones are left out."""
    positions = np.sort(np.random.default_rng(seed).choice(len(index), min(count, len(index)), replace=False))
    left = MAX_PICTURE_BYTES
    cards = []
    for position in positions.tolist():
        try:
            sample = index.sample(position)
        except BadSample:
            continue
        uris = [
            thumbnail_uri(data, side=_SIDE, quality=_QUALITY, decode="scaled") if left > 0 else None
            for data in sample.images
        ]
        left -= sum(len(uri or "") for uri in uris)
        cards.append(_card(sample.group, uris))
    return cards


def _card(group: Group, uris: list[str | None]) -> SampleCard:
    pictures = tuple(
        Picture(uri, c.generator or "", f"{c.width} x {c.height}" if c.width and c.height else "")
        for c, uri in zip(group.candidates, uris, strict=True)
    )
    lines = tuple(line for dimension in group.dimensions for line in _lines(group, dimension))
    votes = tuple(
        VoteRow(c.dimension, c.first + 1, c.second + 1, tuple(f"{v:.4g}" for v in c.votes))  # type: ignore[arg-type]
        for dimension in group.dimensions
        for c in comparisons_of(group, dimension)
    )
    reasons = [
        Rationale(
            a.dimension, a.candidate + 1, a.by, f"{a.value:g}" if a.value != NOT_APPLICABLE else "NA", a.rationale
        )
        for a in group.answers
        if isinstance(a.rationale, str) and a.rationale.strip()
    ]
    return SampleCard(
        group.id,
        group.prompt,
        tuple((str(name), str(value)) for name, value in group.tags.items()),
        pictures,
        lines,
        votes,
        tuple(reasons[:MAX_RATIONALES]),
        max(0, len(reasons) - MAX_RATIONALES),
    )


def _lines(group: Group, dimension: str) -> list[Line]:
    """Mean ratings, mean ranks and votes won, as far as people gave them."""
    made = []
    said: dict[int, list[float]] = defaultdict(list)
    missing: dict[int, int] = defaultdict(int)
    for answer in group.answers:
        if answer.dimension == dimension:
            if answer.value == NOT_APPLICABLE:
                missing[answer.candidate] += 1
            else:
                said[answer.candidate].append(float(answer.value))
    k = len(group.candidates)
    if said or missing:
        made.append(_line(dimension, "mean rating", [said[n] for n in range(k)], [missing[n] for n in range(k)]))
    rankings = rankings_of(group, dimension)
    if rankings:
        averaged = all(r.by == AGGREGATE for r in rankings)
        ranks = [[float(rank) for r in rankings if (rank := r.ranks[n]) is not None] for n in range(k)]
        made.append(_line(dimension, "averaged rank" if averaged else "mean rank", ranks, [0] * k, low_is_best=True))
    given = [c for c in group.comparisons if c.dimension == dimension]
    if given:
        made.append(_won(dimension, given, k))
    return made


def _line(
    dimension: str, what: str, values: list[list[float]], missing: list[int], *, low_is_best: bool = False
) -> Line:
    means = [sum(said) / len(said) if said else None for said in values]
    known = [mean for mean in means if mean is not None]
    best = (min if low_is_best else max)(known) if known else None
    cells = []
    for said, mean, absent in zip(values, means, missing, strict=True):
        note = f"of {len(said)}" if len(said) > 1 else ""
        note += f"{', ' if note else ''}{absent} NA" if absent else ""
        text = "" if mean is None else f"{mean:.4g}" if len(said) == 1 else f"{mean:.2f}"
        cells.append(Cell(text, note, mean is not None and mean == best and len(set(known)) > 1))
    return Line(dimension, what, tuple(cells))


def _won(dimension: str, comparisons: list[Comparison], k: int) -> Line:
    won, cast = [0.0] * k, [0.0] * k
    for c in comparisons:
        for place, own in ((c.first, c.votes[0]), (c.second, c.votes[2])):
            won[place] += own
            cast[place] += sum(c.votes)
    shares = [w / n if n else None for w, n in zip(won, cast, strict=True)]
    known = [share for share in shares if share is not None]
    cells = tuple(
        Cell(
            "" if share is None else f"{share:.0%}",
            f"of {n:.4g}" if n else "",
            share is not None and share == max(known) and len(set(known)) > 1,
        )
        for share, n in zip(shares, cast, strict=True)
    )
    return Line(dimension, "votes won", cells)
