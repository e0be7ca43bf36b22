"""Folds a whole annotation: scores aggregated, every group written to shards, and compared with people on the way."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rewardkit.annotate.aggregate import Aggregated, aggregate
from rewardkit.annotate.fold import FoldRules, Values, comparisons_by, fold_group, padded, values_of
from rewardkit.annotate.overall import OVERALL, PairCounts, overall_scores
from rewardkit.annotate.people import AgreementWithPeople, WithPeople, people_dimensions
from rewardkit.annotate.read_back import Logged
from rewardkit.data.group import Group
from rewardkit.data.index import INDEX_FILE, Scale, ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.large_groups import split_large
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.errors import BadSample, DataError, UserError

if TYPE_CHECKING:
    from rewardkit.annotate.inputs import Groups

MAX_CANDIDATES = 16
"""Larger groups are split, as ``data convert`` does."""

MADE_BY = "annotate"
"""``made["action"]`` in the index of shards that a fold wrote; only such are replaced."""


@dataclass(slots=True)
class Folded:
    """What became of the groups.

    Attributes:
        groups: Of the input.
        written: That are in the shards; of a group that was split each part counts.
        complete: Groups of which every candidate has a score (or N/A) on every dimension.
        without: Groups without any score, left out.
        bad: Groups that cannot be read, and why.
        counts: Dimension, and overall, to what became of the pairs.
        people: Who spoke (``aggregate=RULE``, and each annotator where there are several) to dimension to agreement
            with people.
        reliability: See ``Aggregated``.
        index: Of the shards.
    """

    groups: int
    written: int = 0
    complete: int = 0
    without: int = 0
    bad: list[str] = field(default_factory=list)
    counts: Mapping[str, PairCounts] = field(default_factory=lambda: defaultdict(PairCounts))
    people: Mapping[str, Mapping[str, WithPeople]] = field(default_factory=dict)
    reliability: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    index: ShardIndex | None = None


@dataclass(frozen=True, slots=True)
class _Speaker:
    """One whose scores are compared with people's."""

    values: Values
    people: AgreementWithPeople


def fold(
    groups: Groups,
    logged: Logged,
    out: Path,
    rules: FoldRules,
    *,
    scales: Mapping[str, Scale],
    people: Mapping[str, str | None],
    draws: int,
    progress: Callable[[int], None] = lambda groups: None,
) -> Folded:
    """Writes the shards of an annotation; the same log gives the same bytes.

    Args:
        groups: The input, in the order that ``logged`` was read with.
        logged: The log.
        out: Folder of the shards; one that a fold wrote is replaced once the new one is whole.
        rules: How labels follow.
        scales: Dimension to the scale of its questions.
        people: Dimension to that of people's labels, where it has another name; null leaves it out.
        draws: Resamples behind intervals.
        progress: Called with the number of groups so far.

    Raises:
        UserError: No group has a score, or ``out`` holds something else.
        DataError: Images have changed since they were annotated.
    """
    if not len(logged.scores.value):
        raise UserError(f"{logged.file}: no request brought scores, so there is nothing to make groups of")
    aggregated = aggregate(logged.scores, rules.aggregate)
    found = Folded(groups=len(groups), reliability=aggregated.reliability)
    for name in (*logged.scores.dimensions, OVERALL):
        found.counts[name]
    speakers = _speakers(logged, aggregated, rules, scales, people)
    with replaced_folder(out) as folder:
        with ShardWriter(folder, "annotated") as writer:
            for position in range(len(groups)):
                try:
                    _one(groups, position, logged, speakers, rules, found, writer)
                except BadSample as error:
                    found.bad.append(f"group {position}: {error.reason}")
                progress(position + 1)
            found.written = writer.groups
        made = {"action": MADE_BY, "log": logged.digest, **rules.as_record()}
        build_index(folder, scales=_written_scales(aggregated, rules, scales), made=made)
    found.index = ShardIndex.open(out)
    _count_answers(found.counts, logged, aggregated)
    found.people = {name: speaker.people.found(draws=draws) for name, speaker in speakers.items()}
    return found


