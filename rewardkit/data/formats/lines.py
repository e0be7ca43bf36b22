"""What one line of rewardkit's own format says, and how lines become groups.

``jsonl`` and ``csv`` differ only in how a line is written; both turn it into one of the statements below. Lines that
share a prompt (and ``group``, where given) become one group; equal image paths are one candidate.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from rewardkit.config.messages import did_you_mean
from rewardkit.data.formats.format import GroupWithImages
from rewardkit.data.group import Answer, Candidate, Comparison, Group, Ranking
from rewardkit.errors import UserError

DEFAULT_DIMENSION = "overall"
"""The dimension of a line that names none."""

SHOWN_MISTAKES = 10
"""Mistakes of an annotation file that one message lists before reading stops."""


class LineError(UserError):
    """One line of an annotation file that cannot be used; the message begins with ``file:line``."""


def mistakes_in(mistakes: list[str], *, more: bool) -> UserError:
    """One error for the mistakes found in a file, one per line."""
    stopped = f" (reading stopped after {len(mistakes)} mistakes)" if more else ""
    return UserError("\n".join(mistakes) + stopped)


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint ``Did you mean …?`` for a wrong word, or the list of what is known."""
    words = list(known)
    return did_you_mean(word, words).strip() or "Known are " + ", ".join(words)


