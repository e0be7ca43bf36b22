"""From groups that were read to one batch: pure functions, run on loader workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rewardkit.data.bad_samples import BadReport
from rewardkit.data.batch import Batch, Denominators, EvaluatedGroup, Tokenizer
from rewardkit.data.comparisons import all_comparisons, rankings_of
from rewardkit.data.group import NOT_APPLICABLE, Group
from rewardkit.data.index import Scale
from rewardkit.data.index_rows import captions_of
from rewardkit.data.mixture import LabelCounts


@dataclass(frozen=True, slots=True)
class LoadedGroup:
    """A group with the pixels of its candidates, uint8 ``[K, 3, S, S]``, and its position in the data set."""

    position: int
    key: str
    group: Group
    pixels: Tensor
    evaluated: EvaluatedGroup | None = None


@dataclass(frozen=True, slots=True)
class EmptyPlace:
    """A place without a group: of a bad sample, or where another rank has one group more (position -1)."""

    position: int = -1
    bad: BadReport | None = None


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """What a model judges.

    Attributes:
        dimensions: The model's.
        dimension_map: Dimension of the data to dimension of the model; None leaves its labels out.
        scales: Model dimension to the scale of its answers.
        captions: Whether the batch carries the candidates' captions.
    """

    dimensions: tuple[str, ...]
    dimension_map: Mapping[str, str | None]
    scales: Mapping[str, Scale]
    captions: bool = False

    def column(self, dimension: str) -> int | None:
        """The model's dimension that a dimension of the data counts for; None if its labels are left out."""
        target = self.dimension_map.get(dimension, dimension)
        return None if target is None else self.dimensions.index(target)

    @property
    def levels(self) -> int:
        """Levels of the longest scale; 0 if no dimension has an integer scale."""
        return max((self.scales[name].levels for name in self.dimensions if name in self.scales), default=0)


def collate(
    places: Sequence[LoadedGroup | EmptyPlace],
    *,
    space: LabelSpace,
    tokenize: Tokenizer,
    size: int,
    counts: LabelCounts,
) -> Batch:
    """Joins groups into a batch; ``Batch`` documents every field.

    Args:
        places: At least one. An empty place becomes one masked black candidate under an empty prompt.
        space: The model's dimensions and their scales.
        tokenize: The model's tokenizer.
        size: Side of the pixels.
        counts: Labels of the whole optimiser step.
    """
    loaded = [place for place in places if isinstance(place, LoadedGroup)]
    empty = [place for place in places if isinstance(place, EmptyPlace)]
    sizes = [len(place.group.candidates) for place in loaded] + [1] * len(empty)
    prompts = [place.group.prompt for place in loaded] + [""] * len(empty)
    starts = [sum(sizes[:n]) for n in range(len(loaded))]
    groups = [place.group for place in loaded]
    dummies = torch.zeros(len(empty), 3, size, size, dtype=torch.uint8)
    candidates = sum(sizes)
    captions, caption = _captions(groups, candidates, tokenize, asked=space.captions)
    return Batch(
        pixels=torch.cat([*(place.pixels for place in loaded), dummies]),
        valid=torch.tensor([True] * (candidates - len(empty)) + [False] * len(empty)),
        group=torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        tokens=cut_tokens(tokenize(prompts), tokenize.pad_id),
        **_comparisons(groups, starts, space),
        **_rankings(groups, starts, space),
        **_answers(groups, starts, candidates, space),
        caption_tokens=captions,
        caption=caption,
        denominators=denominators(counts),
        keys=[place.key for place in loaded] + [place.bad.key if place.bad else "" for place in empty],
        prompts=prompts,
        positions=torch.tensor([place.position for place in loaded] + [place.position for place in empty]),
        bad=[place.bad for place in empty if place.bad],
        records=[place.evaluated for place in loaded if place.evaluated],
    )


def single_comparison(group: Group, number: int, *, swapped: bool) -> tuple[Group, tuple[int, int]]:
    """The group that one comparison makes on its own: its two candidates, that comparison, their captions.

    Args:
        group: The whole group.
        number: Place in ``all_comparisons(group)``.
        swapped: Show the second candidate first.

    Returns:
        The small group, and which candidates of the whole group it has.
    """
    comparison = all_comparisons(group)[number]
    kept = (comparison.first, comparison.second)
    votes = comparison.votes
    if swapped:
        kept, votes = (kept[1], kept[0]), (votes[2], votes[1], votes[0])
    captions = captions_of(group)
    small = replace(
        group,
        candidates=tuple(group.candidates[n] for n in kept),
        comparisons=(replace(comparison, first=0, second=1, votes=votes),),
        rankings=(),
        answers=(),
        slots={"captions": [captions[n] for n in kept]} if captions else {},
    )
    return small, kept


def cut_tokens(tokens: Tensor, pad_id: int) -> Tensor:
    """Token rows ``[G, context]`` cut behind the longest text, ``[G, L]`` with L of at least 1."""
    used = (tokens != pad_id).any(0).nonzero()
    return tokens[:, : int(used[-1]) + 1 if len(used) else 1].contiguous()


