"""The same comparisons give the same gradient whether their images are encoded once or once for each comparison."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import torch

from rewardkit.models.clip import CLIPReward
from rewardkit.models.tokenizers import cut_padding
from rewardkit.objectives.pairwise import PairwiseObjective

DIMENSIONS = ("overall", "aesthetic")


def gradient(model: CLIPReward, batch: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    counts = torch.zeros(len(DIMENSIONS)).index_add(0, batch.dimension, batch.weight)
    objective = PairwiseObjective(DIMENSIONS)
    objective(model(batch), batch, SimpleNamespace(comparisons=counts)).total.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_grouped_and_pairs_have_equal_gradients(tiny: Callable[..., CLIPReward]) -> None:
    model = tiny(dimensions=DIMENSIONS, config={"text_cfg": {"width": 16, "heads": 2, "layers": 2}}).train()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator)
    prompts = ["a cat", "two boats at sea under a red sky"]
    pairs = [(4 * g + i, 4 * g + j, g, (g + i + j) % 2) for g in range(2) for i, j in combinations(range(4), 2)]
    first, second, group, dimension = (torch.tensor(column) for column in zip(*pairs, strict=True))
    target = torch.softmax(torch.randn(len(pairs), 3, generator=generator), dim=1)
    common = {
        "dimension": dimension,
        "target": target,
        "weight": torch.ones(len(pairs)),
        "image_features": None,
        "text_features": None,
    }

    def tokens(texts: list[str]) -> dict[str, torch.Tensor]:
        nothing = torch.zeros(0, 1, dtype=torch.long)
        return {"tokens": cut_padding(model.tokenizer(texts), model.tokenizer.pad_id), "caption_tokens": nothing}

    grouped = SimpleNamespace(
        pixels=images,
        group=torch.arange(8) // 4,
        first=first,
        second=second,
        ratings=torch.full((8, 2), torch.nan),
        **common,
        **tokens(prompts),
    )
    n = len(pairs)
    single = SimpleNamespace(
        pixels=images[torch.stack([first, second], dim=1).flatten()],
        group=torch.arange(2 * n) // 2,
        first=torch.arange(0, 2 * n, 2),
        second=torch.arange(1, 2 * n, 2),
        ratings=torch.full((2 * n, 2), torch.nan),
        **common,
        **tokens([prompts[g] for g in group]),
    )
    ours, theirs = gradient(model, grouped), gradient(model, single)
    assert ours.keys() == theirs.keys()
    assert sum(float(value.abs().sum()) for value in ours.values()) > 0.1
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
