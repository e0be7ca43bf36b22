"""The group: one prompt, its candidates, and all that people said of them. The one record of the program.

The JSON form is the ``KEY.json`` of a shard's sample. Reading is strict: a record that contradicts itself (a
comparison that points outside the group, ranks of the wrong length) is refused with a message that says where.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rewardkit.errors import DataError

AGGREGATE = "aggregate"
"""``Ranking.by`` of an order averaged over annotators, as HPD v2's test set gives one beside the raw annotations."""

NOT_APPLICABLE: Literal["NA"] = "NA"
"""The answer "this question does not apply to this candidate"; unlike a missing answer, it is an answer."""


class RecordError(DataError):
    """A group record that cannot be used."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image of a group.

    Attributes:
        file: Name of the image inside the sample (``KEY.0.jpg``) or, before conversion, its path.
        generator: The model that made the image, where known.
        width: Pixels, after EXIF orientation.
        height: Pixels, after EXIF orientation.
        sha256: Hex digest of the image file's bytes.
    """

    file: str
    generator: str | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidates ``first`` and ``second`` on one dimension.

    Attributes:
        votes: Votes for first, for a tie, for second; at least one is positive.
        weight: Factor of this comparison in a loss.
    """

    dimension: str
    first: int
    second: int
    votes: tuple[float, float, float]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """One annotator's order of the group's candidates on one dimension.

    Attributes:
        by: The annotator, or ``AGGREGATE`` for an order averaged over annotators.
        ranks: One number per candidate, 1 is best, equal numbers tie, None was not ranked.
    """

    dimension: str
    by: str
    ranks: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody said of one candidate on one dimension or question.

    Attributes:
        value: A number on the dimension's scale (higher is better), or ``"NA"``.
    """

    dimension: str
    candidate: int
    by: str
    value: float | Literal["NA"]
    rationale: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt, its K candidates and every label on them. See the module's docstring.

    Attributes:
        tags: What evaluations group by, for example ``{"style": "anime"}``.
        slots: The prompt taken apart (``{"subject": "cat"}``), where the source knows it.
        provenance: Where the record came from.
    """

    id: str
    prompt: str
    candidates: tuple[Candidate, ...]
    comparisons: tuple[Comparison, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    answers: tuple[Answer, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise RecordError(f"group {self.id!r}: " + "; ".join(problems))

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Every dimension that somebody spoke to, sorted."""
        labels: Sequence[Comparison | Ranking | Answer] = (*self.comparisons, *self.rankings, *self.answers)
        return tuple(sorted({label.dimension for label in labels}))


def _problems(group: Group) -> Sequence[str]:
    """Everything that is wrong with a group's labels."""
    k = len(group.candidates)
    found: list[str] = []
    if not group.id:
        found.append("the id is empty")
    if k == 0:
        found.append("there are no candidates")
    for n, c in enumerate(group.comparisons):
        if not _is_sound(c, k):
            found += _problems_of_comparison(c, k, f"comparison {n} ({c.dimension})")
    for n, r in enumerate(group.rankings):
        if len(r.ranks) != k:
            found.append(f"ranking {n} ({r.dimension}) has {len(r.ranks)} ranks for {k} candidates")
        if not all(rank is None or math.isfinite(rank) for rank in r.ranks):
            found.append(f"ranking {n} ({r.dimension}) has a rank that is not a finite number")
    for n, a in enumerate(group.answers):
        if not 0 <= a.candidate < k:
            found.append(f"answer {n} ({a.dimension}) points at candidate {a.candidate}, but there are {k}")
        if a.value != NOT_APPLICABLE and not (isinstance(a.value, float | int) and math.isfinite(a.value)):
            found.append(f"answer {n} ({a.dimension}) is neither a finite number nor 'NA': {a.value!r}")
    return found


def _is_sound(comparison: Comparison, candidates: int) -> bool:
    """Whether nothing is wrong with a comparison, told quickly: training makes thousands of groups a second."""
    votes = comparison.votes
    return (
        0 <= comparison.first < candidates
        and 0 <= comparison.second < candidates
        and comparison.first != comparison.second
        and len(votes) == 3
        and min(votes) >= 0
        and 0 < sum(votes) < math.inf  # not where one is NaN
        and 0 <= comparison.weight < math.inf
    )


