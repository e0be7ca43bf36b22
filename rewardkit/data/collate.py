"""From groups that were read to one batch: pure functions, run on loader workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rewardkit.data.bad_samples import BadReport
from rewardkit.data.batch import Batch, Denominators, EvaluatedGroup, Tokenizer
from rewardkit.data.comparisons import all_comparisons
from rewardkit.data.group import Group
from rewardkit.data.group_labels import GroupLabels, LabelSpace, join_labels, labels_of, no_labels
from rewardkit.data.index_rows import captions_of
from rewardkit.data.mixture import LabelCounts


@dataclass(frozen=True, slots=True)
class LoadedGroup:
    """A group with the pixels of its candidates, uint8 ``[K, 3, S, S]``, and its position in the data set.

    Attributes:
        evaluated: In an evaluation, what travels along.
        labels: ``labels_of`` the group, where they are known already.
    """

    position: int
    key: str
    group: Group
    pixels: Tensor
    evaluated: EvaluatedGroup | None = None
    labels: GroupLabels | None = None


@dataclass(frozen=True, slots=True)
class EmptyPlace:
    """A place without a group: of a bad sample, or where another rank has one group more (position -1)."""

    position: int = -1
    bad: BadReport | None = None


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
    groups = [place.group for place in loaded]
    dummies = torch.zeros(len(empty), 3, size, size, dtype=torch.uint8)
    candidates = sum(sizes)
    captions, caption = _captions(groups, candidates, tokenize, asked=space.captions)
    return Batch(
        pixels=torch.cat([*(place.pixels for place in loaded), dummies]),
        valid=torch.tensor([True] * (candidates - len(empty)) + [False] * len(empty)),
        group=torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        tokens=cut_tokens(tokenize(prompts), tokenize.pad_id),
        **join_labels([*(_labels(place, space) for place in loaded), no_labels(len(empty), space)]),
        caption_tokens=captions,
        caption=caption,
        denominators=denominators(counts),
        keys=[place.key for place in loaded] + [place.bad.key if place.bad else "" for place in empty],
        prompts=prompts,
        positions=torch.tensor([place.position for place in loaded] + [place.position for place in empty]),
        bad=[place.bad for place in empty if place.bad],
        records=[place.evaluated for place in loaded if place.evaluated],
    )


def _labels(place: LoadedGroup, space: LabelSpace) -> GroupLabels:
    return labels_of(place.group, space) if place.labels is None else place.labels


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
        decided=torch.tensor(counts.decided, dtype=torch.float32),
        decided_groups=torch.tensor(counts.decided_groups, dtype=torch.float32),
        rankings=torch.tensor(counts.rankings, dtype=torch.float32),
        ratings=torch.tensor(counts.ratings, dtype=torch.float32),
        captions=torch.tensor(counts.captions, dtype=torch.float32),
        options=torch.tensor(counts.options, dtype=torch.float32),
        answers=torch.tensor(counts.options.sum(), dtype=torch.float32),  # each is written as well
    )


def _captions(groups: Iterable[Group], candidates: int, tokenize: Tokenizer, *, asked: bool) -> tuple[Tensor, Tensor]:
    """Distinct captions' tokens ``[C, L']`` and each candidate's row of them ``[N]``, -1 without a caption.

    Where captions are asked for and there is none, C is 1, an empty text that is nobody's: ranks that exchange weights
    or gradients layer by layer must all send captions through the text tower.
    """
    rows: dict[str, int] = {}
    caption: list[int] = []
    for group in groups if asked else ():
        texts = captions_of(group)
        caption += [rows.setdefault(text, len(rows)) for text in texts] if texts else [-1] * len(group.candidates)
    caption += [-1] * (candidates - len(caption))
    if not asked:
        return torch.zeros(0, 1, dtype=torch.int64), torch.tensor(caption)
    return cut_tokens(tokenize(list(rows) or [""]), tokenize.pad_id), torch.tensor(caption)
