"""A gate fitted on cached features finds what a prompt asks for, where a mean of the dimensions cannot."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.features import FeatureShards, feature_folder, write_shard
from rewardkit.data.group import Candidate, Comparison, Group
from rewardkit.data.images import ImageTransform
from rewardkit.data.index import ShardIndex
from rewardkit.models.heads import make_head
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.bradley_terry import BradleyTerry
from rewardkit.objectives.pairwise import PairwiseObjective

WIDTH, GROUPS, HELD_OUT = 8, 160, 400
DIMENSIONS = ("overall", "first", "second")


def drawn(draw: torch.Generator, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Image features ``[groups, 4, WIDTH]`` whose numbers 0 and 1 are what two dimensions judge, text features
    ``[groups, WIDTH]`` with the kind of prompt in numbers 2 and 3, and the kind: which of the two decides overall."""
    image = torch.randn(groups, 4, WIDTH, generator=draw)
    kind = torch.randint(2, (groups,), generator=draw)
    text = torch.zeros(groups, WIDTH)
    text[:, 4:] = 1.0
    text[torch.arange(groups), 2 + kind] = 2.0
    return image, text, kind


class Given:
    """A ``FeatureMaker`` that writes features which it was given."""

    digest = "given"

    def __init__(self, root: Path, image: Tensor, text: Tensor) -> None:
        self.root, self.image, self.text = root, image, text

    def __call__(self, index: ShardIndex, *, name: str, rank: int, ranks: int, device: Any) -> FeatureShards:
        folder = feature_folder(self.root, "given", max_bytes=10**9, about={})
        for shard in range(len(index.shards)):
            mine = np.flatnonzero(index.shard == shard)
            image = self.image[mine].reshape(-1, WIDTH).numpy()
            write_shard(folder, shard, image=image, text=self.text[mine].numpy(), bad=[])
        return FeatureShards(folder, index)


@pytest.fixture
def data(make_shards: Callable[..., Path], group_of: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> Any:
    image, text, kind = drawn(torch.Generator().manual_seed(0), GROUPS)
    _, pictures = group_of(3, k=4)
    groups = []
    for n in range(GROUPS):
        judged = {"first": image[n, :, 0], "second": image[n, :, 1], "overall": image[n, :, int(kind[n])]}
        votes = [
            Comparison(name, i, j, (1, 0, 0) if value[i] > value[j] else (0, 0, 1))
            for name, value in judged.items()
            for i, j in combinations(range(4), 2)
        ]
        candidates = tuple(Candidate("x.png", width=12, height=9) for _ in range(4))
        groups.append((Group(id=f"g{n:04d}", prompt=str(n), candidates=candidates, comparisons=tuple(votes)), pictures))
    folder = make_shards("train", groups, max_groups=50)
    return PreferenceData(
        train=[folder],
        val=[],
        transform=ImageTransform(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        tokenizer=tokenizer,
        dimensions=DIMENSIONS,
        batch_groups=32,
        features=Given(tmp_path, image, text),
    )


def accuracy(data: PreferenceData, overall: str) -> float:
    """Trains a head on the features, and counts the pairs of new groups that it orders as the overall votes do.

    The two dimensions learn from their own labels only, as ArmoRM's do, and the weights from the overall's.
    """
    torch.manual_seed(0)
    gradient = "all" if overall == "mean" else "weights"
    head = make_head("projection", DIMENSIONS, WIDTH, overall=overall, overall_gradient=gradient, gate_width=16)
    factors = {"first": 1.0, "second": 1.0, "overall": 0.0 if overall == "mean" else 1.0}
    objective = PairwiseObjective(DIMENSIONS, BradleyTerry(), factors=factors)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-2)
    loader = data.train_dataloader()
    for _ in range(60):
        for batch in loader:
            scores = 10 * head(batch.image_features, batch.text_features, batch.group)
            loss = objective(RewardOutput(scores=scores), batch, batch.denominators).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    image, text, kind = drawn(torch.Generator().manual_seed(1), HELD_OUT)
    with torch.no_grad():
        group = torch.arange(HELD_OUT).repeat_interleave(4)
        scores = head(image.reshape(-1, WIDTH), text, group)[:, 0].reshape(HELD_OUT, 4)
    truth = image[torch.arange(HELD_OUT), :, kind]
    pairs = torch.combinations(torch.arange(4))  # [6, 2]
    mine, theirs = (values[:, pairs[:, 0]] > values[:, pairs[:, 1]] for values in (scores, truth))
    return float((mine == theirs).float().mean())


def test_a_gate_finds_which_dimension_a_prompt_asks_for(data: PreferenceData) -> None:
    found = {overall: accuracy(data, overall) for overall in ("mean", "combination", "gate")}
    assert found["gate"] > 0.9, found
    assert found["gate"] > max(found["mean"], found["combination"]) + 0.1, found
