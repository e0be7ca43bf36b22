"""Statements of one group as text for the spool and back, what they have in common written once.

Raters mostly judge the same few images many times: twenty judgements of four images hold six pairs of images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardkit.data.group import from_json, to_json
from rewardkit.data.reading.statements import Choice, Order, Rating, Said, Statement, WholeRecord

_ENCODER = json.JSONEncoder(check_circular=False, separators=(",", ":"))

_NAMES = {Statement: "said", Choice: "choice", Rating: "rating", Order: "order", WholeRecord: "record"}


def pack(said: Sequence[Said]) -> str:
    """Statements of one group as JSON, without what their group says already.

    Returns:
        A list of two: what statements have in common, once each; and for each statement the place of that in the first
        list, its line, and what it alone says.
    """
    common: list[tuple[Any, ...]] = []
    places: dict[tuple[Any, ...], int] = {}
    rows: list[tuple[Any, ...]] = []
    for one in said:
        kind = _NAMES[type(one)]
        if isinstance(one, WholeRecord):
            rows.append((len(common), one.line, to_json(one.record)))
            common.append((kind, one.file, one.folder))
            continue
        about = (kind, one.file, one.folder, one.images, one.generators, one.dimension, one.by)
        if one.tags or one.slots:  # which can be no key
            place = len(common)
            common.append((*about, dict(one.tags), dict(one.slots)))
        else:
            place = places.setdefault(about, len(common))
            if place == len(common):
                common.append(about)
        rows.append((place, one.line, *_own(one)))
    return _ENCODER.encode((common, rows))


def _own(said: Statement) -> tuple[Any, ...]:
    """What a statement alone says."""
    if isinstance(said, Choice):
        return (*said.votes, said.weight)
    if isinstance(said, Rating):
        return (said.value, said.rationale)
    return said.ranks if isinstance(said, Order) else ()


def unpack(packed: Sequence[list[Any]], shared: Mapping[str, Any]) -> Iterator[Said]:
    """The statements again.

    Args:
        packed: What ``pack`` wrote, parsed.
        shared: What their group says: ``prompt``, ``group`` and ``id``.
    """
    common = [(kind, _about(kind, rest, shared)) for kind, *rest in packed[0]]
    for place, line, *own in packed[1]:
        kind, about = common[place]
        if kind == "choice":
            first, tie, second, weight = own
            yield Choice(line=line, votes=(first, tie, second), weight=weight, **about)
        elif kind == "rating":
            yield Rating(line=line, value=own[0], rationale=own[1], **about)
        elif kind == "order":
            yield Order(line=line, ranks=tuple(own), **about)
        elif kind == "record":
            yield WholeRecord(line=line, record=from_json(own[0]), **about)
        else:
            yield Statement(line=line, **about)


def _about(kind: str, rest: Sequence[Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """What several statements have in common, as arguments of their class."""
    if kind == "record":
        return {"file": rest[0], "folder": rest[1]}
    file, folder, images, generators, dimension, by, *more = rest
    tags, slots = more or ({}, {})
    return {
        **shared, "file": file, "folder": folder, "images": tuple(images), "generators": tuple(generators),
        "dimension": dimension, "by": by, "tags": tags, "slots": slots,
    }  # fmt: skip
