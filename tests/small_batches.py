"""A batch of a few groups, with features instead of pictures, whose labels follow from the features."""

from __future__ import annotations

import torch

from rewardkit.data.batch import Batch, Denominators


def small_batch(*, groups: int = 2, candidates: int = 4, width: int = 4, seed: int = 0) -> Batch:
    """Every pair of each group is compared on one dimension; the candidate with the larger first features wins.

    All pictures are black.
    """
    generator = torch.Generator().manual_seed(seed)
    count = groups * candidates
    features = torch.randn(count, width, generator=generator)
    worth = features.sum(dim=-1)
    pairs = [
        (g * candidates + i, g * candidates + j) for g in range(groups) for i in range(candidates) for j in range(i)
    ]
    first, second = torch.tensor(pairs).T
    wins = worth[first] > worth[second]
    none = torch.empty(0, dtype=torch.int64)
    number = torch.tensor([float(len(pairs))])
    return Batch(
        pixels=torch.zeros(count, 3, 2, 2, dtype=torch.uint8),
        valid=torch.ones(count, dtype=torch.bool),
        group=torch.arange(groups).repeat_interleave(candidates),
        tokens=torch.zeros(groups, 1, dtype=torch.int64),
        first=first,
        second=second,
        dimension=torch.zeros(len(pairs), dtype=torch.int64),
        target=torch.stack([wins, torch.zeros_like(wins), ~wins], dim=-1).float(),
        votes=torch.ones(len(pairs)),
        weight=torch.ones(len(pairs)),
        ranking_dimension=none,
        ranking_candidate=none.reshape(0, 0),
        ranking_rank=torch.empty(0, 0),
        answer_dimension=none,
        answer_candidate=none,
        answer_target=torch.empty(0, 1),
        ratings=torch.full((count, 1), float("nan")),
        caption_tokens=none.reshape(0, 1),
        caption=torch.full((count,), -1),
        denominators=Denominators(
            comparisons=number,
            groups=torch.tensor([float(groups)]),
            decided=number.clone(),
            decided_groups=torch.tensor([float(groups)]),
            rankings=torch.zeros(1),
            ratings=torch.zeros(1),
            captions=torch.tensor(0.0),
            options=torch.zeros(1),
            answers=torch.tensor(0.0),
        ),
        keys=[f"group-{g}" for g in range(groups)],
        prompts=["a prompt"] * groups,
        image_features=features,
    )
