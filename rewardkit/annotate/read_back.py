"""An annotation's log read back: its scores as arrays, what came of its requests, and where each group's lines lie.

Rationales stay on the disk until their group is written (``Logged.lines_of``), so that memory is that of the numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rewardkit.annotate.log import LOG_FILE, LogLine, line_from_json, read_log
from rewardkit.annotate.scores import Scores, scores_of
from rewardkit.data.group import NOT_APPLICABLE

Place = tuple[int, int]
"""First byte and number of bytes of a line."""


@dataclass(slots=True)
class Logged:
    """A log.

    Attributes:
        file: The log.
        scores: All of them.
        places: Position of a group to its lines, by annotator, repeat and order.
        outcomes: Annotator to outcome to its number of requests.
        lacking: Annotator and outcome (``invalid``, ``refused``) to the number of candidates that got no scores.
        models: Annotator to its models: as named to the server, and as the server names them.
        unknown: Lines of groups that are not in the input.
        digest: SHA-256, hex, of what was answered to which request, in any order of the lines.
    """

    file: Path
    scores: Scores
    places: Mapping[int, Sequence[Place]]
    outcomes: Mapping[str, Counter[str]]
    lacking: Mapping[tuple[str, str], int]
    models: Mapping[str, Sequence[str]]
    unknown: int
    digest: str

    def lines_of(self, position: int) -> Iterator[LogLine]:
        """The lines of a group, by annotator, repeat and order."""
        with self.file.open("rb") as file:
            for start, size in self.places.get(position, ()):
                file.seek(start)
                yield line_from_json(file.read(size))


def read_back(folder: Path, ids: Sequence[str], dimensions: Sequence[str]) -> Logged:
    """Reads the scores of a log; lines of the steps that prepare prompts are passed over.

    Args:
        folder: Of the annotation.
        ids: Of the input's groups, in their order.
        dimensions: That were asked about.

    Raises:
        DataError: There is no log, or a line is damaged; names the line.
    """
    found = _Reading({id: n for n, id in enumerate(ids)}, {name: n for n, name in enumerate(dimensions)})
    for place, line in zip(_places(folder / LOG_FILE), read_log(folder), strict=False):
        if line.step == "scores":
            found.add(line, place)
    annotators = sorted(found.outcomes)
    number = {name: n for n, name in enumerate(annotators)}
    rows = [(g, c, d, number[by], repeat, slot, value) for g, c, d, by, repeat, slot, value in found.rows]
    return Logged(
        file=folder / LOG_FILE,
        scores=scores_of(rows, groups=len(ids), dimensions=dimensions, annotators=annotators),
        places={position: [place for _, place in sorted(of)] for position, of in found.places.items()},
        outcomes={name: found.outcomes[name] for name in annotators},
        lacking=dict(found.lacking),
        models={name: sorted(found.models[name]) for name in annotators},
        unknown=found.unknown,
        digest=hashlib.sha256("\n".join(sorted(found.answers)).encode()).hexdigest(),
    )


@dataclass(slots=True)
class _Reading:
    """What is gathered line by line."""

    position: Mapping[str, int]
    dimension: Mapping[str, int]
    rows: list[tuple[int, int, int, str, int, int, float]] = field(default_factory=list)
    places: dict[int, list[tuple[tuple[str, int, tuple[int, ...]], Place]]] = field(default_factory=dict)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    lacking: Counter[tuple[str, str]] = field(default_factory=Counter)
    models: dict[str, set[str]] = field(default_factory=dict)
    unknown: int = 0
    answers: list[str] = field(default_factory=list)

    def add(self, line: LogLine, place: Place) -> None:
        at = self.position.get(line.group)
        if at is None:
            self.unknown += 1
            return
        self.outcomes.setdefault(line.annotator, Counter())[line.outcome] += 1
        named = {line.model, *(attempt.model for attempt in line.attempts if attempt.model)}
        self.models.setdefault(line.annotator, set()).update(named)
        said = [[score.question, score.candidate, score.value, score.rationale] for score in line.scores]
        record = json.dumps([line.request, line.outcome, said], ensure_ascii=True)
        self.answers.append(hashlib.sha256(record.encode()).hexdigest())
        self.places.setdefault(at, []).append(((line.annotator, line.repeat, line.order), place))
        if line.outcome != "ok":
            self.lacking[line.annotator, line.outcome] += len(line.order)
        slot = {candidate: n if line.mode == "joint" else -1 for n, candidate in enumerate(line.order)}
        for score in line.scores:
            value = np.nan if score.value == NOT_APPLICABLE else float(score.value)
            self.rows.append(
                (at, score.candidate, self.dimension[score.dimension], line.annotator, line.repeat,
                 slot[score.candidate], value)
            )  # fmt: skip


def _places(file: Path) -> Iterator[Place]:
    """First byte and length of each line."""
    if not file.is_file():  # read_log tells it
        return
    start = 0
    with file.open("rb") as lines:
        for text in lines:
            yield start, len(text)
            start += len(text)
