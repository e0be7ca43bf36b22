"""From all that was said of one group to its record: the rule by which rows become candidates and labels."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rewardkit.data.gathered import Gathered, ImagePlace
from rewardkit.data.group import Answer, Candidate, Comparison, Group, Ranking
from rewardkit.data.reading.format import BadRow, Format, ReadLog
from rewardkit.data.reading.statements import Choice, Order, Rating, Said, Statement, WholeRecord
from rewardkit.data.spool import Spool


@dataclass(slots=True)
class Grouped:
    """A group's record, where its images lie, and what was left out on the way.

    Attributes:
        images: One per candidate.
        bad: Statements that contradict an earlier one of the group.
        notes: Reason -> how often something was changed.
    """

    group: Group
    images: list[ImagePlace]
    bad: list[BadRow] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Candidates:
    """A group's images while its statements come in."""

    index: dict[str, int] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    generators: list[str | None] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    slots: dict[str, Any] = field(default_factory=dict)


def build_group(said: Gathered, format_name: str) -> Grouped:
    """The record of one group.

    Named people's choices are kept as their orders of two images; unnamed ones are added up to votes. A statement
    that names another generator of an image, or another value of a tag, than an earlier one is left out. Ranks of
    single images by one person on one dimension are joined to that person's ranking.
    """
    if isinstance(said.statements[0], WholeRecord):
        return _whole(said.statements[0], format_name)
    candidates = _Candidates()
    kept: list[Statement] = []
    bad: list[BadRow] = []
    notes: Counter[str] = Counter()
    entered: set[tuple[Any, ...]] = set()
    for statement in said.statements:
        assert isinstance(statement, Statement)
        about = (statement.images, statement.generators, statement.folder)
        if about in entered and not statement.tags and not statement.slots:
            kept.append(statement)  # nothing new of its images
            continue
        problem = _contradiction(candidates, statement)
        if problem:
            # A row counts once, however many statements it made.
            if not bad or (bad[-1].file, bad[-1].line) != (statement.file, statement.line):
                bad.append(BadRow(statement.file, statement.line, problem))
            continue
        _enter(candidates, statement)
        entered.add(about)
        kept.append(statement)
    comparisons, rankings, answers = _labels(kept, candidates.index, notes, bad)
    first = kept[0]
    group = Group(
        id=said.id or hashlib.sha256(json.dumps([said.group, said.prompt]).encode()).hexdigest()[:16],
        prompt=said.prompt,
        candidates=tuple(
            Candidate(name, generator) for name, generator in zip(candidates.index, candidates.generators, strict=True)
        ),
        comparisons=tuple(comparisons),
        rankings=tuple(rankings),
        answers=tuple(answers),
        tags=candidates.tags,
        slots=candidates.slots,
        provenance={"format": format_name, "file": first.file, "line": first.line},
    )
    images = [
        said.bytes_of.get(name) or ImagePlace(name, folder)
        for name, folder in zip(candidates.index, candidates.folders, strict=True)
    ]
    return Grouped(group, images, bad, notes)


def _whole(said: WholeRecord, format_name: str) -> Grouped:
    """A record that came whole."""
    group = said.record
    place = {"format": format_name, "file": said.file, "line": said.line}
    group = replace(group, provenance={**place, **group.provenance})
    return Grouped(group, [ImagePlace(candidate.file, said.folder) for candidate in group.candidates])


def _contradiction(candidates: _Candidates, said: Statement) -> str:
    """What of a statement cannot stand beside what was said before; "" where all can."""
    for image, generator in zip(said.images, said.generators, strict=False):
        position = candidates.index.get(image)
        known = None if position is None else candidates.generators[position]
        if generator is not None and known is not None and generator != known:
            return (
                f"image {image!r} is said to come from generator {generator!r}, but an earlier row of this prompt says "
                f"{known!r}. One image has one generator: correct one of the rows"
            )
    for name, value in said.tags.items():
        known = candidates.tags.get(name)
        if known is not None and known != value:
            return (
                f"tag {name!r} is {value!r}, but an earlier row of this prompt says {known!r}. Tags belong to the "
                "prompt: make them equal, or give the rows different groups"
            )
    return ""


def _enter(candidates: _Candidates, said: Statement) -> None:
    generators: Sequence[str | None] = said.generators or [None] * len(said.images)
    for image, generator in zip(said.images, generators, strict=True):
        position = candidates.index.setdefault(image, len(candidates.index))
        if position == len(candidates.generators):
            candidates.generators.append(generator)
            candidates.folders.append(said.folder)
        elif generator is not None:
            candidates.generators[position] = generator
    candidates.tags.update(said.tags)
    for name, value in said.slots.items():
        candidates.slots.setdefault(name, value)