def _problems_of_comparison(c: Comparison, candidates: int, where: str) -> list[str]:
    found = []
    if not (0 <= c.first < candidates and 0 <= c.second < candidates):
        found.append(
            f"{where} points at candidates {c.first} and {c.second}, but there are {candidates} (0 to {candidates - 1})"
        )
    elif c.first == c.second:
        found.append(f"{where} compares candidate {c.first} with itself")
    if len(c.votes) != 3 or not all(math.isfinite(v) and v >= 0 for v in c.votes) or sum(c.votes) <= 0:
        found.append(f"{where} needs votes [first, tie, second], none negative, at least one positive: {c.votes}")
    if not (math.isfinite(c.weight) and c.weight >= 0):
        found.append(f"{where} has weight {c.weight}; it must be finite and not negative")
    return found


def to_json(group: Group) -> str:
    """One line of JSON; fields that say nothing are left out."""

    def said(**fields: Any) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if value is not None}

    record: dict[str, Any] = {
        "id": group.id,
        "prompt": group.prompt,
        "tags": dict(group.tags),
        "slots": dict(group.slots),
        "candidates": [
            said(file=c.file, generator=c.generator, width=c.width, height=c.height, sha256=c.sha256)
            for c in group.candidates
        ],
        "comparisons": [
            {"dimension": c.dimension, "first": c.first, "second": c.second, "votes": list(c.votes), "weight": c.weight}
            for c in group.comparisons
        ],
        "rankings": [{"dimension": r.dimension, "by": r.by, "ranks": list(r.ranks)} for r in group.rankings],
        "answers": [
            said(dimension=a.dimension, candidate=a.candidate, by=a.by, value=a.value, rationale=a.rationale)
            for a in group.answers
        ],
        "provenance": dict(group.provenance),
    }
    return json.dumps(
        {name: value for name, value in record.items() if value or name in ("id", "prompt", "candidates")},
        ensure_ascii=False,
    )


def from_json(text: str | bytes) -> Group:
    """Reads one group record.

    Raises:
        RecordError: The text is not JSON, a field is missing or has the wrong type, or labels contradict the group.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"the record is not valid JSON: {error}") from None
    if not isinstance(record, dict):
        raise RecordError(f"the record is a {type(record).__name__}, not an object")
    return from_record(record)


def from_record(record: Mapping[str, Any]) -> Group:
    """The same as ``from_json``, from the parsed object."""
    name = record.get("id", "?")
    try:
        return Group(
            id=_string(record, "id"),
            prompt=_string(record, "prompt"),
            candidates=tuple(
                Candidate(_string(c, "file"), c.get("generator"), c.get("width"), c.get("height"), c.get("sha256"))
                for c in record["candidates"]
            ),
            comparisons=tuple(
                Comparison(
                    _string(c, "dimension"),
                    _index(c, "first"),
                    _index(c, "second"),
                    tuple(map(float, c["votes"])),  # type: ignore[arg-type]
                    float(c.get("weight", 1.0)),
                )
                for c in record.get("comparisons", ())
            ),
            rankings=tuple(
                Ranking(
                    _string(r, "dimension"),
                    str(r.get("by", "")),
                    tuple(None if rank is None else float(rank) for rank in r["ranks"]),
                )
                for r in record.get("rankings", ())
            ),
            answers=tuple(
                Answer(
                    _string(a, "dimension"),
                    _index(a, "candidate"),
                    str(a.get("by", "")),
                    _value(a["value"]),
                    a.get("rationale"),
                )
                for a in record.get("answers", ())
            ),
            tags=dict(record.get("tags", {})),
            slots=dict(record.get("slots", {})),
            provenance=dict(record.get("provenance", {})),
        )
    except KeyError as error:
        raise RecordError(f"group {name!r}: the field {error.args[0]!r} is missing") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RecordError(f"group {name!r}: a field has the wrong type: {error}") from None


def _string(record: Mapping[str, Any], name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, not text")
    return value


def _index(record: Mapping[str, Any], name: str) -> int:
    value = record[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, not a whole number")
    return value


def _value(value: Any) -> float | Literal["NA"]:
    return NOT_APPLICABLE if value == NOT_APPLICABLE else float(value)