def denominators(counts: LabelCounts) -> Denominators:
    """Label counts as float32 tensors."""
    return Denominators(
        comparisons=torch.tensor(counts.comparisons, dtype=torch.float32),
        groups=torch.tensor(counts.groups, dtype=torch.float32),
        rankings=torch.tensor(counts.rankings, dtype=torch.float32),
        ratings=torch.tensor(counts.ratings, dtype=torch.float32),
        captions=torch.tensor(counts.captions, dtype=torch.float32),
    )


def _comparisons(groups: Sequence[Group], starts: Sequence[int], space: LabelSpace) -> dict[str, Tensor]:
    first, second, dimension = [], [], []
    target, votes, weight = [], [], []
    for group, start in zip(groups, starts, strict=True):
        for c in all_comparisons(group):
            column = space.column(c.dimension)
            if column is None:
                continue
            total = sum(c.votes)
            first.append(start + c.first)
            second.append(start + c.second)
            dimension.append(column)
            target.append([v / total for v in c.votes])
            votes.append(total)
            weight.append(c.weight)
    return {
        "first": torch.tensor(first, dtype=torch.int64),
        "second": torch.tensor(second, dtype=torch.int64),
        "dimension": torch.tensor(dimension, dtype=torch.int64),
        "target": torch.tensor(target, dtype=torch.float32).reshape(-1, 3),
        "votes": torch.tensor(votes, dtype=torch.float32),
        "weight": torch.tensor(weight, dtype=torch.float32),
    }


def _rankings(groups: Sequence[Group], starts: Sequence[int], space: LabelSpace) -> dict[str, Tensor]:
    rows = []
    for group, start in zip(groups, starts, strict=True):
        for name in group.dimensions:
            column = space.column(name)
            if column is None:
                continue
            for ranking in rankings_of(group, name):
                ranked = [(start + n, rank) for n, rank in enumerate(ranking.ranks) if rank is not None]
                rows.append((column, ranked))
    longest = max((len(ranked) for _, ranked in rows), default=0)
    candidate = torch.full((len(rows), longest), -1, dtype=torch.int64)
    rank = torch.full((len(rows), longest), -1.0)
    for n, (_, ranked) in enumerate(rows):
        candidate[n, : len(ranked)] = torch.tensor([c for c, _ in ranked], dtype=torch.int64)
        rank[n, : len(ranked)] = torch.tensor([r for _, r in ranked], dtype=torch.float32)
    return {
        "ranking_dimension": torch.tensor([column for column, _ in rows], dtype=torch.int64),
        "ranking_candidate": candidate,
        "ranking_rank": rank,
    }


def _answers(groups: Sequence[Group], starts: Sequence[int], candidates: int, space: LabelSpace) -> dict[str, Tensor]:
    said: dict[tuple[int, int], list[float | None]] = defaultdict(list)
    for group, start in zip(groups, starts, strict=True):
        for answer in group.answers:
            column = space.column(answer.dimension)
            if column is not None:
                value = None if answer.value == NOT_APPLICABLE else float(answer.value)
                said[start + answer.candidate, column].append(value)
    ratings = torch.full((candidates, len(space.dimensions)), float("nan"))
    rows, targets = [], []
    for (candidate, column), values in said.items():
        numbers = [value for value in values if value is not None]
        if numbers:
            ratings[candidate, column] = sum(numbers) / len(numbers)
        scale = space.scales.get(space.dimensions[column])
        if scale is None or not scale.levels:
            continue
        shares = [0.0] * (space.levels + 1)
        for value in values:
            shares[-1 if value is None else round(value - scale.low)] += 1 / len(values)
        rows.append((candidate, column))
        targets.append(shares)
    return {
        "answer_candidate": torch.tensor([candidate for candidate, _ in rows], dtype=torch.int64),
        "answer_dimension": torch.tensor([column for _, column in rows], dtype=torch.int64),
        "answer_target": torch.tensor(targets, dtype=torch.float32).reshape(-1, space.levels + 1),
        "ratings": ratings,
    }


def _captions(groups: Iterable[Group], candidates: int, tokenize: Tokenizer, *, asked: bool) -> tuple[Tensor, Tensor]:
    """Distinct captions' tokens ``[C, L']`` and each candidate's row of them ``[N]``, -1 without a caption."""
    rows: dict[str, int] = {}
    caption: list[int] = []
    for group in groups if asked else ():
        texts = captions_of(group)
        caption += [rows.setdefault(text, len(rows)) for text in texts] if texts else [-1] * len(group.candidates)
    caption += [-1] * (candidates - len(caption))
    if not rows:
        return torch.zeros(0, 1, dtype=torch.int64), torch.tensor(caption)
    return cut_tokens(tokenize(list(rows)), tokenize.pad_id), torch.tensor(caption)
