"""What a shard set holds, counted: labels and votes per dimension, sizes, generators, prompts, tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.group import AGGREGATE, NOT_APPLICABLE, Group
from rewardkit.data.index import Scale, ShardIndex
from rewardkit.errors import BadSample

MOST_COMMON = 8
"""Rows of a table of sizes, generators or tags; the rest is one row."""


@dataclass(slots=True)
class DimensionCounts:
    """Labels of one dimension.

    Attributes:
        groups: Groups with a comparison, given or derived.
        comparisons: Their number.
        votes: Votes for first, for a tie, for second, over all comparisons.
        undecided: Comparisons where the first and the second have equally many votes.
        rankings: Rankings of single annotators.
        answers: Answers with a number.
        not_applicable: Answers "NA".
        raters: Who ranked or answered.
    """

    groups: int = 0
    comparisons: int = 0
    votes: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    undecided: int = 0
    rankings: int = 0
    answers: int = 0
    not_applicable: int = 0
    raters: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Inspection:
    """All counts of a shard set; ``tables`` puts them into words."""

    groups: int = 0
    unreadable: int = 0
    left_out: int = 0
    shards: int = 0
    size: int = 0
    candidates: Counter[int] = field(default_factory=Counter)
    dimensions: dict[str, DimensionCounts] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    sizes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    generators: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    different_prompts: int = 0
    prompt_tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    empty_prompts: int = 0
    not_ascii: int = 0
    captions: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A table as text: a title, the columns' names, the rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def inspect_shards(
    index: ShardIndex,
    *,
    also: Sequence[Callable[[Group], None]] = (),
    progress: Callable[[int], None] = lambda groups: None,
) -> Inspection:
    """Reads every record (no image) once and counts.

    Args:
        index: The shard set's.
        also: Who else is shown every group.
        progress: Called with the number of groups so far.
    """
    found = Inspection(
        left_out=len(index.left_out),
        shards=len(index.shards),
        size=sum(index.shard_bytes),
        scales=index.scales,
        sources=index.sources,
        prompt_tokens=np.asarray(index.prompt_tokens),
        captions=int(index.captions.sum()),
        # The hashes of the prompts tell them apart; the texts of millions are not kept.
        different_prompts=len(np.unique(index.prompt_hash)),
    )
    for position in range(len(index)):
        try:
            group = index.record(position)
        except BadSample:
            found.unreadable += 1
        else:
            _count(found, group)
            for take in also:
                take(group)
        progress(position + 1)
    return found


def _count(found: Inspection, group: Group) -> None:
    """Adds one group."""
    found.groups += 1
    found.candidates[len(group.candidates)] += 1
    found.empty_prompts += not group.prompt.strip()
    found.not_ascii += not group.prompt.isascii()
    found.tags.update(f"{name}: {value}" for name, value in group.tags.items())
    for candidate in group.candidates:
        known = candidate.width is not None and candidate.height is not None
        found.sizes[f"{candidate.width} x {candidate.height}" if known else "not recorded"] += 1
        found.kinds[candidate.file.rpartition(".")[2].lower().replace("jpeg", "jpg")] += 1
        found.generators[candidate.generator or "not recorded"] += 1
    for dimension in group.dimensions:
        _count_dimension(found.dimensions.setdefault(dimension, DimensionCounts()), group, dimension)


def _count_dimension(counts: DimensionCounts, group: Group, dimension: str) -> None:
    comparisons = comparisons_of(group, dimension)
    counts.groups += bool(comparisons)
    counts.comparisons += len(comparisons)
    for comparison in comparisons:
        for side in range(3):
            counts.votes[side] += comparison.votes[side]
        counts.undecided += comparison.votes[0] == comparison.votes[2]
    for ranking in group.rankings:
        if ranking.dimension == dimension and ranking.by != AGGREGATE:
            counts.rankings += 1
            counts.raters.add(ranking.by)
    for answer in group.answers:
        if answer.dimension == dimension:
            counts.not_applicable += answer.value == NOT_APPLICABLE
            counts.answers += answer.value != NOT_APPLICABLE
            counts.raters.add(answer.by)


def tables(found: Inspection, context_length: int) -> list[Table]:
    """The counts as tables, for a terminal.

    Args:
        found: From ``inspect_shards``.
        context_length: Prompts of more tokens than this count as cut off.
    """
    made = [_summary(found), _dimensions(found), _prompts(found, context_length)]
    for title, unit, counter, total in (
        ("image sizes", "images", found.sizes, found.sizes.total()),
        ("generators", "images", found.generators, found.generators.total()),
        ("tags", "groups", found.tags, found.groups),
        ("sources", "groups", Counter(found.sources), found.groups),
    ):
        if counter:
            made.append(Table(title, ("", unit, "share"), _shares(counter, total)))
    return made


def _summary(found: Inspection) -> Table:
    images = sum(number * groups for number, groups in found.candidates.items())
    per_group = ", ".join(f"{number} ({groups:,} groups)" for number, groups in sorted(found.candidates.items())[:12])
    rows = [
        ("groups", f"{found.groups:,}"),
        ("images", f"{images:,} ({', '.join(f'{count:,} {kind}' for kind, count in found.kinds.most_common())})"),
        ("images per group", per_group),
        ("shards", f"{found.shards:,}, {found.size / 2**20:,.1f} MiB"),
    ]
    if found.captions:
        rows.append(("captions of images", f"{found.captions:,}"))
    if found.unreadable:
        rows.append(("records that cannot be read", f"{found.unreadable:,} (`data verify` names them)"))
    if found.left_out:
        rows.append(("samples left out of the index", f"{found.left_out:,} (index.json names them)"))
    return Table("shard set", ("", ""), rows)


def _dimensions(found: Inspection) -> Table:
    columns = (
        "dimension",
        "comparisons",
        "groups",
        "votes",
        "votes each",
        "ties",
        "undecided",
        "rankings",
        "answers",
        "NA",
        "raters",
        "scale",
    )
    rows = []
    for name, counts in sorted(found.dimensions.items()):
        votes = sum(counts.votes)
        scale = found.scales.get(name)
        rows.append(
            (
                name,
                f"{counts.comparisons:,}",
                f"{counts.groups:,}",
                f"{votes:,.10g}",
                f"{votes / counts.comparisons:.1f}" if counts.comparisons else "-",
                f"{counts.votes[1] / votes:.1%}" if votes else "-",
                f"{counts.undecided:,}",
                f"{counts.rankings:,}",
                f"{counts.answers:,}",
                f"{counts.not_applicable:,}",
                f"{len(counts.raters):,}" if counts.raters else "-",
                f"{scale.low:g} to {scale.high:g}" if scale else "-",
            )
        )
    # Columns that say nothing of this set are left out, so that the table fits a terminal.
    said = [n for n in range(len(columns)) if n == 0 or any(row[n] not in ("0", "-") for row in rows)]
    return Table(
        "labels (ties: share of the votes; undecided: as many votes for one as for the other)",
        [columns[n] for n in said],
        [[row[n] for n in said] for row in rows],
    )


def _prompts(found: Inspection, context_length: int) -> Table:
    tokens = found.prompt_tokens
    cut = int((tokens > context_length).sum())
    middle, high = (int(np.quantile(tokens, q, method="lower")) for q in (0.5, 0.95))
    rows = [
        ("different prompts", f"{found.different_prompts:,}"),
        ("tokens (CLIP)", f"median {middle}, 95 % up to {high}, longest {int(tokens.max())}"),
        (f"cut off at {context_length} tokens", f"{cut:,} ({cut / len(tokens):.1%} of the groups)"),
        ("empty", f"{found.empty_prompts:,}"),
        ("not ASCII", f"{found.not_ascii:,}"),
    ]
    return Table("prompts", ("", ""), rows)


def _shares(counter: Counter[str], total: int) -> list[tuple[str, str, str]]:
    """The most common entries with their shares of the total, and how many others there are."""
    common = counter.most_common(MOST_COMMON)
    rows = [(name, f"{count:,}", f"{count / total:.1%}") for name, count in common]
    if len(counter) > len(common):
        left = counter.total() - sum(count for _, count in common)
        rows.append((f"{len(counter) - len(common):,} others", f"{left:,}", f"{left / total:.1%}"))
    return rows