def _one(
    groups: Groups,
    position: int,
    logged: Logged,
    speakers: Mapping[str, _Speaker],
    rules: FoldRules,
    found: Folded,
    writer: ShardWriter,
) -> None:
    """Writes one group, and compares it with people."""
    values = next(iter(speakers.values())).values
    if position not in values.of:
        found.without += 1
        return
    group, dimensions = groups.record(position), values.dimensions
    shape = (len(group.candidates), len(dimensions))
    lines = list(logged.lines_of(position))
    table = padded(values.of[position], *shape)
    marks = padded(values.not_applicable[position], *shape) == 1
    folded = fold_group(group, lines, table, marks, dimensions, rules, found.counts, log=logged.digest)
    found.complete += bool((~np.isnan(table) | marks).all())
    images = groups.images(position)
    for part, members in split_large(folded, MAX_CANDIDATES):
        writer.write(part, [images[member] for member in members])
    if group.comparisons or group.rankings or group.answers:
        for speaker in speakers.values():
            _compare(position, group, speaker, rules)


def _compare(position: int, people: Group, speaker: _Speaker, rules: FoldRules) -> None:
    """Holds what a speaker says of a group against the people's labels."""
    dimensions = speaker.values.dimensions
    table = padded(speaker.values.of.get(position), len(people.candidates), len(dimensions))
    counts: dict[str, PairCounts] = defaultdict(PairCounts)
    said = Group(people.id, "", people.candidates, comparisons_by(table, dimensions, rules.overall, counts))
    values = {OVERALL: overall_scores(table, dimensions, rules.overall), **dict(zip(dimensions, table.T, strict=True))}
    speaker.people.add(position, people, said, values)


def _speakers(
    logged: Logged,
    aggregated: Aggregated,
    rules: FoldRules,
    scales: Mapping[str, Scale],
    people: Mapping[str, str | None],
) -> dict[str, _Speaker]:
    """The aggregated scores first, then each annotator's mean where there are several annotators."""
    scores = logged.scores
    named = [*scores.dimensions, *([] if OVERALL in scores.dimensions or rules.overall.rule == "none" else [OVERALL])]
    of_people = people_dimensions(named, people)

    def speaker(one: Aggregated, on_scale: bool) -> _Speaker:
        return _Speaker(values_of(one, scores.dimensions), AgreementWithPeople(of_people, scales if on_scale else {}))

    found = {f"aggregate={rules.aggregate}": speaker(aggregated, rules.aggregate != "bradley_terry")}
    if len(scores.annotators) > 1:
        for n, name in enumerate(scores.annotators):
            mine = scores.where(scores.annotator == n)
            if len(mine.value):
                found[name] = speaker(aggregate(mine, "mean"), True)
    return found


def _count_answers(counts: Mapping[str, PairCounts], logged: Logged, aggregated: Aggregated) -> None:
    """Adds what was asked for and did not come, and N/A."""
    for d, name in enumerate(logged.scores.dimensions):
        one = counts[name]
        one.invalid = sum(n for (_, outcome), n in logged.lacking.items() if outcome == "invalid")
        one.refused = sum(n for (_, outcome), n in logged.lacking.items() if outcome == "refused")
        one.not_applicable = int(np.isnan(aggregated.value[aggregated.dimension == d]).sum())


def _written_scales(aggregated: Aggregated, rules: FoldRules, scales: Mapping[str, Scale]) -> dict[str, Scale]:
    """The scales of the answers that are written, as far as the questions tell them."""
    on_scale = rules.aggregate != "bradley_terry"
    if rules.answers == "annotators":
        found = dict(scales)
    elif on_scale:
        numbers = aggregated.value[~np.isnan(aggregated.value)]
        whole = bool((numbers == np.rint(numbers)).all())
        found = {name: Scale(scale.low, scale.high, scale.integer and whole) for name, scale in scales.items()}
    else:
        found = {}
    if on_scale and rules.overall.rule in ("mean", "weighted") and scales:
        low, high = min(s.low for s in scales.values()), max(s.high for s in scales.values())
        found[OVERALL] = Scale(low, high, False)
    return found


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder beside ``out``; it takes the place of ``out`` at the end, is removed on failure.

    Raises:
        UserError: ``out`` holds something that no fold wrote.
    """
    if out.exists() and not _is_folded(out):
        raise UserError(
            f"{out} is there already and holds no groups of an annotation; give another shards=, or remove it"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    part, old = (out.with_name(f".{out.name}.{what}-{os.getpid()}") for what in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        if out.exists():
            out.rename(old)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _is_folded(folder: Path) -> bool:
    """Whether a folder is empty, or holds the shards of a fold."""
    if folder.is_dir() and not any(folder.iterdir()):
        return True
    try:
        return ShardIndex.open(folder).made.get("action") == MADE_BY if (folder / INDEX_FILE).is_file() else False
    except (DataError, UserError):
        return False