def own_file(src: Path, suffix: str) -> Path:
    """The annotation file: the path itself, or the one file of a folder with the suffix.

    Raises:
        UserError: There is none, or there are several.
    """
    if src.is_file():
        return src
    if not src.exists():
        raise UserError(f"src={src} does not exist")
    found = sorted(src.glob(f"*{suffix}"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise UserError(
            f"the folder {src} must hold one *{suffix} file to be read as format={suffix[1:]}, and holds "
            f"{len(found)} ({names}). Give the file itself: src={found[0] if found else src / ('NAME' + suffix)}"
        )
    return found[0]


def image_path(name: str) -> str:
    """A path as written, without ``./`` and doubled slashes, so that equal files are one candidate.

    Raises:
        ValueError: It is empty or a URL.
    """
    if not name.strip():
        raise ValueError("the image path is empty")
    if "://" in name:
        raise ValueError(f"{name!r} is a URL; download the images first and give their paths")
    return str(PurePosixPath(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What every line says, whatever its kind.

    Attributes:
        line: Line number in the file, from 1.
        group: Keeps lines of one prompt apart where the user asked for it.
        images: Paths as written.
        generators: One per image.
        by: The rater, "" where the line names none.
    """

    line: int
    prompt: str
    images: tuple[str, ...]
    generators: tuple[str | None, ...]
    dimension: str = DEFAULT_DIMENSION
    by: str = ""
    group: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Statement):
    """One comparison of two images: votes for the first, for a tie, for the second."""

    votes: tuple[float, float, float]
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating(Statement):
    """One rating of one image."""

    value: float | Literal["NA"]
    rationale: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Statement):
    """One ranking of several images; rank 1 is best, equal ranks tie, None was not ranked."""

    ranks: tuple[float | None, ...]


@dataclass(slots=True)
class _Gathered:
    """A group while its lines come in."""

    line: int
    prompt: str
    group: str | None
    index: dict[str, int] = field(default_factory=dict)
    generators: list[str | None] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)


def gather(
    statements: Iterable[Statement], file: Path, format_name: str, notes: Counter[str]
) -> Iterator[GroupWithImages]:
    """Groups from statements, in the order in which their first lines stand.

    Raises:
        LineError: Two lines name different generators of one image, or different values of one tag.
    """
    gathered: dict[tuple[str | None, str], _Gathered] = {}
    for said in statements:
        key = (said.group, said.prompt)
        group = gathered.setdefault(key, _Gathered(said.line, said.prompt, said.group))
        _enter(group, said, file)
    for group in gathered.values():
        yield _build(group, file, format_name, notes)


def _enter(group: _Gathered, said: Statement, file: Path) -> None:
    """Takes one statement into its group."""
    for image, generator in zip(said.images, said.generators, strict=True):
        position = group.index.setdefault(image, len(group.index))
        if position == len(group.generators):
            group.generators.append(generator)
        known = group.generators[position]
        if generator is not None and known is not None and generator != known:
            raise LineError(
                f"{file}:{said.line}: image {image!r} is said to come from generator {generator!r}, but an earlier "
                f"line of this prompt says {known!r}. One image has one generator: correct one of the lines"
            )
        group.generators[position] = known if known is not None else generator
    for name, value in said.tags.items():
        if group.tags.setdefault(name, value) != value:
            raise LineError(
                f"{file}:{said.line}: tag {name!r} is {value!r}, but an earlier line of this prompt says "
                f"{group.tags[name]!r}. Tags belong to the prompt: make them equal, or give the lines different 'group'"
            )
    group.statements.append(said)


def _build(group: _Gathered, file: Path, format_name: str, notes: Counter[str]) -> GroupWithImages:
    """The group record of gathered lines."""
    choices: dict[str, list[Choice]] = defaultdict(list)
    rankings: list[Ranking] = []
    answers: list[Answer] = []
    for said in group.statements:
        if isinstance(said, Choice):
            choices[said.dimension].append(said)
        elif isinstance(said, Order):
            rankings.append(Ranking(said.dimension, said.by, _spread(group, said.images, said.ranks)))
        elif isinstance(said, Rating):
            position = group.index[said.images[0]]
            answers.append(Answer(said.dimension, position, said.by, said.value, said.rationale))
    comparisons: list[Comparison] = []
    also_said = {label.dimension for label in rankings} | {label.dimension for label in answers}
    for dimension, lines in choices.items():
        if dimension not in also_said and all(said.by and said.weight == 1.0 for said in lines):
            # A named rater's choice is kept as that rater's order of two, so that nobody's name is lost.
            rankings.extend(Ranking(dimension, said.by, _spread(group, said.images, _ranks(said))) for said in lines)
            continue
        comparisons.extend(_add_votes(group, dimension, lines))
        if any(said.by for said in lines):
            notes[f"groups where choices on {dimension!r} became votes without the raters' names"] += 1
        if dimension in also_said:
            notes[
                f"groups with comparisons beside ratings or rankings on {dimension!r}: their pairs follow from the "
                "comparisons alone"
            ] += 1
    files = list(group.index)
    record = Group(
        id=hashlib.sha256(json.dumps([group.group, group.prompt]).encode()).hexdigest()[:16],
        prompt=group.prompt,
        candidates=tuple(Candidate(name, generator) for name, generator in zip(files, group.generators, strict=True)),
        comparisons=tuple(comparisons),
        rankings=tuple(rankings),
        answers=tuple(answers),
        tags=group.tags,
        provenance={"format": format_name, "file": file.name, "line": group.line},
    )
    return record, [file.parent / name for name in files]


def _ranks(said: Choice) -> tuple[float, float]:
    """Ranks of the two images of one person's choice."""
    for_first, _, for_second = said.votes
    return (1.0, 1.0) if for_first == for_second else (1.0, 2.0) if for_first > for_second else (2.0, 1.0)


def _spread(group: _Gathered, images: tuple[str, ...], ranks: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Ranks of some images as one rank per candidate of the group, None for the others."""
    spread: list[float | None] = [None] * len(group.index)
    for image, rank in zip(images, ranks, strict=True):
        spread[group.index[image]] = rank
    return tuple(spread)


def _add_votes(group: _Gathered, dimension: str, lines: list[Choice]) -> Iterator[Comparison]:
    """Lines on the same two images and of the same weight become one comparison with their votes added."""
    added: dict[tuple[int, int, float], list[float]] = {}
    for said in lines:
        i, j = (group.index[image] for image in said.images)
        votes = said.votes if i < j else said.votes[::-1]
        total = added.setdefault((min(i, j), max(i, j), said.weight), [0.0, 0.0, 0.0])
        for side in range(3):
            total[side] += votes[side]
    for (i, j, weight), votes_of in added.items():
        yield Comparison(dimension, i, j, (votes_of[0], votes_of[1], votes_of[2]), weight)