def _labels(
    statements: list[Statement], index: dict[str, int], notes: Counter[str], bad: list[BadRow]
) -> tuple[list[Comparison], list[Ranking], list[Answer]]:
    choices: dict[str, list[Choice]] = defaultdict(list)
    orders: list[Order] = []
    answers: list[Answer] = []
    for said in statements:
        if isinstance(said, Choice):
            choices[said.dimension].append(said)
        elif isinstance(said, Order):
            orders.append(said)
        elif isinstance(said, Rating):
            answers.append(Answer(said.dimension, index[said.images[0]], said.by, said.value, said.rationale))
    rankings = [
        Ranking(said.dimension, said.by, _spread(index, said.images, said.ranks)) for said in _joined(orders, bad)
    ]
    comparisons: list[Comparison] = []
    also_said = {label.dimension for label in rankings} | {label.dimension for label in answers}
    for dimension, rows in choices.items():
        if dimension not in also_said and all(said.by and said.weight == 1.0 and _is_choice(said) for said in rows):
            # A named person's choice is kept as that person's order of two, so that nobody's name is lost.
            rankings.extend(Ranking(dimension, said.by, _spread(index, said.images, _ranks(said))) for said in rows)
            continue
        comparisons.extend(_add_votes(index, dimension, rows))
        if any(said.by for said in rows):
            notes[f"groups where choices on {dimension!r} became votes without the raters' names"] += 1
        if dimension in also_said:
            notes[
                f"groups with comparisons beside ratings or rankings on {dimension!r}: their pairs follow from the "
                "comparisons alone"
            ] += 1
    return comparisons, rankings, answers


def _joined(orders: list[Order], bad: list[BadRow]) -> Iterator[Order]:
    """Orders of several images as they are; those of one image joined to one for each dimension and person.

    The rows of a table that holds one rank each come in any order, and only here they stand together. An image that a
    person ranks twice, and a person who ranks only one image, are bad rows.
    """
    together: dict[tuple[object, ...], list[Order]] = {}
    for number, said in enumerate(orders):
        # An order of several images stands for itself.
        together.setdefault((said.dimension, said.by) if len(said.images) == 1 else (number,), []).append(said)
    for rows in together.values():
        if len(rows[0].images) > 1:
            yield rows[0]
            continue
        who = f"rater {rows[0].by!r}" if rows[0].by else "the ranking without a rater"
        first: dict[str, Order] = {}
        for said in rows:
            earlier = first.setdefault(said.images[0], said)
            if earlier is not said:
                reason = (
                    f"{who} ranked {said.images[0]!r} already in line {earlier.line}; several people's rankings need "
                    "the rater's name"
                )
                bad.append(BadRow(said.file, said.line, reason))
        if len(first) == 1:
            reason = f"{who} ranks only one image of this prompt; a ranking needs two"
            bad.append(BadRow(rows[0].file, rows[0].line, reason))
            continue
        yield replace(rows[0], images=tuple(first), ranks=tuple(said.ranks[0] for said in first.values()))


def _is_choice(said: Choice) -> bool:
    """Whether the votes are those of one person."""
    return sorted(said.votes) == [0.0, 0.0, 1.0]


def _ranks(said: Choice) -> tuple[float, float]:
    """Ranks of the two images of one person's choice."""
    for_first, _, for_second = said.votes
    return (1.0, 1.0) if for_first == for_second else (1.0, 2.0) if for_first > for_second else (2.0, 1.0)


def _spread(index: dict[str, int], images: tuple[str, ...], ranks: Sequence[float | None]) -> tuple[float | None, ...]:
    """Ranks of some images as one rank per candidate of the group, None for the others."""
    spread: list[float | None] = [None] * len(index)
    for image, rank in zip(images, ranks, strict=True):
        spread[index[image]] = rank
    return tuple(spread)


def _add_votes(index: dict[str, int], dimension: str, rows: list[Choice]) -> Iterator[Comparison]:
    """Rows on the same two images and of the same weight become one comparison with their votes added."""
    added: dict[tuple[int, int, float], list[float]] = {}
    for said in rows:
        first, second = said.images
        i, j = index[first], index[second]
        key, votes = ((i, j, said.weight), said.votes) if i < j else ((j, i, said.weight), said.votes[::-1])
        total = added.get(key)
        if total is None:
            total = added[key] = [0.0, 0.0, 0.0]
        total[0] += votes[0]
        total[1] += votes[1]
        total[2] += votes[2]
    for (i, j, weight), votes_of in added.items():
        yield Comparison(dimension, i, j, (votes_of[0], votes_of[1], votes_of[2]), weight)


def gather(statements: Iterable[Said], spool: Spool, log: ReadLog) -> int:
    """Takes all statements into the spool; the number of groups. One that does not fit is a bad row of the log."""
    spool.start()
    for said in statements:
        try:
            spool.add(said)
        except ValueError as error:
            log.leave_out(said.file, said.line, str(error))
    return spool.finish()


def read_groups(format: Format, src: Path, options: Any = None, log: ReadLog | None = None) -> list[Grouped]:
    """All groups of a small source in memory, for looking at one; ``convert`` streams them.

    Raises:
        UserError: The source is not what the format reads.
        DataError: Too many rows are bad.
    """
    log = log or ReadLog()
    with TemporaryDirectory() as scratch, Spool(Path(scratch)) as spool:
        count = gather(format.read(src, options if options is not None else format.options(), log), spool, log)
        made = [build_group(said, format.name) for said in spool.groups(0, count)]
    log.bad += [bad for grouped in made for bad in grouped.bad]
    for grouped in made:
        log.notes.update(grouped.notes)
    log.judge()
    return made
